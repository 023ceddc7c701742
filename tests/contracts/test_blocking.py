"""Synchronous code has the same database: rows, audit, hooks, errors are those of asynchronous code."""

import asyncio
import signal
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import wraps
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload
from tests.contracts.conftest import Templates

from uno.app import App
from uno.audit import AuditBook, AuditTrail
from uno.bus import command_handler, event_handler
from uno.context import Context, use
from uno.data import (
    Database,
    Filter,
    Model,
    Repository,
    SoftDeleteMixin,
    TimestampMixin,
    UnitOfWork,
    VersionMixin,
    hooks,
    schema,
    session,
    transaction,
)
from uno.data.blocking import Blocking, BlockingRepository
from uno.domain import AggregateRoot
from uno.errors import Conflict, Invalid, Misconfigured, NotFound, UnoError, VersionConflict
from uno.messages import Command, DomainEvent
from uno.modules import Module
from uno.result import Failure, Result
from uno.sync import Portal, wait_in

WAYS = ("sqlite", "sqlite in memory", "postgresql", "postgresql in a running loop")
ADA = Context("req-1", "msg-1", actor="ada", actor_source="principal", tenant="north")


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Trip(VersionMixin, SoftDeleteMixin, TimestampMixin, Base):
    __tablename__ = "blocking_trips"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    place: Mapped[str] = mapped_column(default="", unique=True)
    price: Mapped[int] = mapped_column(default=0)


class Tour(VersionMixin, Base, AggregateRoot[int]):
    """Its relationship makes it a class of SQLAlchemy's session."""

    __tablename__ = "blocking_tours"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(default="")
    stops: Mapped[list["TourStop"]] = relationship(cascade="all, delete-orphan")


class TourStop(Base):
    __tablename__ = "blocking_stops"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tour_id: Mapped[int | None] = mapped_column(ForeignKey("blocking_tours.id"))


class Trips(Repository[Trip]):
    async def cheap(self, limit: int) -> list[str]:
        return [trip.place for trip in await self.find(price__lt=limit, sort="place")]


def audited(database: Database) -> Database:
    database.open_unit = lambda: UnitOfWork(database, books=[AuditBook()])
    return database


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def url(templates: Templates, way: str) -> str:
    return "sqlite://" if "memory" in way else await templates.url(way.split()[0], Base.metadata)


@pytest.fixture
def blocking(url: str, way: str) -> Iterator[Blocking]:
    database = audited(Database(url))
    application = Portal() if "running" in way else None
    if application is not None:
        wait_in(application.loop, database.open)
    with database.blocking as blocking:
        if "memory" in way:
            blocking.run(schema.create, database, [Base.metadata])
        yield blocking
    if application is not None:
        wait_in(application.loop, database.close)
        application.close()


@pytest.fixture
def trips(blocking: Blocking) -> BlockingRepository[Trip]:
    with blocking.unit_of_work() as uow:
        for number, place in enumerate(["Bonn", "Ulm", "Jena", "Kiel"]):
            uow.repository(Trip).add(Trip(id=number, place=place, price=10 * number))
    return blocking.repository(Trip)


def places(blocking: Blocking) -> list[str]:
    return list(blocking.execute("SELECT place FROM blocking_trips ORDER BY id").scalars())


def threaded(test: Callable[..., None]) -> Callable[..., Awaitable[None]]:
    """A test that is synchronous code, in a thread, as plain functions of a server run."""

    @wraps(test)
    async def run(**fixtures: Any) -> None:
        await asyncio.to_thread(test, **fixtures)

    return run


def threads(work: Callable[[int], Any], number: int) -> list[Any]:
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(work, range(number)))


# ── the same as asynchronous code ──


