"""Deliveries: one for each event and durable subscriber, each with its effect exactly once."""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, timedelta
from typing import Any, ClassVar

import asyncpg
import pytest
from sqlalchemy import MetaData, String, func, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from uno import clock, context
from uno.app import App
from uno.audit import AuditTrail
from uno.bus import Bus, command_handler, event_handler
from uno.context import Context
from uno.data import Database, Model, Repository, ULIDMixin, VersionMixin
from uno.errors import Conflict, Invalid, NotFound, Unavailable
from uno.messages import Command, DomainEvent
from uno.modules import Module
from uno.queue import DeadLetters, Worker
from uno.queue.tables import deliveries
from uno.settings import WorkerSettings
from uno.telemetry import configure_logging

Fresh = Callable[..., Awaitable[Database]]


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Effect(ULIDMixin, Tables):
    """No unique key but its own: what happens twice is there twice."""

    __tablename__ = "effect"
    subscriber: Mapped[str]
    parcel: Mapped[str]


class Balance(VersionMixin, Tables):
    __tablename__ = "balance"
    id: Mapped[str] = mapped_column(String(5), primary_key=True)
    parcels: Mapped[int] = mapped_column(default=0)


class Sent(DomainEvent):
    parcel_id: str


class SentAbroad(Sent):
    pass


class Seen(DomainEvent):
    parcel_id: str


class Send(Command[None]):
    ids: tuple[str, ...]
    abroad: bool = False


class Note(Command[None]):
    parcel: str


@command_handler(Send)
async def send(command: Send, bus: Bus) -> None:
    for id in command.ids:
        await bus.publish(SentAbroad(parcel_id=id) if command.abroad else Sent(parcel_id=id))
        await bus.publish(Seen(parcel_id=id))


@command_handler(Note)
async def note(command: Note, effects: Repository[Effect]) -> None:
    await effects.add(Effect(subscriber="note", parcel=command.parcel))


class Behaviour:
    """What the subscriber does next; tests set it."""

    def __init__(self) -> None:
        self.errors: list[Exception | None] = []
        self.started = 0
        self.pause = 0.0
        self.waiting = asyncio.Event()

    async def act(self) -> None:
        self.started += 1
        self.waiting.set()
        await asyncio.sleep(self.pause)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error


behaviour = Behaviour()


@event_handler(Sent, durable=True, name="tests.bill")
async def bill(event: Sent, effects: Repository[Effect], balances: Repository[Balance]) -> None:
    await effects.add(Effect(subscriber="bill", parcel=event.parcel_id))
    (await balances.get("all")).parcels += 1
    await behaviour.act()


@event_handler(Sent, durable=True, name="tests.track")
async def track(event: Sent, bus: Bus) -> None:
    logging.getLogger("tests.track").info("tracking")
    await bus.dispatch(Note(parcel=event.parcel_id))


@event_handler(Seen)
async def seen(event: Seen) -> None: ...


SETTINGS = WorkerSettings(poll_interval=0.05, base_delay=0.01, max_delay=0.05, lease=5, renew_interval=1)


@pytest.fixture
async def database(backend: str, fresh: Fresh) -> Database:
    database = await fresh(backend, Tables.metadata)
    async with database.transaction() as transaction:
        await transaction.execute(insert(Balance).values(id="all", parcels=0, version=1))
    return database


@pytest.fixture
async def app(database: Database) -> AsyncIterator[App]:
    behaviour.__init__()  # type: ignore[misc]
    module = Module("post", handlers=[send, note, bill, track, seen], models=[Effect, Balance])
    async with App(module, database=database) as app:
        yield app


def worker(app: App, **changes: Any) -> Worker:
    assert app.database is not None
    return Worker(app.database, app.bus, SETTINGS.model_copy(update=changes))


@contextlib.asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def effects(database: Database) -> list[str]:
    rows = await database.query(select(Effect.subscriber, Effect.parcel))
    return sorted(f"{subscriber} {parcel}" for subscriber, parcel in rows)


async def states(database: Database) -> dict[str, int]:
    rows = await database.query(select(deliveries.c.state, func.count()).group_by(deliveries.c.state))
    return dict(rows)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def change(database: Database, **values: Any) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(update(deliveries).values(values))


async def test_there_is_one_delivery_for_each_event_and_durable_subscriber(app: App, database: Database) -> None:
    await app.bus.dispatch(Send(ids=("a", "b")))
    await app.bus.dispatch(Send(ids=("c",), abroad=True))
    table = deliveries.c
    rows = await database.query(
        select(table.subscriber, table.aggregate_id, table.event, table.payload).order_by(table.id)
    )
    assert sorted((subscriber, parcel) for subscriber, parcel, _, _ in rows) == [
        (f"tests.{subscriber}", parcel) for subscriber in ("bill", "track") for parcel in "abc"
    ]
    assert {event.rpartition(".")[2] for _, _, event, _ in rows} == {"Sent", "SentAbroad"}
    assert {payload["parcel_id"] for *_, payload in rows} == {"a", "b", "c"}
    assert await states(database) == {"ready": 6}


