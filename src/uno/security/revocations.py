"""Tokens that are no longer valid before they expire."""

from datetime import datetime
from heapq import heappop, heappush
from typing import Protocol

from uno import clock


class Revocations(Protocol):
    """Where revoked ids are kept: of single tokens (`jti`) and of sessions (`sid`).

    Both may raise `Unavailable`: what cannot be looked up is not accepted, and the client is told to
    try again.
    """

    async def revoke(self, id: str, until: datetime) -> bool:
        """Revoke `id`; False if it was revoked already. Nobody asks for it after `until`, the latest one given.

        One of several callers at the same time gets True: that is what makes a refresh token usable once.
        """
        ...

    async def revoked(self, ids: tuple[str, ...]) -> bool:
        """Whether one of them is revoked."""
        ...


class Ends:
    """Ids, each until the latest moment that was given for it: on the wall clock, and after as much time on the other.

    A wall clock that jumps ahead and back must not bring back what was revoked meanwhile.
    """

    def __init__(self) -> None:
        self._latest: dict[str, datetime] = {}
        self._queue: list[tuple[float, str, datetime]] = []

    def add(self, id: str, until: datetime) -> bool:
        """False if it was there already."""
        self._forget()
        known = self._latest.get(id)
        if known is None or known < until:
            self._latest[id] = until
            self._wait(id, until)
        return known is None

    def of(self, id: str) -> datetime | None:
        return self._latest.get(id)

    def __len__(self) -> int:
        return len(self._latest)

    def _wait(self, id: str, until: datetime) -> None:
        left = max(0.0, (until - clock.now()).total_seconds())
        heappush(self._queue, (clock.monotonic() + left, id, until))

    def _forget(self) -> None:
        """What is over need not be remembered."""
        now, over = clock.monotonic(), []
        while self._queue and self._queue[0][0] <= now:
            over.append(heappop(self._queue))
        for _, id, until in over:
            if self._latest.get(id) != until:  # it was given a later one
                continue
            if until <= clock.now():
                del self._latest[id]
            else:
                self._wait(id, until)


class MemoryRevocations:
    """In the memory of this process: enough for one process, and until it ends."""

    def __init__(self) -> None:
        self._revoked = Ends()

    async def revoke(self, id: str, until: datetime) -> bool:
        return self._revoked.add(id, until)

    async def revoked(self, ids: tuple[str, ...]) -> bool:
        return any(self._revoked.of(id) for id in ids)

    def __len__(self) -> int:
        return len(self._revoked)
