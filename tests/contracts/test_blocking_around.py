"""Streams, hooks, threads, event loops and applications, where the code is synchronous."""

import asyncio
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from tests.contracts.conftest import Templates
from tests.contracts.trips import Base, Tour, Trip, Trips, in_use, places, threaded, threads

from uno.app import App
from uno.audit import AuditTrail
from uno.bus import command_handler, event_handler
from uno.context import Context, use
from uno.data import (
    Database,
    Repository,
    hooks,
)
from uno.data.blocking import Blocking
from uno.data.facades import BlockingRepository
from uno.errors import Invalid, Misconfigured, UnoError
from uno.messages import Command, DomainEvent
from uno.modules import Module
from uno.result import Failure, Result
from uno.sync import wait_in

# ── streams ──


@threaded
def test_a_stream_that_is_left_gives_its_connection_back(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    # The one connection of a database in memory is that of the whole unit of work from then on.
    kept = int(blocking.asynchronous.in_memory)
    with blocking.unit_of_work():
        assert [trip.id for trip in trips.stream(sort="-id", batch=3)] == [3, 2, 1, 0]
        assert in_use(blocking) == kept
        for trip in trips.stream(batch=1):
            assert (trip.id in range(4), in_use(blocking)) == (True, 1)
            break
        assert in_use(blocking) == kept
        left = trips.stream(batch=1)
        next(left)
        assert in_use(blocking) == 1
    assert in_use(blocking) == 0
    assert list(left) == []


@threaded
def test_a_stream_that_is_found_by_the_garbage_collector_is_closed(
    blocking: Blocking, trips: BlockingRepository[Trip]
) -> None:
    with blocking.unit_of_work():
        stream = trips.stream(batch=1)
        next(stream)
        loop = blocking.asynchronous.loop
        if loop is not None:  # as if it ran in that very thread
            wait_in(loop, lambda: _closed(stream))
        else:
            stream.close()
        until = time.monotonic() + 5
        while in_use(blocking) and time.monotonic() < until and not blocking.asynchronous.in_memory:
            time.sleep(0.01)
        assert in_use(blocking) == int(blocking.asynchronous.in_memory)
    assert in_use(blocking) == 0


async def _closed(stream: Any) -> None:
    stream.close()


@threaded
def test_the_rows_before_an_error_of_a_stream_come_first(
    blocking: Blocking, trips: BlockingRepository[Trip], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = blocking.database.plan(Trip)
    build, built = plan.build, list[Any]()

    def failing(row: Any) -> Any:
        built.append(row)
        if len(built) == 3:
            raise ValueError("the third")
        return build(row)

    monkeypatch.setattr(type(plan), "build", lambda _self, row: failing(row))
    seen = []
    with blocking.unit_of_work(), pytest.raises(ValueError, match="the third"):
        for trip in trips.stream(sort="id"):
            seen.append(trip.id)
    assert seen == [0, 1]
    assert in_use(blocking) == 0


# ── hooks ──


@pytest.fixture
def hooked() -> Iterator[Callable[[Any], Any]]:
    made: list[Any] = []

    def add(function: Any) -> Any:
        made.append(function)
        return function

    yield add
    for function in made:
        hooks.remove(function)


@threaded
def test_hooks_run_and_what_they_write_is_audited(blocking: Blocking, hooked: Callable[[Any], Any]) -> None:
    @hooked
    @hooks.before_insert(Trip)
    def name(trip: Trip) -> None:
        trip.place = trip.place.upper()

    @hooked
    @hooks.after_insert(Trip)
    async def tour(trip: Trip) -> None:
        await Repository(Tour).add(Tour(id=trip.id, name=f"to {trip.place}"))

    with blocking.unit_of_work():
        blocking.repository(Trip).create(id=1, place="Bonn")
    with blocking.unit_of_work():
        assert blocking.repository(Tour).get(1).name == "to BONN"
    entries = blocking.run(AuditTrail(blocking.asynchronous).query)
    assert [(entry.component, entry.operation) for entry in entries] == [("Trip", "create"), ("Tour", "create")]


@threaded
def test_a_hook_that_fails_undoes_everything(
    blocking: Blocking, trips: BlockingRepository[Trip], hooked: Callable[[Any], Any]
) -> None:
    @hooked
    @hooks.after_update(Trip)
    async def refuse(trip: Trip) -> Failure | None:
        return Failure(Invalid("too dear")) if trip.price > 100 else None

    with pytest.raises(Invalid, match="too dear"), blocking.unit_of_work():
        trips.get(1).place = "Trier"
        trips.get(2).price = 101
    assert places(blocking) == ["Bonn", "Ulm", "Jena", "Kiel"]


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(0), lambda: asyncio.sleep(0.001)])
@threaded
def test_a_hook_that_waits_runs_where_a_loop_is_and_is_an_error_elsewhere(
    blocking: Blocking, way: str, hooked: Callable[[Any], Any], wait: Callable[[], Any]
) -> None:
    @hooked
    @hooks.after_insert(Trip)
    async def ask_somebody(trip: Trip) -> None:
        await wait()

    @hooked
    @hooks.after_insert(Tour)
    async def ask_somebody_else(tour: Tour) -> None:
        await wait()

    for store, name in ((Trip(id=1), "ask_somebody"), (Tour(id=1), "ask_somebody_else")):
        if way == "sqlite":
            with (
                pytest.raises(
                    Misconfigured, match=rf"{name} has to wait for an event loop.*test_blocking_around.py:\d+"
                ),
                blocking.transaction(),
            ):
                blocking.repository(type(store)).add(store)
        else:
            with blocking.transaction():
                blocking.repository(type(store)).add(store)
    assert blocking.execute("SELECT count(*) FROM blocking_trips").scalar() == (0 if way == "sqlite" else 1)
    assert in_use(blocking) == 0