async def test_a_worker_delivers_everything_and_each_effect_is_there_once(app: App, database: Database) -> None:
    await app.bus.dispatch(Send(ids=("a", "b")))
    await app.bus.dispatch(Send(ids=("c",), abroad=True))
    await worker(app).drain()
    assert await effects(database) == ["bill a", "bill b", "bill c", "note a", "note b", "note c"]
    assert await states(database) == {"done": 6}
    await worker(app).drain()
    assert len(await effects(database)) == 6


async def test_three_workers_share_the_deliveries_and_none_is_done_twice(app: App, database: Database) -> None:
    ids = tuple(f"p{n}" for n in range(30))
    await app.bus.dispatch(Send(ids=ids))
    async with running(worker(app)), running(worker(app)), running(worker(app)):
        await until(lambda: all_done(database, 60))
    assert await effects(database) == sorted([f"bill {id}" for id in ids] + [f"note {id}" for id in ids])
    rows = await database.query(select(Balance.parcels))
    assert rows[0][0] == 30


async def all_done(database: Database, count: int) -> bool:
    return await states(database) == {"done": count}


async def test_effects_happen_once_though_workers_are_cancelled_and_leases_lost(app: App, database: Database) -> None:
    ids = tuple(f"p{n}" for n in range(6))
    await app.bus.dispatch(Send(ids=ids))
    behaviour.pause = 0.01
    chosen = random.Random(5)
    deadline = time.monotonic() + 20
    while await states(database) != {"done": 12}:
        assert time.monotonic() < deadline
        # Leases much shorter than some attempts, and never renewed in time.
        async with running(worker(app, lease=0.02, renew_interval=5, max_lost_leases=1_000)):
            await asyncio.sleep(chosen.random() * 0.08)
        behaviour.pause = chosen.choice([0, 0.01, 0.05])
    assert await effects(database) == sorted([f"bill {id}" for id in ids] + [f"note {id}" for id in ids])
    rows = await database.query(select(Balance.parcels))
    assert rows[0][0] == 6


async def test_an_attempt_whose_delivery_was_taken_over_leaves_nothing(app: App, database: Database) -> None:
    await app.bus.dispatch(Send(ids=("a",)))
    await change(database, state="done")
    await change_one(database, "tests.bill", state="ready")
    behaviour.pause = 0.2
    draining = asyncio.create_task(worker(app).drain())
    await behaviour.waiting.wait()
    await change_one(database, "tests.bill", attempt=9)
    await draining
    assert await effects(database) == []
    row = (await database.query(select(deliveries).where(deliveries.c.subscriber == "tests.bill")))[0]
    assert (row.state, row.attempt, row.failures) == ("running", 9, 0)


async def change_one(database: Database, name: str, /, **values: Any) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(update(deliveries).where(deliveries.c.subscriber == name).values(values))


async def test_a_lease_is_renewed_while_the_subscriber_runs_and_its_loss_stops_it(app: App, database: Database) -> None:
    await app.bus.dispatch(Send(ids=("a",)))
    await change_one(database, "tests.track", state="done")
    behaviour.pause = 0.5
    async with (
        running(worker(app, lease=0.2, renew_interval=0.05)),
        running(worker(app, lease=0.2, renew_interval=0.05)),
    ):
        await until(lambda: all_done(database, 2))
    assert (behaviour.started, await effects(database)) == (1, ["bill a"])
    behaviour.__init__()  # type: ignore[misc]
    behaviour.pause = 30
    await app.bus.dispatch(Send(ids=("b",)))
    await change_one(database, "tests.track", state="done")
    draining = asyncio.create_task(worker(app, renew_interval=0.05).drain())
    await behaviour.waiting.wait()
    await change_one(database, "tests.bill", state="done")
    async with clock.timeout(5):
        await draining
    assert await effects(database) == ["bill a"]


