"""Streams: more rows than memory holds, read through one connection that is given back whatever happens."""

import asyncio
import tracemalloc
from contextlib import aclosing
from contextvars import Context
from dataclasses import dataclass

import pytest
from sqlalchemy import ForeignKey, MetaData, Text, cast, func, insert
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import Fresh

from uno.data import Database, Filter, Model, Repository, SoftDeleteMixin, UnitOfWork, VersionMixin, schema
from uno.domain import AggregateRoot
from uno.errors import Invalid, TimedOut
from uno.settings import DatabaseSettings


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Point(VersionMixin, SoftDeleteMixin, Base):
    __tablename__ = "points"
    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[str] = mapped_column(default="")


class StreamedWhole(Base):
    """Its parts make it a class of SQLAlchemy's own session."""

    __tablename__ = "wholes"
    id: Mapped[int] = mapped_column(primary_key=True)
    parts: Mapped[list["StreamedPart"]] = relationship(cascade="all, delete-orphan", lazy="selectin")


class StreamedPart(Base):
    __tablename__ = "parts"
    id: Mapped[int] = mapped_column(primary_key=True)
    whole_id: Mapped[int] = mapped_column(ForeignKey("wholes.id"))


@dataclass(eq=False)
class Paper(AggregateRoot[str]):
    id: str
    title: str = ""


points: Repository[Point] = Repository(Point)
wholes: Repository[StreamedWhole] = Repository(StreamedWhole)
papers: Repository[Paper] = Repository(Paper)
ROWS = 2_500


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    made = await fresh(backend, Base.metadata, commit=request.param)
    async with made.transaction() as transaction:
        rows = [{"id": n, "place": f"p{n % 3}", "version": 1} for n in range(ROWS)]
        await transaction.execute(insert(Point), rows)
    return made


async def idle(database: Database) -> None:
    """Until all connections are given back."""
    async with asyncio.timeout(20):
        while (use := database.pool_use()) is None or use.in_use:
            await asyncio.sleep(0.001)


async def test_it_gives_what_find_finds_in_batches(database: Database) -> None:
    async with UnitOfWork(database):
        await points.soft_delete(4)
    async with UnitOfWork(database):
        stream = points.stream(Filter(place="p1"), sort="-id", batch=7, id__gte=1)
        found = [point async for point in stream]
        assert [one.id for one in found] == [one.id for one in await points.find(place="p1", sort="-id")]
        assert [one.id async for one in points.stream(id=4, include_deleted=True)] == [4]
        assert [one async for one in points.stream(place="nowhere")] == []
    await idle(database)


async def test_classes_of_every_kind_can_be_streamed(database: Database) -> None:
    async with UnitOfWork(database):
        for n in range(3):
            await wholes.add(StreamedWhole(id=n, parts=[StreamedPart(id=n * 10 + m) for m in range(2)]))
            await papers.add(Paper(f"{n}", title="t"))
    async with UnitOfWork(database):
        found = [whole async for whole in wholes.stream(sort="id", batch=2)]
        assert [[part.id for part in one.parts] for one in found] == [[0, 1], [10, 11], [20, 21]]
        assert [paper.id async for paper in papers.stream(sort="-id", title="t")] == ["2", "1", "0"]


async def test_what_has_changed_is_in_it_as_the_object_that_is_known(database: Database) -> None:
    async with UnitOfWork(database):
        known = await points.get(3)
        known.place = "changed"
        new = await points.add(Point(id=ROWS))
        found = [point async for point in points.stream(place__in=["changed", ""], sort="id")]
        assert found == [known, new]


async def test_what_it_yields_is_stored_when_it_is_saved(database: Database) -> None:
    async with UnitOfWork(database):
        async for point in points.stream(id__lt=4, sort="id"):
            point.place = "seen"
            if point.id % 2:
                await points.save(point)
    async with UnitOfWork(database):
        assert [point.id for point in await points.find(place="seen", sort="id")] == [1, 3]


