"""`AsyncEvent`: something has happened, for all who wait for it."""

import asyncio
from functools import partial

from uno.aio.lines import Line, Waiter, check_seconds
from uno.aio.named import Named, Shared, keep


class _Event(Shared):
    """The event itself, in one event loop."""

    __slots__ = ("inner", "line")

    def __init__(self) -> None:
        super().__init__(None)
        self.inner = asyncio.Event()
        self.line = Line()


class AsyncEvent(Named[_Event]):
    """`await AsyncEvent("ready").wait()` until somebody calls `AsyncEvent("ready").set()`.

    All events of one name in one event loop are one, which stays set until it is cleared; without a name each is its
    own. From other threads: `loop.call_soon_threadsafe(event.set)`.
    """

    __slots__ = ()

    kind = "AsyncEvent"

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self._find_early()

    def _make(self) -> _Event:
        return _Event()

    def set(self) -> None:
        """It has happened: all who wait go on."""
        shared = self._shared
        shared.inner.set()
        if self.name is not None:
            keep(asyncio.get_running_loop(), shared, True)

    def clear(self) -> None:
        """It has not happened yet."""
        shared = self._shared
        shared.inner.clear()
        keep(asyncio.get_running_loop(), shared, False)

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._shared.inner.is_set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for up to `timeout` seconds. True; raises `TimedOut`."""
        check_seconds("wait()", timeout)
        shared = self._shared
        if not shared.inner.is_set():
            await shared.line.wait(shared.inner.wait, timeout, partial(self._late, timeout))
        return True

    def _late(self, seconds: float | None) -> str:
        return f"{self.shown} was not set {'before the deadline' if seconds is None else f'within {seconds:g} s'}."

    @property
    def waiting(self) -> tuple[Waiter, ...]:
        """The tasks that wait for it, and since how many seconds."""
        return self._shared.line.waiters
