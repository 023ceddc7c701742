"""What collects work for later is told when its process stops: nobody comes any more for whom it would wait."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet

from uno import clock
from uno.aio.verbs import left_of


class Collector(Protocol):
    """An `AsyncBatcher`."""

    @property
    def pending(self) -> int: ...

    def hurried(self) -> AbstractContextManager[None]: ...

    async def flush(self, timeout: float | None = None) -> None: ...


_collectors: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[Collector]] = WeakKeyDictionary()


def collects(loop: asyncio.AbstractEventLoop, collector: Collector) -> None:
    """From now on it is flushed when the manager of this event loop stops; nobody has to keep it for that."""
    _collectors.setdefault(loop, WeakSet()).add(collector)


def _mine() -> list[Collector]:
    return list(_collectors.get(asyncio.get_running_loop(), ()))


@contextmanager
def hurrying() -> Iterator[None]:
    """Inside the block nothing in this event loop waits for more to do, but begins."""
    with ExitStack() as hurries:
        for one in _mine():
            hurries.enter_context(one.hurried())
        yield


async def flush_all(seconds: float) -> None:
    """Have done what was collected in this event loop; what has not ended after `seconds` is cancelled."""
    end = clock.monotonic() + seconds
    with hurrying():  # all of them: the work of one may be to give another something
        while busy := [one for one in _mine() if one.pending]:
            await asyncio.gather(*(one.flush(left_of(end, seconds)) for one in busy))
