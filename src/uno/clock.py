"""The time, where tests can set it.

`now()` is aware UTC, `monotonic()` and `sleep()` are in seconds. `use(clock)` replaces the clock
of the whole process for a `with` block. Inside `uno.sync.drive` there is no event loop: `sleep`
blocks the thread there.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from uno.errors import Misconfigured

# Set inside `uno.sync.drive`: to the event loop that runs around it, or to NO_LOOP.
NO_LOOP = object()
driver: ContextVar[object | None] = ContextVar("uno.driver", default=None)


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The clock of the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    # Asked on hot paths: not a method of our own around it.
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        if not driven():
            end = time.monotonic() + seconds
            await asyncio.sleep(seconds)
            # uvloop counts in whole milliseconds, and may be early.
            while (left := end - time.monotonic()) > 0:  # noqa: ASYNC110 - nothing else happens then
                await asyncio.sleep(left)
        elif asyncio._get_running_loop() is None:
            time.sleep(seconds)  # noqa: ASYNC251 - nothing else could run here
        else:
            raise Misconfigured("A synchronous call would have to wait, which stops the running event loop: await it.")


def driven() -> bool:
    """Whether this code runs inside a `drive`, and not in an event loop of its own inside that."""
    around = driver.get()
    loop = None if around is None else asyncio._get_running_loop()
    return around is not None and (loop is None or loop is around)


_system = SystemClock()
# An attribute of the object is found twice as fast as one of its class.
vars(_system)["monotonic"] = time.monotonic
current: Clock = _system


def now() -> datetime:
    """The current time, aware, in UTC."""
    return current.now()


def milliseconds() -> int:
    """The current time in whole milliseconds since 1970, UTC."""
    if current is _system:
        return time.time_ns() // 1_000_000
    # Rounded to microseconds first: a float just below a whole millisecond would lose one.
    return round(current.now().timestamp() * 1_000_000) // 1000


def monotonic() -> float:
    """Seconds since some fixed moment; never goes back."""
    return current.monotonic()


async def sleep(seconds: float) -> None:
    """Wait for `seconds`."""
    await current.sleep(seconds)


class Timeout(Protocol):
    """What `timeout` gives: `asyncio.Timeout`, as far as it is public."""

    def when(self) -> float | None: ...

    def reschedule(self, when: float | None) -> None: ...

    def expired(self) -> bool: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


# Before 3.11.3 a cancellation counted earlier in the task, as a failed TaskGroup leaves one
# behind, makes every timeout in that task a CancelledError: github.com/python/cpython/issues/102780.
_MISCOUNTS = sys.version_info < (3, 11, 3)


class _Counting:
    """A timeout that knows which cancellations are older than itself."""

    def __init__(self, inner: asyncio.Timeout) -> None:
        self._inner = inner
        self._counted = 0
        self.when, self.reschedule, self.expired = inner.when, inner.reschedule, inner.expired

    async def __aenter__(self) -> Self:
        self._counted = _cancelling()
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)
        if self.expired() and kind is asyncio.CancelledError and _cancelling() <= self._counted:
            raise TimeoutError from error

    def __repr__(self) -> str:
        return repr(self._inner)


def _cancelling() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def timeout(seconds: float | None) -> Timeout:
    """`async with timeout(5):` raises `TimeoutError` after that long, as `asyncio.timeout` does."""
    found = asyncio.timeout(seconds)
    return _Counting(found) if _MISCOUNTS else found


@contextmanager
def use(clock: Clock) -> Iterator[Clock]:
    """Take the time from `clock` inside the block."""
    global current
    before, current = current, clock
    try:
        yield clock
    finally:
        current = before
