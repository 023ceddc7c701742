"""When the locks of a transaction end: with it, or with a savepoint that is undone."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection

Tell = Callable[[], None]


class Ends:
    """Who has a lock of this connection's transaction is told just before PostgreSQL releases it.

    By SQLAlchemy's events: it does not matter who ends the transaction, or has made the savepoint.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._count = 0
        self._told: dict[Tell, int] = {}
        # How many there had been when each savepoint that is open was made; none, if that was before the first one.
        self._savepoints: list[int] = []
        inner: Any = connection.sync_connection
        event.listen(inner, "savepoint", self._begun)
        event.listen(inner, "release_savepoint", self._kept)
        event.listen(inner, "rollback_savepoint", self._undone)
        event.listen(inner, "commit", self._over)
        event.listen(inner, "rollback", self._over)

    def add(self, tell: Tell) -> None:
        """It is called when what was locked just now is free."""
        self._count += 1
        self._told[tell] = self._count

    def remove(self, tell: Tell) -> None:
        self._told.pop(tell, None)

    def _begun(self, _connection: Connection, _name: str | None) -> None:
        self._savepoints.append(self._count)

    def _last(self) -> int:
        return self._savepoints.pop() if self._savepoints else 0

    def _kept(self, _connection: Connection, _name: str, _context: object) -> None:
        self._last()

    def _undone(self, _connection: Connection, _name: str, _context: object) -> None:
        self._end(since=self._last())

    def _over(self, _connection: Connection) -> None:
        self._savepoints.clear()
        self._end(since=0)

    def _end(self, since: int) -> None:
        for tell in [tell for tell, number in self._told.items() if number > since]:
            del self._told[tell]
            tell()