# ── threads and loops ──


@threaded
def test_many_threads_have_units_of_work_of_their_own(blocking: Blocking, way: str) -> None:
    """Each fails in a third of its transactions, so that what others wrote must not be lost with it."""
    trips = blocking.repository(Trip)

    def write(thread: int) -> int:
        for n in range(15):
            try:
                with use(Context(actor=f"actor {thread}")), blocking.transaction() as uow:
                    trips.create(id=100 * thread + n, place=f"{thread} {n}")
                    if n % 3 == 0:
                        uow.flush()
                        raise LookupError
            except LookupError:
                continue
        return thread

    assert threads(write, 6) == list(range(6))
    assert len(places(blocking)) == 6 * 10
    actors = [str(entry.actor) for entry in blocking.run(lambda: AuditTrail(blocking.asynchronous).query(limit=1000))]
    assert sorted(actors) == sorted(f"actor {thread}" for thread in range(6) for _ in range(10))
    assert in_use(blocking) == 0


@threaded
def test_a_unit_of_work_belongs_to_one_thread(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    import contextvars

    with blocking.transaction() as uow:
        inside = contextvars.copy_context()
        for call in (trips.count, uow.flush, lambda: uow.execute("SELECT 1"), lambda: blocking.execute("SELECT 1")):
            with pytest.raises(Misconfigured, match="Two tasks or threads share one unit of work"):
                threads(lambda _, call=call: inside.copy().run(call), 1)  # type: ignore[misc]
        with pytest.raises(Misconfigured, match="Two tasks or threads"):
            threads(lambda _: inside.copy().run(blocking.transaction().__enter__), 1)
        assert trips.count() == 4


async def test_where_an_event_loop_runs_each_call_names_the_asynchronous_one(blocking: Blocking) -> None:
    trips = blocking.repository(Trip)
    calls: list[tuple[Callable[[], Any], str]] = [
        (blocking.transaction().__enter__, "async with transaction(database)"),
        (blocking.unit_of_work().__enter__, "async with UnitOfWork(database)"),
        (blocking.session().__enter__, "async with session(database)"),
        (blocking.group().__enter__, "async with SessionOperationGroup(database)"),
        (lambda: blocking.execute("SELECT 1"), "await uow.execute(…)"),
        (lambda: blocking.create_tables([Base.metadata]), "await database.create_tables(…)"),
        (lambda: blocking.run(AuditTrail(blocking.asynchronous).query), "await AuditTrail.query(…)"),
        (lambda: trips.get(1), "await repository.get(…)"),
        (lambda: trips.find(), "await repository.find(…)"),
        (lambda: trips.add(Trip(id=1)), "await repository.add(…)"),
        (lambda: trips.stream(), "async for … in repository.stream(…)"),
        (lambda: blocking.repository(Trips()).cheap(1), "await Trips.cheap(…)"),
    ]
    for call, instead in calls:
        with pytest.raises(Misconfigured, match="would stop the event loop") as refused:
            call()
        assert f"`{instead}`" in str(refused.value)


def test_a_waiting_thread_that_is_interrupted_cancels_its_work() -> None:
    """In memory: what waits in a file waits in SQLite itself."""
    ended: list[str] = []

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append("work")

    with Database("sqlite://").blocking as blocking:
        with pytest.raises(KeyboardInterrupt), blocking.transaction():
            threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT)).start()
            blocking.run(long)
        assert ended == ["work"]
        assert in_use(blocking) == 0