async def test_a_cancelled_worker_gives_back_what_it_had_and_the_attempt_does_not_count(
    app: App, database: Database
) -> None:
    await app.bus.dispatch(Send(ids=("a",)))
    behaviour.pause = 30
    async with running(worker(app)):
        await behaviour.waiting.wait()
    row = (await database.query(select(deliveries).where(deliveries.c.subscriber == "tests.bill")))[0]
    assert (row.state, row.failures, row.lost_leases, row.worker, row.lease_until) == ("ready", 0, 0, None, None)
    assert "bill a" not in await effects(database)
    behaviour.pause = 0
    await worker(app).drain()
    assert "bill a" in await effects(database)


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError(), Unavailable("later"), Conflict("again", repeatable=True)],
    ids=lambda e: type(e).__name__,
)
async def test_bugs_and_passing_errors_are_retried_with_back_off(
    app: App, database: Database, error: Exception
) -> None:
    # A repeatable conflict is run again by the pipeline too, three times for each attempt.
    behaviour.errors = [error] * (6 if isinstance(error, Conflict) else 2)
    await app.bus.dispatch(Send(ids=("a",)))
    async with running(worker(app)):
        await until(lambda: all_done(database, 2))
    row = (await database.query(select(deliveries).where(deliveries.c.subscriber == "tests.bill")))[0]
    assert (row.failures, row.attempt, row.error) == (2, 3, None)
    assert await effects(database) == ["bill a", "note a"]


async def test_an_error_that_says_when_to_come_back_is_believed_up_to_the_longest_pause(
    app: App, database: Database
) -> None:
    for told, longest, expected in ((40.0, 300.0, 40), (4000.0, 300.0, 300)):
        behaviour.errors = [Unavailable("later", retry_after=told)]
        await app.bus.dispatch(Send(ids=("a",)))
        await worker(app, max_delay=longest).drain()
        waiting = deliveries.c.run_at, deliveries.c.state
        (row,) = await database.query(select(*waiting).where(deliveries.c.state == "ready"))
        in_seconds = (row.run_at.replace(tzinfo=UTC) - clock.now()).total_seconds()
        assert expected - 30 < in_seconds <= expected + 1
        await change(database, state="done")


def odd(**attributes: Any) -> Any:
    return type("Odd", (Exception,), attributes)("odd")


NONSENSE = [odd(retry_after=said) for said in (None, "soon", float("nan"), True)]


@pytest.mark.parametrize(
    "error", [*NONSENSE, odd(__getattr__=lambda _, name: {}[name]), BaseExceptionGroup("two", [SystemExit()])], ids=repr
)
async def test_an_error_that_says_nonsense_is_retried_as_usual(app: App, database: Database, error: Any) -> None:
    behaviour.errors = [error]
    await app.bus.dispatch(Send(ids=("a",)))
    async with running(worker(app)):
        await until(lambda: all_done(database, 2))
    row = (await database.query(select(deliveries).where(deliveries.c.subscriber == "tests.bill")))[0]
    assert (row.failures, row.lost_leases) == (1, 0)


async def test_a_bug_that_comes_every_time_ends_in_the_dead_letters(app: App, database: Database) -> None:
    behaviour.errors = [ZeroDivisionError("no way")] * 3
    with context.use(Context(correlation_id="the-request")):
        await app.bus.dispatch(Send(ids=("a",)))
    async with running(worker(app, max_attempts=3)):
        await until(lambda: all_are(database, {"done": 1, "dead": 1}))
    dead = DeadLetters(database)
    (letter,) = await dead.list()
    assert letter == await dead.get(letter.id)
    assert (letter.subscriber, letter.error, letter.failures) == ("tests.bill", "ZeroDivisionError: no way", 3)
    assert (letter.aggregate_id, letter.payload["parcel_id"], letter.correlation_id) == ("a", "a", "the-request")
    assert letter.finished_at is not None
    await dead.retry(letter.id)
    assert await dead.list() == []
    await worker(app).drain()
    assert await effects(database) == ["bill a", "note a"]
    for call in (dead.get, dead.retry, dead.discard):
        with pytest.raises(NotFound, match="dead letter"):
            await call(letter.id)


async def all_are(database: Database, expected: dict[str, int]) -> bool:
    return await states(database) == expected


async def test_an_error_that_would_only_come_again_is_dead_at_once_and_can_be_discarded(
    app: App, database: Database
) -> None:
    behaviour.errors = [Invalid("never")]
    await app.bus.dispatch(Send(ids=("a",)))
    await worker(app).drain()
    assert behaviour.started == 1
    (letter,) = await DeadLetters(database).list()
    assert (letter.error, letter.failures) == ("Invalid: never", 1)
    await DeadLetters(database).discard(letter.id)
    assert await states(database) == {"done": 1}


