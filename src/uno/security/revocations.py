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
        """Revoke `id`; False if it was revoked already. Nobody asks for it after `until`.

        One of several callers at the same time gets True: that is what makes a refresh token usable once.
        """
        ...

    async def revoked(self, ids: tuple[str, ...]) -> bool:
        """Whether one of them is revoked."""
        ...


class MemoryRevocations:
    """In the memory of this process: enough for one process, and until it ends."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._ends: list[tuple[datetime, str]] = []

    async def revoke(self, id: str, until: datetime) -> bool:
        self._forget()
        if id in self._ids:
            return False
        self._ids.add(id)
        heappush(self._ends, (until, id))
        return True

    async def revoked(self, ids: tuple[str, ...]) -> bool:
        return not self._ids.isdisjoint(ids)

    def __len__(self) -> int:
        return len(self._ids)

    def _forget(self) -> None:
        """What has expired need not be remembered."""
        now = clock.now()
        while self._ends and self._ends[0][0] <= now:
            self._ids.discard(heappop(self._ends)[1])
