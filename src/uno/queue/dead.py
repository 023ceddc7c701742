"""Dead letters: deliveries that were given up, to look at and to send again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update

from uno import clock
from uno.data import Database
from uno.errors import NotFound
from uno.queue.tables import DEAD, READY, deliveries

_d = deliveries.c
_SHOWN = (
    _d.id, _d.subscriber, _d.event, _d.event_id, _d.aggregate_id, _d.payload, _d.error,
    _d.failures, _d.correlation_id, _d.created_at, _d.finished_at,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that failed for the last time; `error` says how."""

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
        rows = await self._database.query(select(*_SHOWN).where(_d.state == DEAD).order_by(_d.id).limit(limit))
        return [DeadLetter(*row) for row in rows]

    async def get(self, id: UUID) -> DeadLetter:
        """Raises `NotFound`."""
        rows = await self._database.query(select(*_SHOWN).where(_d.state == DEAD, _d.id == id))
        if not rows:
            raise NotFound("dead letter", id)
        return DeadLetter(*rows[0])

    async def retry(self, id: UUID) -> None:
        """Deliver it again, with a fresh count of attempts; raises `NotFound`."""
        values = {"state": READY, "failures": 0, "lost_leases": 0, "run_at": clock.now(), "finished_at": None}
        await self._one(id, update(deliveries).values(values))

    async def discard(self, id: UUID) -> None:
        """Delete it; raises `NotFound`."""
        await self._one(id, delete(deliveries))

    async def _one(self, id: UUID, statement: Any) -> None:
        async with self._database.transaction() as transaction:
            result = await transaction.execute(statement.where(_d.state == DEAD, _d.id == id))
        if result.rowcount != 1:
            raise NotFound("dead letter", id)