async def test_lost_leases_do_not_count_until_the_fifth(app: App, database: Database) -> None:
    await app.bus.dispatch(Send(ids=("a",)))
    await change_one(database, "tests.track", state="done")
    history = []
    for lost in range(1, 10):
        past = clock.now() - timedelta(seconds=1)
        # As a worker that was killed leaves it.
        await change_one(database, "tests.bill", state="running", attempt=lost, lease_until=past, worker="gone")
        behaviour.errors = [asyncio.CancelledError()]  # type: ignore[list-item]
        await take_up(app)
        row = (await database.query(select(deliveries).where(deliveries.c.subscriber == "tests.bill")))[0]
        history.append((row.lost_leases, row.failures, row.state))
    expected = [(n, max(0, n - 4), "ready") for n in range(1, 9)] + [(9, 5, "dead")]
    assert history == expected
    (letter,) = await DeadLetters(database).list()
    assert letter.error == "its worker was lost again and again"
    assert letter.finished_at is not None


async def take_up(app: App) -> None:
    """Only what a worker does first: take up what crashed ones left."""
    assert app.database is not None
    # This worker knows another subscriber only, for which there is nothing.
    other = App(Module("other", handlers=[send, note, track, seen], models=[Effect]), database=app.database)
    await Worker(app.database, other.bus, SETTINGS).drain()


async def test_a_delivery_whose_subscriber_no_code_knows_waits(app: App, database: Database) -> None:
    await app.bus.dispatch(Send(ids=("a",)))
    await change_one(database, "tests.bill", subscriber="tests.gone")
    async with running(worker(app)):
        await until(lambda: all_are(database, {"done": 1, "ready": 1}))
        # What comes later is delivered, so the worker has looked again.
        await app.bus.dispatch(Send(ids=("b",)))
        await until(lambda: all_are(database, {"done": 3, "ready": 1}))
    row = (await database.query(select(deliveries).where(deliveries.c.subscriber == "tests.gone")))[0]
    assert (row.state, row.attempt) == ("ready", 0)
    await change_one(database, "tests.gone", subscriber="tests.bill")
    await worker(app).drain()
    assert await states(database) == {"done": 4}


async def test_a_poll_finds_what_no_hint_told(app: App, database: Database) -> None:
    await app.bus.dispatch(Send(ids=("a",)))
    await change(database, state="asleep")
    async with running(worker(app)):
        await app.bus.dispatch(Send(ids=("b",)))
        await until(lambda: all_are(database, {"asleep": 2, "done": 2}))
        await change(database, state="ready", finished_at=None)
        await until(lambda: all_done(database, 4))


async def test_a_hint_from_another_process_wakes_a_worker_at_once(fresh: Fresh) -> None:
    database = await fresh("postgresql", Tables.metadata)
    async with database.transaction() as transaction:
        await transaction.execute(insert(Balance).values(id="all", parcels=0, version=1))
    elsewhere = await fresh("postgresql", like=database)
    behaviour.__init__()  # type: ignore[misc]
    handlers = [send, note, bill, track, seen]
    async with (
        App(Module("post", handlers=handlers, models=[Effect, Balance]), database=database) as app,
        App(Module("post", handlers=handlers, models=[Effect, Balance]), database=elsewhere) as other,
        running(worker(app, poll_interval=30)),
    ):
        await until(lambda: listening(database))
        started = time.monotonic()
        await other.bus.dispatch(Send(ids=("a",)))
        await until(lambda: all_done(database, 2), 15)
        assert time.monotonic() - started < 15  # half of what the poll would have taken
        # The listening connection is lost: another takes its place.
        connection = await asyncpg.connect(database.dsn)
        await connection.fetch(f"SELECT pg_terminate_backend(pid) {LISTENING}")
        await connection.close()
        await until(lambda: listening(database))
        await other.bus.dispatch(Send(ids=("b",)))
        await until(lambda: all_done(database, 4))


LISTENING = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"


async def listening(database: Database) -> bool:
    connection = await asyncpg.connect(database.dsn)
    try:
        return bool(await connection.fetchval(f"SELECT count(*) {LISTENING}"))
    finally:
        await connection.close()


async def test_the_correlation_id_is_on_the_audit_row_the_delivery_and_the_log_line_of_the_subscriber(
    app: App, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_log():
        with context.use(Context(correlation_id="request-7", actor="ada", actor_source="principal")):
            await app.bus.dispatch(Send(ids=("a",)))
        await worker(app).drain()
    rows = await database.query(select(deliveries.c.correlation_id))
    assert {row[0] for row in rows} == {"request-7"}
    trail = await AuditTrail(database).query(correlation_id="request-7")
    assert {(entry.component, entry.actor, entry.actor_source) for entry in trail} == {
        ("Effect", "ada", "principal"),
        ("Balance", "ada", "principal"),
    }
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["correlation_id"] for line in lines if "tracking" in line.values()] == ["request-7"]


@contextlib.contextmanager
def a_log() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    configure_logging(json=True)
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)
