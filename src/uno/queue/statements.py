"""The statements that move a delivery from one state to the next.

Every one is a short transaction of its own; all but the claim are fenced by the attempt number, so
that a worker which lost its lease can change nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Delete,
    Text,
    Update,
    case,
    cast,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)

from uno import clock
from uno.bus import Bus
from uno.data import Database
from uno.data.changes import Operation
from uno.queue.tables import DEAD, DONE, READY, RUNNING, deliveries

_d = deliveries.c
_pair = tuple_(_d.subscriber, _d.event)
# As text: read as JSON here, one damaged row would keep all the others from being read.
_payload, _context = cast(_d.payload, Text), cast(_d.context, Text)
_CLAIMED = (_d.id, _d.subscriber, _d.event, _payload, _context, _d.correlation_id, _d.attempt, _d.failures)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed delivery; `payload` and `context` are JSON."""

    id: UUID
    subscriber: str
    event: str
    payload: str
    context: str
    correlation_id: str
    attempt: int
    failures: int


@dataclass(frozen=True, slots=True)
class Names:
    """Which subscriber the code of this process has for which event, by their stored names."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, bus: Bus) -> "Names":
        events = bus.durable_events().items()
        return cls(tuple((name, event) for event, type in events for name in bus.durable_subscribers(type)))

    def known(self) -> tuple[ColumnElement[bool], ...]:
        # The subscriber alone is quicker to look at, where much waits for others.
        return (_d.subscriber.in_(list(dict(self.pairs))), _pair.in_(self.pairs))


class Deliveries:
    """The delivery table of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _now(self, plus: float = 0.0) -> Any:
        """The database's clock; on SQLite, which has none of that precision, this machine's."""
        if self._database.backend == "sqlite":
            return literal(clock.now() + timedelta(seconds=plus), _d.run_at.type)
        # Stable within a statement, so that an index can be searched for it; clock_timestamp() is not.
        return func.statement_timestamp() + timedelta(seconds=plus) if plus else func.statement_timestamp()

    async def claim(self, worker: str, names: Names, limit: int, lease: float) -> list[Delivery]:
        """Take up to `limit` deliveries for `lease` seconds, passing over what others are taking."""
        ready = (_d.state == READY, _d.run_at <= self._now(), *names.known())
        wanted = select(_d.id).where(*ready).order_by(_d.run_at, _d.id).limit(limit).with_for_update(skip_locked=True)
        taken = wanted.cte("taken")
        values = {"state": RUNNING, "attempt": _d.attempt + 1, "lease_until": self._now(lease), "worker": worker}
        statement = update(deliveries).where(_d.id.in_(select(taken.c.id))).values(values).returning(*_CLAIMED)
        return [Delivery(*row) for row in await self._run(statement)]

    async def renew(self, delivery: Delivery, lease: float) -> bool:
        """Hold it for another `lease` seconds; false where it is no longer ours."""
        statement = update(deliveries).where(*_ours(delivery)).values(lease_until=self._now(lease)).returning(_d.id)
        return bool(await self._run(statement))

    async def release(self, delivery: Delivery) -> None:
        """Give it back unfinished; the attempt does not count."""
        values = {"state": READY, "lease_until": None, "worker": None}
        await self._run(update(deliveries).where(*_ours(delivery)).values(values).returning(_d.id))

    async def failed(self, delivery: Delivery, error: str, *, retry_in: float | None) -> bool:
        """Note a failed attempt: again in `retry_in` seconds, or dead. False where it was no longer ours."""
        values: dict[str, Any] = {
            "state": DEAD if retry_in is None else READY,
            "failures": _d.failures + 1,
            "error": error,
            "lease_until": None,
            "worker": None,
        }
        values |= {"finished_at": self._now()} if retry_in is None else {"run_at": self._now(retry_in)}
        return bool(await self._run(update(deliveries).where(*_ours(delivery)).values(values).returning(_d.id)))

    async def reclaim(self, max_lost: int, max_failures: int) -> int:
        """Give back what crashed workers left behind.

        A lost lease is no failed attempt, until the same delivery has lost `max_lost`: then it is
        what kills its workers, and dead.
        """
        lost = _d.lost_leases + 1
        failures = case((lost >= max_lost, _d.failures + 1), else_=_d.failures)
        hopeless = (lost >= max_lost) & (failures >= max_failures)
        values = {
            "state": case((hopeless, DEAD), else_=READY),
            # Behind the others: what kills its workers must not do so at the head of the queue.
            "run_at": self._now(),
            "lost_leases": lost,
            "failures": failures,
            "finished_at": case((hopeless, self._now()), else_=_d.finished_at),
            "error": case((lost >= max_lost, "its worker was lost again and again"), else_=_d.error),
            "lease_until": None,
            "worker": None,
        }
        expired = (_d.state == RUNNING, _d.lease_until < self._now())
        locked = select(_d.id).where(*expired).with_for_update(skip_locked=True).cte("expired")
        statement = update(deliveries).where(_d.id.in_(select(locked.c.id))).values(values).returning(_d.id)
        return len(await self._run(statement))

    async def next_due(self, names: Names) -> float | None:
        """Seconds until the next retry is due, None where nothing waits."""
        waiting = (_d.state == READY, *names.known())
        rows = await self._database.query(select(func.min(_d.run_at), self._now()).where(*waiting))
        due, now = rows[0]
        return None if due is None else max(0.0, (_aware(due) - _aware(now)).total_seconds())

    async def lag(self) -> float | None:
        """Seconds for which the oldest delivery that is due has been waiting; 0 where none is, None while closed."""
        if self._database.pool_use() is None:
            return None
        ready = (_d.state == READY, _d.run_at <= self._now())
        due, now = (await self._database.query(select(func.min(_d.run_at), self._now()).where(*ready)))[0]
        return 0.0 if due is None else max(0.0, (_aware(now) - _aware(due)).total_seconds())

    async def counts(self) -> dict[str, int]:
        """How many deliveries are in each state."""
        rows = await self._database.query(select(_d.state, func.count()).group_by(_d.state))
        return dict(map(tuple, rows))

    async def unknown(self, names: Names) -> dict[str, int]:
        """Deliveries that wait for a subscriber that no code here has for their event."""
        label = (_d.subscriber + " ← " + _d.event).label("label")
        waiting = (
            select(label, func.count()).where(_d.state.in_([READY, RUNNING]), _pair.not_in(names.pairs)).group_by(label)
        )
        return dict(map(tuple, await self._database.query(waiting)))

    async def _run(self, statement: Any) -> Sequence[Any]:
        async with self._database.transaction() as transaction:
            return (await transaction.execute(statement)).all()  # type: ignore[no-any-return]