async def _story(database: Database) -> list[Any]:
    trips, tours, told = Repository(Trip), Repository(Tour), []
    async with transaction(database) as uow:
        await trips.create(id=1, place="Bonn", price=5)
        await trips.create(id=2, place="Ulm", price=7)
        await tours.add(Tour(id=1, name="Rhine", stops=[TourStop(id=1), TourStop(id=2)]))
        await uow.execute("UPDATE blocking_trips SET price = :price WHERE id = :id", {"price": 6, "id": 1})
    async with UnitOfWork(database, books=[AuditBook()]):
        (await trips.get(2)).price = 8
        (await tours.get(1, include=["stops"])).stops.pop()
    async with session(database) as one:
        one.add(Trip(id=3, place="Jena", price=1))
        told.append(list(await one.scalars(select(Trip.price).order_by(Trip.id))))
    async with transaction(database) as uow:
        await trips.soft_delete(2)
        try:
            async with uow.savepoint():
                await trips.create(id=4, place="Kiel")
                raise LookupError
        except LookupError:
            await trips.create(id=5, place="Trier", price=3)
    async with transaction(database):
        told.append(await trips.insert_many([{"id": n, "place": f"p{n}", "price": n} for n in range(10, 20)]))
        told.append(await trips.update_many(price__gte=15, values={"price": 15}))
        told.append(await trips.delete_many(price__lt=12, id__gte=10))
        await trips.restore(2)
    async with UnitOfWork(database, books=[AuditBook()]):
        page = await trips.page(Filter(price__gt=2), sort="-price,place", limit=3, total=True)
        more = await trips.page(Filter(price__gt=2), sort="-price,place", limit=3, after=page.next)
        told += [[(t.id, t.price, t.version) for t in [*page.items, *more.items]], page.total]
        told += [await trips.count(), await trips.exists(place="Kiel"), [t.id async for t in trips.stream(sort="id")]]
    return told


def _same_story(blocking: Blocking) -> list[Any]:
    trips, tours, told = blocking.repository(Trip), blocking.repository(Tour), list[Any]()
    with blocking.transaction() as uow:
        trips.create(id=1, place="Bonn", price=5)
        trips.create(id=2, place="Ulm", price=7)
        tours.add(Tour(id=1, name="Rhine", stops=[TourStop(id=1), TourStop(id=2)]))
        uow.execute("UPDATE blocking_trips SET price = :price WHERE id = :id", {"price": 6, "id": 1})
    with blocking.unit_of_work():
        trips.get(2).price = 8
        tours.get(1, include=["stops"]).stops.pop()
    with blocking.session() as one:
        one.add(Trip(id=3, place="Jena", price=1))
        told.append(list(one.scalars(select(Trip.price).order_by(Trip.id))))
    with blocking.transaction() as uow:
        trips.soft_delete(2)
        try:
            with uow.savepoint():
                trips.create(id=4, place="Kiel")
                raise LookupError
        except LookupError:
            trips.create(id=5, place="Trier", price=3)
    with blocking.transaction():
        told.append(trips.insert_many([{"id": n, "place": f"p{n}", "price": n} for n in range(10, 20)]))
        told.append(trips.update_many(price__gte=15, values={"price": 15}))
        told.append(trips.delete_many(price__lt=12, id__gte=10))
        trips.restore(2)
    with blocking.unit_of_work():
        page = trips.page(Filter(price__gt=2), sort="-price,place", limit=3, total=True)
        more = trips.page(Filter(price__gt=2), sort="-price,place", limit=3, after=page.next)
        told += [[(t.id, t.price, t.version) for t in [*page.items, *more.items]], page.total]
        told += [trips.count(), trips.exists(place="Kiel"), [t.id for t in trips.stream(sort="id")]]
    return told


def _without_times(given: Any) -> Any:
    """The two stories happened one after the other."""
    if isinstance(given, dict):
        return {k: _without_times(v) for k, v in given.items() if not k.endswith("_at") or v is None}
    return "time" if isinstance(given, datetime) else given


async def _left(database: Database) -> list[Any]:
    entries = await AuditTrail(database).query(limit=1000)
    rows = [await database.query(select(*table.columns).order_by(table.c.id)) for table in Base.metadata.sorted_tables]
    audit = [
        (e.component, e.record_id, e.operation, e.actor, e.actor_source, e.tenant, e.correlation_id, *images)
        for e in entries
        for images in [(_without_times(e.before), _without_times(e.after))]
    ]
    # The entries of one flush have no order.
    return [*sorted(audit, key=repr), *([_without_times(value) for value in row] for table in rows for row in table)]


async def test_it_stores_and_finds_and_audits_what_asynchronous_code_does(
    blocking: Blocking, templates: Templates, way: str
) -> None:
    async with Database(await templates.url(way.split()[0], Base.metadata)) as other:
        with use(ADA):
            told = await _story(audited(other))
        expected = await _left(other)

    def here() -> tuple[list[Any], list[Any]]:
        with use(ADA):
            told = _same_story(blocking)
        return told, blocking.run(_left, blocking._main)

    assert await asyncio.to_thread(here) == (told, expected)
    assert len(expected) > 30


