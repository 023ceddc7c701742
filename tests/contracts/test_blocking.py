"""Synchronous code has the same database: rows, audit, hooks, errors are those of asynchronous code."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import selectinload
from tests.contracts.conftest import Templates
from tests.contracts.trips import Base, Tour, TourStop, Trip, Trips, audited, places, threaded, threads

from uno.audit import AuditBook, AuditTrail
from uno.context import Context, use
from uno.data import (
    Database,
    Filter,
    Repository,
    UnitOfWork,
    session,
    transaction,
)
from uno.data.blocking import Blocking
from uno.data.facades import BlockingRepository
from uno.errors import Conflict, Invalid, Misconfigured, NotFound, UnoError, VersionConflict

ADA = Context("req-1", "msg-1", actor="ada", actor_source="principal", tenant="north")


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
        return told, blocking.run(_left, blocking.asynchronous)

    assert await asyncio.to_thread(here) == (told, expected)
    assert len(expected) > 30


def test_every_method_of_a_repository_is_there() -> None:
    facade = BlockingRepository(Database("sqlite:///never-opened.db").blocking, Repository(Trip))
    public = {name for name, value in vars(Repository).items() if callable(value) and not name.startswith("_")}
    assert public - vars(facade).keys() == {"loader"}, "which is for tasks that run side by side"
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
    with pytest.raises(Misconfigured, match="does not take this SQL"), blocking.unit_of_work() as uow:
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
