"""First come, first served: for tasks of any event loop and for threads without one, in one line."""

import asyncio
import threading
from collections import OrderedDict


class Turn:
    """One place in the line."""

    __slots__ = ("_event", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio._get_running_loop()
        self._event = threading.Event() if self._loop is None else asyncio.Event()

    async def wait(self) -> None:
        """Until it is this one's turn; blocks the thread where there is no event loop."""
        if isinstance(self._event, threading.Event):
            self._event.wait()
        else:
            await self._event.wait()

    def give(self) -> bool:
        """Say that it is; false where the event loop of who waits is gone."""
        if self._loop is None:
            self._event.set()
            return True
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:
            return False
        return True


class Line:
    """Those who wait, the first in front. Not thread-safe: under its owner's lock."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        # A plain dict takes ever longer to find its first entry while entries are taken from the front.
        self._turns: OrderedDict[Turn, None] = OrderedDict()

    def join(self) -> Turn:
        """Stand at the end."""
        turn = Turn()
        self._turns[turn] = None
        return turn

    def leave(self, turn: Turn) -> None:
        """Served or not: go, wherever one stood."""
        self._turns.pop(turn, None)

    @property
    def first(self) -> Turn | None:
        """Who is in front."""
        return next(iter(self._turns), None)

    def call_first(self) -> None:
        """Give the first one the turn; whose event loop is gone is passed over."""
        while (turn := self.first) is not None and not turn.give():
            self.leave(turn)

    def __len__(self) -> int:
        return len(self._turns)
