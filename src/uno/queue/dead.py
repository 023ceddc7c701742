"""Dead letters: deliveries that were given up, to look at and to send again."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from uno.data import Database
from uno.errors import NotFound
from uno.queue.statements import dead_letters, discarded, revived


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that failed for the last time; `error` says how.

    A payload that is damaged is `{"unreadable": text}`.
    """

    id: UUID
    subscriber: str
    event: str
    event_id: str
    aggregate_id: str | None
    payload: dict[str, Any]
    error: str | None
    failures: int
    correlation_id: str
    created_at: datetime
    finished_at: datetime | None


class DeadLetters:
    """The dead letters of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, limit: int = 100) -> list[DeadLetter]:
        """The oldest `limit`."""
        rows = await self._database.query(dead_letters().limit(limit))
        return [_letter(row) for row in rows]

    async def get(self, id: UUID) -> DeadLetter:
        """Raises `NotFound`."""
        rows = await self._database.query(dead_letters(id))
        if not rows:
            raise NotFound("dead letter", id)
        return _letter(rows[0])

    async def retry(self, id: UUID) -> None:
        """Deliver it again, with a fresh count of attempts; raises `NotFound`."""
        await self._one(id, revived(id))

    async def discard(self, id: UUID) -> None:
        """Delete it; raises `NotFound`."""
        await self._one(id, discarded(id))

    async def _one(self, id: UUID, statement: Any) -> None:
        async with self._database.transaction() as transaction:
            result = await transaction.execute(statement)
        if result.rowcount != 1:
            raise NotFound("dead letter", id)


def _letter(row: Any) -> DeadLetter:
    return DeadLetter(**{**row._mapping, "payload": _read(row.payload)})


def _read(text: str) -> dict[str, Any]:
    """One damaged payload must not keep the other letters from being seen."""
    try:
        return json.loads(text)  # type: ignore[no-any-return]
    except ValueError:
        return {"unreadable": text}
