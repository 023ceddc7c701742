"""The unit of work and single rows: locking, saving, deleting."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest
from sqlalchemy import MetaData, String, func, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from uno.audit import AuditBook, AuditTrail
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.errors import Invalid, NotFound, VersionConflict
from uno.messages import DomainEvent

Fresh = Callable[..., Awaitable[Database]]
FORMS = ("postgresql auto", "postgresql batch", "postgresql session", "sqlite auto", "sqlite session")


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Coin(VersionMixin, Tables, AggregateRoot[str]):
    __tablename__ = "coin"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[int] = mapped_column(default=1)


class Ticket(Tables):
    """The database makes its number and its state."""

    __tablename__ = "ticket"
    number: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'open'"))


class CoinSpent(DomainEvent):
    coin_id: str


coins: Repository[Coin] = Repository(Coin)
tickets: Repository[Ticket] = Repository(Ticket)


@pytest.fixture(params=FORMS)
async def database(request: pytest.FixtureRequest, fresh: Fresh) -> Database:
    backend, commit = request.param.split()
    database = await fresh(backend, Tables.metadata, commit=commit)
    async with UnitOfWork(database):
        for id in "abc":
            await coins.add(Coin(id=id))
    return database


def unit(database: Database, **options: Any) -> UnitOfWork:
    return UnitOfWork(database, books=(AuditBook(),), **options)


async def values(database: Database) -> dict[str, int]:
    return dict(await database.query(select(Coin.id, Coin.value)))


async def audited(database: Database) -> list[tuple[str, str]]:
    return [(entry.record_id, entry.operation) for entry in await AuditTrail(database).query()]


async def test_get_for_update_sees_the_row_as_it_is_now(database: Database) -> None:
    if database.backend == "sqlite" and database.commit == "session":  # its transaction shuts everybody out
        return
    async with unit(database):
        coin = await coins.get("a")
        async with database.transaction() as transaction:
            await transaction.execute(update(Coin).where(Coin.id == "a").values(value=50, version=2))
        assert (await coins.get_for_update("a")).value == 50
        coin.value += 1
    assert (await values(database))["a"] == 51
    (entry,) = await AuditTrail(database).query()
    assert (entry.before, entry.after) == ({"value": 50}, {"value": 51})


async def test_get_for_update_of_a_row_that_was_changed_here_and_elsewhere_is_a_conflict(database: Database) -> None:
    if database.commit == "session":  # opens its transaction first
        return
    with pytest.raises(VersionConflict):
        async with unit(database):
            (await coins.get("a")).value = 2
            async with database.transaction() as transaction:
                await transaction.execute(update(Coin).where(Coin.id == "a").values(value=50, version=2))
            await coins.get_for_update("a")
    assert (await values(database))["a"] == 50


async def test_get_for_update_knows_what_is_new_or_deleted_here(database: Database) -> None:
    async with unit(database):
        new = await coins.add(Coin(id="d"))
        assert await coins.get_for_update("d") is new
        await coins.delete("a")
        for id in ("a", "nowhere"):
            with pytest.raises(NotFound):
                await coins.get_for_update(id)


async def test_a_locked_row_makes_other_writers_wait(database: Database) -> None:
    order: list[str] = []
    locked = asyncio.Event()

    async def first() -> None:
        async with unit(database):
            coin = await coins.get_for_update("a")
            locked.set()
            await asyncio.sleep(0.1)
            order.append("first")
            coin.value += 1

    async def second() -> None:
        await locked.wait()
        async with unit(database):
            coin = await coins.get_for_update("a")
            order.append("second")
            coin.value += 1

    await asyncio.gather(first(), second())
    assert order == ["first", "second"]
    assert (await values(database))["a"] == 3


async def test_save_inserts_what_is_new_and_updates_what_is_known(database: Database) -> None:
    async with unit(database):
        await coins.save(Coin(id="a", value=9))
        await coins.save(Coin(id="d", value=4))
    assert await values(database) == {"a": 9, "b": 1, "c": 1, "d": 4}
    assert sorted(await audited(database)) == [("a", "update"), ("d", "create")]


async def test_an_entity_of_an_earlier_unit_of_work_can_be_saved_unless_it_is_stale(database: Database) -> None:
    async with unit(database):
        early = await coins.get("a")
    early.value = 2
    async with unit(database):
        await coins.save(early)
    assert (await values(database))["a"] == 2
    async with unit(database):
        (await coins.get("a")).value = 3
    early.value = 4
    with pytest.raises(VersionConflict):
        async with unit(database):
            await coins.save(early)
    assert (await values(database))["a"] == 3


async def test_update_and_create_are_short_forms(database: Database) -> None:
    async with unit(database):
        await coins.create(id="d", value=6)
        await coins.update("a", value=8)
        with pytest.raises(Invalid, match="has no such attribute"):
            await coins.update("a", colour="red")
    assert await values(database) == {"a": 8, "b": 1, "c": 1, "d": 6}


async def test_deleting_what_is_not_there_is_not_found(database: Database) -> None:
    async with unit(database):
        with pytest.raises(NotFound):
            await coins.delete("nowhere")


async def test_a_commit_without_changes_writes_nothing(database: Database) -> None:
    async with unit(database):
        coin = await coins.get("a")
        coin.value = 1
        await coins.find()
    rows = await database.query(select(func.sum(Coin.version)))
    assert rows[0][0] == 3
    assert await audited(database) == []