def test_every_method_of_a_repository_is_there() -> None:
    facade = BlockingRepository(Database("sqlite:///never-opened.db").blocking, Repository(Trip))
    public = {name for name, value in vars(Repository).items() if callable(value) and not name.startswith("_")}
    assert public - vars(facade).keys() == set()
    assert sorted(public)[:3] == ["add", "count", "create"]


# ── units of work ──


@threaded
def test_an_error_rolls_back_and_comes_through(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    for error in (LookupError("no"), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)), blocking.transaction():
            trips.create(id=9, place="Linz")
            assert trips.count() == 5
            raise error
    assert places(blocking) == ["Bonn", "Ulm", "Jena", "Kiel"]


@threaded
def test_a_violation_is_the_error_of_the_same_name(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    with pytest.raises(Conflict, match="place"), blocking.unit_of_work():
        trips.create(id=9, place="Ulm")
    with pytest.raises(NotFound), blocking.unit_of_work():
        trips.get(99)
    with pytest.raises(Invalid), blocking.unit_of_work():
        trips.find(nothing=3)
    assert places(blocking) == ["Bonn", "Ulm", "Jena", "Kiel"]


@threaded
def test_a_stale_object_is_not_stored(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    with pytest.raises(VersionConflict), blocking.unit_of_work():
        trip = trips.get(1)

        def meanwhile(_: int) -> None:
            with blocking.unit_of_work():
                trips.get(1).price = 77

        threads(meanwhile, 1)
        trip.price = 78
    with blocking.unit_of_work():
        assert (trips.get(1).price, trips.get(1).version) == (77, 2)


@threaded
def test_a_block_inside_another_joins_it(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    with blocking.transaction() as outer:
        with blocking.transaction() as inner, blocking.session() as one:
            assert inner.asynchronous is outer.asynchronous
            assert one.asynchronous is outer.session().asynchronous
            trips.create(id=9, place="Linz")
        blocking.execute("UPDATE blocking_trips SET price = 1 WHERE id = 9")
        assert trips.count() == 5
    with pytest.raises(LookupError), blocking.transaction():
        try:
            with blocking.unit_of_work():
                raise LookupError
        except LookupError:
            trips.create(id=10, place="Graz")
    assert len(places(blocking)) == 5


@threaded
def test_the_savepoint_of_a_unit_of_work_undoes_its_part(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    with blocking.transaction() as uow:
        trips.create(id=9, place="Linz")
        with pytest.raises(Conflict), uow.savepoint():
            trips.create(id=10, place="Ulm")
        trips.create(id=11, place="Graz")
    assert places(blocking)[4:] == ["Linz", "Graz"]


@threaded
def test_a_repository_of_ones_own_has_its_own_queries(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    with blocking.unit_of_work() as uow:
        assert blocking.repository(Trips()).cheap(20) == ["Bonn", "Ulm"]
        assert uow.get_repository(Trips).cheap(limit=11) == ["Bonn", "Ulm"]
        assert uow.repository(Trips()).get(2).place == "Jena"
    assert trips.entity is Trip


@threaded
def test_a_lock_is_held_until_the_end(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    def pay(_: int) -> None:
        with blocking.transaction():
            trips.get_for_update(1).price += 1

    threads(pay, 8 if "memory" not in blocking.database.url else 2)
    with blocking.unit_of_work():
        assert trips.get(1).price - 10 == trips.get(1).version - 1


@threaded
def test_outside_of_a_unit_of_work_a_repository_says_how_to_open_one(blocking: Blocking) -> None:
    with pytest.raises(Misconfigured, match=r"with database\.blocking\.transaction\(\)"):
        blocking.repository(Trip).find()
    with pytest.raises(Misconfigured, match=r"with database\.blocking\.transaction\(\)"):
        blocking.repository(Trip).stream()


# ── SQL, sessions, groups ──


@threaded
def test_sql_of_ones_own(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    changed = blocking.execute("UPDATE blocking_trips SET price = :price WHERE id > :id", {"price": 3, "id": 1})
    assert changed.rowcount == 2  # type: ignore[attr-defined]
    returned = blocking.execute("DELETE FROM blocking_trips WHERE id = :id RETURNING place, price", {"id": 3})
    assert returned.all() == [("Kiel", 3)]
    assert blocking.execute(select(Trip.place).where(Trip.price == 3)).scalars().all() == ["Jena"]
    with pytest.raises(Misconfigured, match="no quotes"):
        blocking.execute("SELECT 'x'")
    with pytest.raises(DBAPIError), blocking.unit_of_work() as uow:
        uow.execute("SELECT id FROM nowhere")
    assert len(places(blocking)) == 3


@threaded
def test_the_session_is_sqlalchemys(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    with blocking.session() as one:
        one.add_all([Tour(id=1, name="Rhine", stops=[TourStop(id=1)])])
        one.flush()
        assert one.get(Trip, 2).place == "Jena"
        assert one.scalar("SELECT count(*) FROM blocking_stops") == 1
        assert one.execute(select(Trip.place).where(Trip.id < 2).order_by(Trip.id)).scalars().all() == ["Bonn", "Ulm"]
    with blocking.session() as one:
        tour = one.scalars(select(Tour)).one()
        with pytest.raises(Misconfigured, match=r"Tour\.stops was not loaded"):
            assert tour.stops
        one.refresh(tour, ["stops"])
        assert [stop.id for stop in tour.stops] == [1]
        one.delete(tour)
    with blocking.session() as one, pytest.raises(UnoError), one.begin_nested():
        one.execute("INSERT INTO blocking_trips (id) VALUES (:id)", {"id": 1})
    with blocking.session() as one:
        assert one.scalars(select(Tour).options(selectinload(Tour.stops))).all() == []


@threaded
def test_a_group_undoes_what_failed_and_goes_on(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    def add(id: int) -> Callable[[Any], int]:
        return lambda one: (
            one.execute(
                "INSERT INTO blocking_trips (id, place, price, version, created_at, updated_at) "
                "SELECT :id, :place, 0, 1, created_at, updated_at FROM blocking_trips WHERE id = 1",
                {"id": id, "place": f"place {id}"},
            ).rowcount
        )

    with blocking.group() as group:
        one = group.create_session()
        assert group.run_in_transaction(one, [add(10), add(11)]) == [1, 1]
        with pytest.raises(Conflict):
            group.run_in_transaction(one, [add(12), add(10)])
        assert group.run_operation(one, lambda s: s.scalar("SELECT count(*) FROM blocking_trips")) == 6
        with pytest.raises(Misconfigured, match="create_session"):
            group.run_operation(trips, add(13))  # type: ignore[arg-type]
    assert places(blocking)[4:] == ["place 10", "place 11"]


# ── streams ──


def in_use(blocking: Blocking) -> int:
    use = blocking.database.pool_use()
    assert use is not None
    return use.in_use


@threaded
def test_a_stream_that_is_left_gives_its_connection_back(blocking: Blocking, trips: BlockingRepository[Trip]) -> None:
    with blocking.unit_of_work():
        assert [trip.id for trip in trips.stream(sort="-id", batch=3)] == [3, 2, 1, 0]
        assert in_use(blocking) == 0
        for trip in trips.stream(batch=1):
            assert (trip.id in range(4), in_use(blocking)) == (True, 1)
            break
        assert in_use(blocking) == 0
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
        loop = blocking._main.loop
        if loop is not None:  # as if it ran in that very thread
            wait_in(loop, lambda: _closed(stream))
        else:
            stream.close()
        until = time.monotonic() + 5
        while in_use(blocking) and time.monotonic() < until:
            time.sleep(0.01)
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
    entries = blocking.run(AuditTrail(blocking._main).query)
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
                pytest.raises(Misconfigured, match=rf"{name} has to wait for an event loop.*test_blocking.py:\d+"),
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
    actors = [str(entry.actor) for entry in blocking.run(lambda: AuditTrail(blocking._main).query(limit=1000))]
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
        (lambda: blocking.run(AuditTrail(blocking._main).query), "await AuditTrail.query(…)"),
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
    app = App(Module("trips", models=[Trip], handlers=[book, tell]), database=blocking._main)
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
    app = App(Module("trips", models=[Trip], handlers=[book, tell]), database=blocking._main)
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
    monkeypatch.setattr("uno.data.database.LOCK_SECONDS", 0.3)
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
        await blocking._main.open()
    await asyncio.to_thread(blocking.close)
    async with blocking._main as database:
        assert await database.query(select(Trip.id)) == []
        assert await asyncio.to_thread(places, blocking) == []
