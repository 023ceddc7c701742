"""First come, first served: for tasks of any event loop and for threads without one, in one line."""

import asyncio
import threading
from collections import OrderedDict

from uno.resilience.deadline import remaining


class Turn:
    """One place in the line; `left` when nobody waits there any more."""

    __slots__ = ("_event", "_gate", "_given", "_late", "_loop", "left")

    def __init__(self) -> None:
        self.left = False
        self._given = False
        self._late = False
        self._loop = asyncio._get_running_loop()
        self._event = asyncio.Event()
        # Not a threading.Event: its lock would stay locked where the handler of a signal raises in its `wait`.
        self._gate = threading.Lock()
        self._gate.acquire()

    async def wait(self) -> bool:
        """Until it is this one's turn, once; blocks the thread where there is no event loop.

        False where the deadline came first. It may have been given in that moment, too: who gives
        it up has to look, under the lock.
        """
        left = remaining()
        if left is not None:
            left = min(left, threading.TIMEOUT_MAX)
        if self._loop is None:
            return self._gate.acquire(timeout=-1 if left is None else left)
        timer = None if left is None else self._loop.call_later(left, self._expire)
        try:
            await self._event.wait()
        finally:
            if timer is not None:
                timer.cancel()
        return not self._late

    def _expire(self) -> None:
        self._late = True
        self._event.set()

    def give(self) -> bool:
        """Say that it is; false where the event loop of who waits is gone."""
        if self._given:
            return self._loop is None or not self._loop.is_closed()
        try:
            if self._loop is None:
                self._gate.release()
            else:
                self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:
            return self._loop is None  # it was given, and an interrupt came before the next line
        self._given = True
        return True


class Line:
    """Those who wait, the first in front. Not thread-safe: under its owner's lock."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        # A plain dict takes ever longer to find its first entry while entries are taken from the front.
        self._turns: OrderedDict[Turn, None] = OrderedDict()

    def join(self, turn: Turn | None = None) -> Turn:
        """Stand at the end."""
        turn = turn or Turn()
        self._turns[turn] = None
        return turn

    def leave(self, turn: Turn) -> None:
        """Served or not: go, wherever one stood."""
        self._turns.pop(turn, None)

    @property
    def first(self) -> Turn | None:
        """Who is in front."""
        while (turn := next(iter(self._turns), None)) is not None and turn.left:
            self.leave(turn)
        return turn

    def call_first(self) -> Turn | None:
        """Give the first one the turn, and tell who that is; whose event loop is gone is passed over."""
        while (turn := self.first) is not None and not turn.give():
            self.leave(turn)
        return turn

    def __len__(self) -> int:
        return len(self._turns)