# ── applications ──


class Book(Command[int]):
    place: str


class Booked(DomainEvent):
    place: str


TOLD: list[str] = []


@command_handler(Book)
async def book(command: Book) -> Result[int]:
    if not command.place:
        return Failure(Invalid("No place."))
    await Repository(Trip).create(id=50, place=command.place)
    return Failure(Invalid("Full.")) if command.place == "full" else 50  # type: ignore[return-value]


@event_handler(Booked)
async def tell(event: Booked) -> None:
    await asyncio.sleep(0)
    TOLD.append(event.place)


@threaded
def test_events_reach_subscribers_after_the_commit(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    app = App(Module("trips", models=[Trip], handlers=[book, tell]), database=blocking.asynchronous)
    blocking.run(app.__aenter__)
    TOLD.clear()
    with pytest.raises(LookupError), blocking.transaction() as uow:
        uow.record(Booked(place="never"))
        raise LookupError
    with blocking.transaction() as uow:
        uow.record(Booked(place="Linz"))
        assert TOLD == []
    assert TOLD == ["Linz"]
    blocking.run(app.__aexit__, None, None, None)


@threaded
def test_a_failure_of_a_message_inside_rolls_back(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    app = App(Module("trips", models=[Trip], handlers=[book, tell]), database=blocking.asynchronous)
    blocking.run(app.__aenter__)
    with pytest.raises(Invalid, match="Full"), blocking.transaction():
        trips.create(id=9, place="Linz")
        assert isinstance(blocking.run(app.bus.dispatch, Book(place="full")), Failure)
    assert len(places(blocking)) == 4
    with blocking.transaction():
        assert blocking.run(app.bus.dispatch, Book(place="Graz")).value == 50
    assert places(blocking)[4:] == ["Graz"]
    blocking.run(app.__aexit__, None, None, None)


# ── SQLite's lock, closing ──


async def test_a_writer_waits_for_sqlites_lock_with_a_limit(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uno.data.sqlite.LOCK_SECONDS", 0.3)
    url = await templates.url("sqlite", Base.metadata)

    def fight() -> tuple[float, str]:
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        with Database(url).blocking as blocking:
            other.execute("BEGIN IMMEDIATE")
            before = time.monotonic()
            with pytest.raises(UnoError) as error, blocking.transaction():
                pass
            waited = time.monotonic() - before
            threading.Timer(0.1, lambda: None).start()
            other.execute("ROLLBACK")
            other.close()
            with blocking.transaction():
                blocking.repository(Trip).create(id=1, place="Bonn")
            return waited, type(error.value).__name__

    waited, name = await asyncio.to_thread(fight)
    assert 0.2 < waited < 5
    assert name in ("Unavailable", "TimedOut")


def test_a_file_that_was_used_and_closed_elsewhere_is_opened_again(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/x.db")

    async def elsewhere() -> None:
        async with database:
            await database.query(text("SELECT 1"))

    asyncio.run(elsewhere())
    assert database.blocking.execute("SELECT 2").scalar() == 2
    database.blocking.close()


@threaded
def test_it_is_closed_and_opened_again(blocking: Blocking, trips: BlockingRepository[Trip], way: str) -> None:
    if "memory" in way:  # its data would be gone
        return
    blocking.close()
    if "running" in way:  # somebody else's
        assert in_use(blocking) == 0
    assert places(blocking) == ["Bonn", "Ulm", "Jena", "Kiel"]


async def test_the_database_of_synchronous_code_is_not_opened_in_another_loop(blocking: Blocking, way: str) -> None:
    if way != "postgresql":
        return
    await asyncio.to_thread(places, blocking)
    with pytest.raises(Misconfigured, match=r"database\.blocking\.close\(\)"):
        await blocking.asynchronous.open()
    await asyncio.to_thread(blocking.close)
    async with blocking.asynchronous as database:
        assert await database.query(select(Trip.id)) == []
        assert await asyncio.to_thread(places, blocking) == []
