"""When a row was made and last changed: the clock of uno for what uno writes, the database's for the rest."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.orm import Mapped
from tests.contracts.conftest import Fresh

from uno import clock
from uno.data import Database, Filter, Model, Repository, TimestampMixin, UnitOfWork, UUIDMixin, VersionMixin
from uno.data.plan import mapped_plan


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Stamped(UUIDMixin, VersionMixin, TimestampMixin, Base):
    __tablename__ = "stamped"
    name: Mapped[str]
    price: Mapped[Decimal | None]
    data: Mapped[dict[str, Any] | None]


class Loose(UUIDMixin, TimestampMixin, Base):
    """Without a version."""

    __tablename__ = "stamped_loosely"
    name: Mapped[str]
    price: Mapped[Decimal | None]
    data: Mapped[dict[str, Any] | None]


class Turned:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.at = datetime(2020, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits here")


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    return await fresh(backend, Base.metadata, commit=request.param)


@pytest.fixture
def turned() -> Iterator[Turned]:
    with clock.use(Turned()) as found:
        assert isinstance(found, Turned)
        yield found


ID = UUID(int=7)
VALUES: dict[str, Any] = {"name": "a", "price": Decimal("1.50"), "data": {"b": [1, 2]}}
RAW = "INSERT INTO stamped (id, version, name) VALUES (:id, 1, :name)"


async def stamps(database: Database, cls: Any, id: UUID = ID) -> tuple[datetime, datetime, int | None]:
    async with UnitOfWork(database):
        found = await Repository(cls).get(id)
        return found.created_at, found.updated_at, getattr(found, "version", None)


async def raw(database: Database, statement: str, **values: Any) -> None:
    if database.backend == "sqlite" and "id" in values:
        values["id"] = values["id"].hex
    async with database.transaction() as transaction:
        await transaction.execute(text(statement), values)


def test_the_database_has_a_clock_for_what_others_write_and_the_rows_are_still_uno_s_own() -> None:
    for cls in (Stamped, Loose):
        plan = mapped_plan(cls)
        assert plan is not None
        assert plan.fast
        assert not any(attribute.generated for attribute in plan.attributes)


async def test_what_uno_writes_has_uno_s_time(database: Database, turned: Turned) -> None:
    async with UnitOfWork(database):
        made = await Repository(Stamped).add(Stamped(id=ID, **VALUES))
    assert made.created_at == made.updated_at == turned.at  # without asking the database
    first = turned.at
    turned.at += timedelta(days=1)
    async with UnitOfWork(database):
        await Repository(Stamped).update(ID, name="b")
    assert await stamps(database, Stamped) == (first, turned.at, 2)
    async with UnitOfWork(database):
        await Repository(Stamped).insert_many([{"id": UUID(int=8), "name": "c"}])
    assert await stamps(database, Stamped, UUID(int=8)) == (turned.at, turned.at, 1)
    turned.at += timedelta(days=1)
    async with UnitOfWork(database):
        await Repository(Stamped).update_many(name="c", values={"name": "d"})
    assert await stamps(database, Stamped, UUID(int=8)) == (first + timedelta(days=1), turned.at, 2)


@pytest.mark.usefixtures("turned")
async def test_what_raw_sql_inserts_has_the_database_s_time(database: Database) -> None:
    await raw(database, RAW, id=ID, name="raw")
    created, updated, _ = await stamps(database, Stamped)
    assert created == updated
    assert abs(created - datetime.now(UTC)) < timedelta(minutes=5)  # uno's clock says 2020
    async with UnitOfWork(database):
        things = Repository(Stamped)
        await things.add(Stamped(name="old"))
        assert [one.name for one in await things.find(sort="created_at")] == ["old", "raw"]
        [same] = await things.find(Filter(created_at=created, updated_at__lte=created))
        assert same.name == "raw"
        assert await things.count(created_at__gt=created) == 0


async def test_what_raw_sql_updates_has_the_time_that_it_says(database: Database) -> None:
    with clock.use(Turned()):
        async with UnitOfWork(database):
            await Repository(Stamped).add(Stamped(id=ID, **VALUES))
    before = await stamps(database, Stamped)
    await raw(database, "UPDATE stamped SET name = 'b'")
    assert await stamps(database, Stamped) == before
    now = Stamped.__table__.c.updated_at.server_default.arg.compile(dialect=database.dialect)
    await raw(database, f"UPDATE stamped SET name = 'c', updated_at = {now}, version = version + 1")
    created, updated, version = await stamps(database, Stamped)
    assert (created, version) == (before[0], 2)
    assert abs(updated - datetime.now(UTC)) < timedelta(minutes=5)


async def test_a_copy_without_the_columns_has_the_database_s_time(fresh: Fresh) -> None:
    database = await fresh("postgresql", Base.metadata)
    connection = await asyncpg.connect(database.url.replace("+asyncpg", "").partition("?")[0])
    try:
        await connection.copy_records_to_table("stamped", records=[(ID, 1, "a")], columns=["id", "version", "name"])
    finally:
        await connection.close()
    created, updated, _ = await stamps(database, Stamped)
    assert created == updated
    assert abs(created - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize("cls", [Stamped, Loose])
async def test_an_update_that_changes_nothing_moves_nothing(database: Database, turned: Turned, cls: Any) -> None:
    things = Repository(cls)
    async with UnitOfWork(database):
        await things.add(cls(id=ID, **VALUES))
    before = await stamps(database, cls)
    turned.at += timedelta(days=1)
    same: dict[str, Any] = {"name": "a", "price": Decimal("1.5"), "data": {"b": [1, 2]}}
    async with UnitOfWork(database):
        await things.update(ID, **same)
    async with UnitOfWork(database):
        found = await things.get(ID)
        found.name, found.data = "other", {"b": [1]}
        found.name, found.data = same["name"], same["data"]
    async with UnitOfWork(database):
        await things.save(cls(id=ID, **same))
    async with UnitOfWork(database):
        await things.save(await things.get(ID))
    async with UnitOfWork(database):
        assert await things.update_many(id=ID, values=same) == 0
    assert await stamps(database, cls) == before
    async with UnitOfWork(database):
        await things.add(cls(id=UUID(int=8), name="b"))
        assert await things.update_many(everything=True, values={"name": "b"}) == 1
    assert (await stamps(database, cls))[:2] == (before[0], turned.at)
    assert (await stamps(database, cls, UUID(int=8)))[2] in (1, None)