def _ours(delivery: Delivery) -> tuple[ColumnElement[bool], ...]:
    return (_d.id == delivery.id, _d.attempt == delivery.attempt, _d.state == RUNNING)


def _aware(moment: Any) -> Any:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def done(delivery: Delivery) -> Operation:
    """The completion, which commits together with the effect or not at all."""
    return Operation(
        "update",
        deliveries,
        deliveries.name,
        {"id": delivery.id},
        {"state": DONE, "finished_at": clock.now(), "lease_until": None, "worker": None, "error": None},
        {"attempt": delivery.attempt, "state": RUNNING},
        fence=True,
    )


_DEAD_LETTER = (
    _d.id,
    _d.subscriber,
    _d.event,
    _d.event_id,
    _d.aggregate_id,
    _payload,
    _d.error,
    _d.failures,
    _d.correlation_id,
    _d.created_at,
    _d.finished_at,
)


def dead_letters(id: UUID | None = None) -> Any:
    """The dead letters, oldest first, or the one with this id."""
    wanted = (_d.state == DEAD,) if id is None else (_d.state == DEAD, _d.id == id)
    return select(*_DEAD_LETTER).where(*wanted).order_by(_d.id)


def revived(id: UUID) -> Update:
    """Make a dead letter ready again, with a fresh count of attempts."""
    values = {"state": READY, "failures": 0, "lost_leases": 0, "run_at": clock.now(), "finished_at": None}
    return update(deliveries).values(values).where(_d.state == DEAD, _d.id == id)


def discarded(id: UUID) -> Delete:
    """Delete a dead letter."""
    return delete(deliveries).where(_d.state == DEAD, _d.id == id)
