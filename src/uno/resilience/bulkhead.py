"""The bulkhead: a limit on how many calls run at the same time."""

import threading
from collections.abc import Callable
from inspect import isawaitable
from types import CoroutineType
from typing import Any

from uno.errors import Misconfigured, TimedOut, Unavailable
from uno.resilience.arguments import COROUTINE, not_a_function, require_counts
from uno.resilience.shapes import Guard, finish
from uno.resilience.turns import Line, Turn
from uno.telemetry.signals import emit


class BulkheadFull(Unavailable):
    """As many calls as may be are running, and as many as may be are waiting."""


class Bulkhead(Guard):
    """Lets `max_concurrent` calls run at a time; `max_waiting` more wait, first come first served.

    The others get `BulkheadFull`. Nobody waits past the deadline; put a `Timeout` around it to set
    one. Thread-safe. By hand: `await bulkhead.enter()` or `bulkhead.enter_sync()`, then `bulkhead.leave()`.
    """

    def __init__(self, max_concurrent: int = 10, max_waiting: int = 0, *, name: str | None = None) -> None:
        require_counts("a Bulkhead", max_concurrent=max_concurrent, max_waiting=max_waiting)
        if max_concurrent < 1 or max_waiting < 0:
            raise Misconfigured("The max_concurrent of a Bulkhead is 1 or more, its max_waiting 0 or more.")
        self.max_concurrent = max_concurrent
        self.max_waiting = max_waiting
        self.name = name or "unnamed"
        self._lock = threading.Lock()
        self._running = 0
        self._line = Line()
        # Turns that were given a place and have not taken it up yet.
        self._given: set[Turn] = set()

    @property
    def running(self) -> int:
        """How many calls run now."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._line)

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives. Raises `BulkheadFull` or `TimedOut` instead of calling."""
        if type(f) is COROUTINE:
            raise not_a_function(f)
        turn = self._place()
        if turn is not None:
            await self._wait(turn)
        try:
            found = f(*args, **kwargs)
            if type(found) is CoroutineType or isawaitable(found):
                found = await found
            return found
        finally:
            self.leave()

    async def enter(self) -> None:
        """Take a place, waiting for one where that is allowed. Raises `BulkheadFull`, `TimedOut`."""
        turn = self._place()
        if turn is not None:
            await self._wait(turn)

    def enter_sync(self) -> None:
        """The same without an event loop; waiting blocks the thread."""
        finish(self.enter())

    def leave(self) -> None:
        """Give the place to the first who waits."""
        with self._lock:
            self._pass_on()

    def _place(self) -> Turn | None:
        """None where there is a place; otherwise a turn to wait for one."""
        with self._lock:
            if self._running >= self.max_concurrent:
                self._take_back()
            if self._running < self.max_concurrent:
                self._running += 1
                return None
            if len(self._line) < self.max_waiting:
                return self._line.join()
        emit("bulkhead.refused", bulkhead=self.name)
        raise BulkheadFull(f"The bulkhead {self.name} is full: {self.max_concurrent} calls are running.")

    async def _wait(self, turn: Turn) -> None:
        try:
            if not await turn.wait():
                emit("bulkhead.refused", bulkhead=self.name)
                raise TimedOut(f"The bulkhead {self.name} had no place in time.")
        except BaseException:
            self._give_up(turn)
            raise
        with self._lock:
            self._given.discard(turn)

    def _give_up(self, turn: Turn) -> None:
        with self._lock:
            if turn in self._given:  # cancelled or late just when it was its turn
                self._given.discard(turn)
                self._pass_on()
            else:
                self._line.leave(turn)

    def _take_back(self) -> None:
        """The places of those whose event loop was closed before they took them up."""
        for turn in [turn for turn in self._given if not turn.give()]:
            self._given.discard(turn)
            self._pass_on()

    def _pass_on(self) -> None:
        while (turn := self._line.first) is not None:
            self._line.leave(turn)
            if turn.give():
                self._given.add(turn)
                return
        self._running -= 1