async def test_other_queries_can_run_between_its_rows(database: Database) -> None:
    async with UnitOfWork(database) as uow:
        for explicit in (False, True):
            if explicit:
                await uow.transaction()
            async for point in points.stream(batch=10, sort="id"):
                if point.id % 500 == 0:
                    assert (await points.get(point.id)).id == point.id
                    assert await points.count(id=point.id) == 1
    await idle(database)


@pytest.mark.parametrize("commit", ["auto", "session"])
async def test_the_one_connection_of_a_database_in_memory_is_enough(commit: str) -> None:
    settings = DatabaseSettings(acquire_timeout=0.1)
    async with Database("sqlite://", commit=commit, settings=settings) as database:
        await schema.create(database, [Base.metadata])
        async with UnitOfWork(database):
            await points.insert_many([Point(id=n) for n in range(5)])
        async with UnitOfWork(database):
            async for point in points.stream(batch=2, sort="id"):
                point.place = f"{await points.count()}"
                await points.save(point)
                assert (await points.get(point.id)).place == "5"
        async with UnitOfWork(database):
            assert [point.place for point in await points.find()] == ["5"] * 5


async def test_it_is_closed_when_nobody_reads_on(database: Database) -> None:
    async with UnitOfWork(database):
        async for _ in points.stream(batch=10):
            break
        await idle(database)
        async with aclosing(points.stream(batch=10)) as stream:
            assert (await anext(stream)).id >= 0
        await idle(database)
        kept = points.stream(batch=10)
        await anext(kept)
        use = database.pool_use()
        assert use is not None
        assert use.in_use == 1
    await idle(database)
    with pytest.raises(StopAsyncIteration):
        await anext(kept)


async def test_it_is_closed_by_an_error_and_by_a_cancel(database: Database) -> None:
    async def read(error: BaseException | None) -> None:
        async with UnitOfWork(database):
            async for _ in points.stream(batch=10):
                if error is not None:
                    raise error
                started.set()

    with pytest.raises(ZeroDivisionError):
        await read(ZeroDivisionError())
    await idle(database)
    for _ in range(20):
        started = asyncio.Event()
        task = asyncio.create_task(read(None))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await idle(database)
    async with UnitOfWork(database):
        assert await points.count() == ROWS


async def test_a_writer_does_not_wait_for_it(database: Database) -> None:
    async def write() -> None:
        async with UnitOfWork(database):
            await points.add(Point(id=-1))

    async with UnitOfWork(database):
        stream = points.stream(batch=10)
        await anext(stream)
        async with asyncio.timeout(20):
            await asyncio.get_running_loop().create_task(write(), context=Context())
        assert len([one async for one in stream]) == ROWS - 1


async def test_bad_arguments_are_refused_before_anything_is_read(database: Database) -> None:
    async with UnitOfWork(database):
        for wrong in ({"batch": 0}, {"batch": -1}, {"sort": "nothing"}, {"nothing": 1}):
            with pytest.raises(Invalid):
                points.stream(**wrong)  # type: ignore[arg-type]


async def test_many_rows_need_no_more_memory_than_a_batch(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Base.metadata)
    many, texts = 20_000, "x" * 500
    async with database.transaction() as transaction:
        for start in range(0, many, 2_000):
            rows = [{"id": n, "place": texts, "version": 1} for n in range(start, start + 2_000)]
            await transaction.execute(insert(Point), rows)
    del rows
    async with UnitOfWork(database):
        count = 0
        tracemalloc.start()
        try:
            async for _ in points.stream(batch=500):
                count += 1
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert count == many
    assert peak < 4_000_000  # all of them are 20 million


async def test_errors_of_the_database_are_those_of_the_tree(fresh: Fresh) -> None:
    database = await fresh("postgresql", Base.metadata, settings=DatabaseSettings(statement_timeout=0.05))
    async with UnitOfWork(database):
        await points.add(Point(id=1))
    async with UnitOfWork(database):
        slow = points.stream(cast(func.pg_sleep(1), Text) == "")
        with pytest.raises(TimedOut):
            await anext(slow)
    await idle(database)
