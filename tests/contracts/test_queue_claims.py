"""What a worker claims: deliveries that its code can run, and of those also the damaged ones."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from uno import context
from uno.app import App
from uno.bus import Bus, event_handler
from uno.cli.doctor import _queue
from uno.context import Context
from uno.data import Database
from uno.messages import DomainEvent, message_name
from uno.modules import Module
from uno.queue import DeadLetters, Worker
from uno.queue.tables import deliveries
from uno.settings import WorkerSettings

Fresh = Callable[..., Awaitable[Database]]
SETTINGS = WorkerSettings(poll_interval=0.05, base_delay=0.0001, max_delay=0.0001, max_attempts=2)
ran: list[str] = []


class Ordered(DomainEvent):
    order: str


class OrderedAbroad(Ordered):
    pass


class Paid(DomainEvent):
    order: str


@event_handler(Ordered, durable=True, name="claims.write")
async def write_ordered(event: Ordered) -> None:
    ran.append(f"write {event.order}")


@event_handler(Paid, durable=True, name="claims.write")
async def write_paid(event: Paid) -> None:
    ran.append(f"write {event.order}")


@event_handler(Ordered, durable=True, name="claims.tell")
async def tell_ordered(event: Ordered) -> None:
    ran.append(f"tell {event.order}")


@event_handler(Paid, durable=True, name="claims.tell")
async def tell_paid(event: Paid) -> None:
    ran.append(f"tell {event.order}")


@pytest.fixture
async def database(backend: str, fresh: Fresh) -> Database:
    ran.clear()
    return await fresh(backend)


def app_of(database: Database, *handlers: Any) -> App:
    return App(Module("shop", handlers=list(handlers)), database=database)


async def publish(app: App, *events: DomainEvent) -> None:
    for event in events:
        await app.bus.publish(event)


async def deliver(app: App) -> None:
    """Until nothing is left that failed and will be tried again."""
    assert app.database is not None
    worker, deadline = Worker(app.database, app.bus, SETTINGS), time.monotonic() + 10
    again = select(deliveries.c.id).where(deliveries.c.state == "ready", deliveries.c.failures > 0)
    await worker.drain()
    while await app.database.query(again):
        assert time.monotonic() < deadline
        await worker.drain()


async def states(database: Database) -> dict[tuple[str, str], str]:
    columns = (deliveries.c.subscriber, deliveries.c.event, deliveries.c.state)
    rows = await database.query(select(*columns))
    return {(row.subscriber.split(".")[1], row.event.split(".")[-1]): row.state for row in rows}


async def test_a_subscriber_that_this_code_has_for_another_event_only_waits_for_the_code_that_has_it(
    database: Database,
) -> None:
    async with app_of(database, write_ordered, tell_paid) as before:
        await publish(before, Ordered(order="a"), Paid(order="b"))
        async with app_of(database, write_paid, tell_ordered) as after:
            await publish(after, Ordered(order="c"))
            await deliver(after)
            assert ran == ["tell c"]
            assert await states(database) == {
                ("write", "Ordered"): "ready",
                ("tell", "Paid"): "ready",
                ("tell", "Ordered"): "done",
            }
            assert (await _queue(after, database))["unknown"] == {
                f"claims.write ← {message_name(Ordered)}": 1,
                f"claims.tell ← {message_name(Paid)}": 1,
            }
        await deliver(before)
        assert sorted(ran) == ["tell b", "tell c", "write a"]
        assert set((await states(database)).values()) == {"done"}


async def test_the_subscriber_of_a_base_claims_the_derived_events_too(database: Database) -> None:
    async with app_of(database, write_ordered, tell_paid) as app:
        await publish(app, OrderedAbroad(order="a"), Paid(order="b"))
        assert (await _queue(app, database))["unknown"] == {}
        await deliver(app)
    assert sorted(ran) == ["tell b", "write a"]


async def test_code_without_subscribers_knows_no_delivery(database: Database) -> None:
    async with app_of(database, write_ordered) as app:
        await publish(app, Ordered(order="a"))
    async with app_of(database) as empty:
        await Worker(database, Bus(), SETTINGS).drain()
        assert (await _queue(empty, database))["unknown"] == {f"claims.write ← {message_name(Ordered)}": 1}


@pytest.mark.parametrize("column", ["payload", "context"])
async def test_a_damaged_delivery_fails_by_itself_and_stops_no_other(database: Database, column: str) -> None:
    # PostgreSQL stores no JSON that it cannot read itself.
    damage = '{"order": ' if database.backend == "sqlite" else "null"
    async with app_of(database, write_ordered) as app:
        await publish(app, Ordered(order="a"))
        async with database.transaction() as transaction:
            await transaction.execute(text(f"UPDATE uno_delivery SET {column} = '{damage}'"))
        await publish(app, Ordered(order="b"))
        await deliver(app)
        assert ran == ["write b"]
        dead = await app.provider.get(DeadLetters)
        [letter] = await dead.list()
        assert (await dead.get(letter.id), letter.failures) == (letter, SETTINGS.max_attempts)
        if database.backend == "sqlite":
            assert (letter.error or "").startswith("JSONDecodeError: ")
            assert column == "context" or letter.payload == {"unreadable": damage}
        await dead.discard(letter.id)
        assert await dead.list() == []


class Where(logging.Handler):
    """Who asked, as the formatter of a line finds it out."""

    def __init__(self) -> None:
        super().__init__()
        self.actors: list[str | None] = []

    def emit(self, record: logging.LogRecord) -> None:
        current = context.get()
        self.actors.append(None if current is None else current.actor)


@event_handler(Paid, durable=True, name="claims.fail")
async def fail(event: Paid) -> None:
    raise ZeroDivisionError("no")


async def test_the_lines_of_a_failed_delivery_say_who_asked(database: Database) -> None:
    where = Where()
    logging.getLogger("uno.worker").addHandler(where)
    try:
        async with app_of(database, fail) as app:
            with context.use(Context(actor="ada")):
                await publish(app, Paid(order="a"))
            await deliver(app)
    finally:
        logging.getLogger("uno.worker").removeHandler(where)
    assert where.actors == ["ada"] * 4  # failed and to be tried again, failed and dead
