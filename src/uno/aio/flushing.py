"""What collects work for later is told when its process stops: nobody comes any more for whom it would wait."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet

from uno import clock
from uno.aio.verbs import left_of


class Collector(Protocol):
    """An `AsyncBatcher`."""

    @property
    def pending(self) -> int: ...

    def go(self) -> None: ...

    async def flush(self, timeout: float | None = None) -> None: ...


_collectors: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[Collector]] = WeakKeyDictionary()
# How many want nothing in an event loop to wait for more to do.
_hurries: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()


def collects(loop: asyncio.AbstractEventLoop, collector: Collector) -> None:
    """From now on it is flushed when the manager of this event loop stops; nobody has to keep it for that."""
    _collectors.setdefault(loop, WeakSet()).add(collector)


def _mine() -> list[Collector]:
    return list(_collectors.get(asyncio.get_running_loop(), ()))


@contextmanager
def hurrying() -> Iterator[None]:
    """Inside the block nothing in this event loop waits for more to do, but begins; nor what collects later."""
    loop = asyncio.get_running_loop()
    _hurries[loop] = _hurries.get(loop, 0) + 1
    try:
        for one in _mine():
            one.go()
        yield
    finally:
        if loop in _hurries:  # it may be gone, and this be left by the collector of garbage
            _hurries[loop] -= 1


def hurried(loop: asyncio.AbstractEventLoop) -> bool:
    return _hurries.get(loop, 0) > 0


async def flush_all(seconds: float) -> None:
    """Have done what was collected in this event loop; what has not ended after `seconds` is cancelled."""
    end = clock.monotonic() + seconds
    with hurrying():  # all of them: the work of one may be to give another something
        while busy := [one for one in _mine() if one.pending]:
            await asyncio.gather(*(one.flush(left_of(end, seconds)) for one in busy))
