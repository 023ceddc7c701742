"""The unit of work: what belongs together is written together, or not at all."""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from typing import Any, ClassVar

import pytest
from sqlalchemy import MetaData, String, func, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from uno import clock
from uno.audit import AuditBook, AuditTrail
from uno.bus.unit import current_unit
from uno.data import Changes, Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.errors import Conflict, Invalid, Misconfigured, NotFound, VersionConflict
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


async def test_an_exception_rolls_everything_back(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with unit(database) as uow:
            (await coins.get("a")).value = 2
            await coins.add(Coin(id="d"))
            await uow.flush()
            await coins.delete("b")
            raise ZeroDivisionError
    assert await values(database) == {"a": 1, "b": 1, "c": 1}
    assert await audited(database) == []


async def test_nothing_is_done_by_one_that_is_over_or_was_never_open(database: Database) -> None:
    async with unit(database) as over:
        pass
    for closed in (over, unit(database)):
        for call in (
            partial(closed.execute, "INSERT INTO coin (id, value, version) VALUES ('z', 1, 1)"),
            partial(closed.execute, "SELECT 1"),
            closed.session,
            closed.flush,
            closed.commit,
        ):
            with pytest.raises(Misconfigured, match="not open"):
                await call()
        with pytest.raises(Misconfigured, match="not open"):
            async with closed.savepoint():
                pass
        with pytest.raises(Misconfigured, match="not open"):
            closed.record(CoinSpent(coin_id="a"))
    use = database.pool_use()
    assert use is not None
    assert use.in_use == 0
    assert await values(database) == {"a": 1, "b": 1, "c": 1}


async def test_entering_again_joins(database: Database) -> None:
    async with unit(database) as outer:
        async with UnitOfWork(database) as inner:
            assert inner is outer
            (await coins.get("a")).value = 2
        assert (await values(database) if database.backend == "postgresql" else {"a": 1})["a"] == 1
        assert (await coins.get("a")).value == 2
    assert (await values(database))["a"] == 2
    assert current_unit.get() is None


async def test_an_exception_that_left_an_inner_block_dooms_the_outer(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with unit(database):
            (await coins.get("a")).value = 2
            try:
                async with unit(database):
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
    assert (await values(database))["a"] == 1


async def test_a_savepoint_undoes_what_happened_inside_and_nothing_else(database: Database) -> None:
    told: list[Changes] = []

    async def after(changes: Changes) -> None:
        told.append(changes)

    async with unit(database, after=[after]) as uow:
        first = await coins.get("a")
        first.value = 2
        with pytest.raises(ZeroDivisionError):
            async with uow.savepoint():
                first.value = 3
                first.register_event(CoinSpent(coin_id="a"))
                await coins.add(Coin(id="d"))
                await coins.delete("b")
                uow.record(CoinSpent(coin_id="b"))
                await uow.flush()
                raise ZeroDivisionError
        assert first.value == 2
        assert await coins.get_by_id("d") is None
        assert (await coins.get("b")).value == 1
        async with uow.savepoint():
            (await coins.get("c")).value = 5
        first.value += 10
    assert await values(database) == {"a": 12, "b": 1, "c": 5}
    assert [changes.events for changes in told] == [()]
    assert sorted(await audited(database)) == [("a", "update"), ("c", "update")]


async def test_a_savepoint_may_hold_an_insert_that_fails(database: Database) -> None:
    async with unit(database) as uow:
        for id in "ad":
            try:
                async with uow.savepoint():
                    await coins.add(Coin(id=id, value=9))
                    await uow.flush()
            except Conflict:
                assert id == "a"
    assert await values(database) == {"a": 1, "b": 1, "c": 1, "d": 9}
    assert await audited(database) == [("d", "create")]


async def test_two_tasks_that_share_one_unit_of_work_get_a_clear_error(database: Database) -> None:
    async with unit(database):

        async def use() -> None:
            await coins.add(Coin(id="x"))

        async def read() -> None:
            await coins.get("a")

        async def look() -> None:
            await coins.find()

        for task in (use, read, look):
            with pytest.raises(Misconfigured, match="Two tasks or threads share one unit of work"):
                await asyncio.create_task(task())
        if sys.version_info < (3, 12):  # later it runs in the task that waits
            with pytest.raises(Misconfigured, match=r"use asyncio\.timeout"):
                await asyncio.wait_for(read(), 5)
        async with clock.timeout(5):
            await read()


async def test_a_repository_without_unit_of_work_says_what_is_missing() -> None:
    with pytest.raises(Misconfigured, match="No unit of work is open"):
        await coins.get("a")


async def test_a_read_only_unit_of_work_refuses_every_change(database: Database) -> None:
    async def add() -> None:
        await coins.add(Coin(id="d"))

    async def add_to_the_session() -> None:
        (await unit_now().session()).add(Coin(id="d"))

    async def save() -> None:
        await coins.save(Coin(id="a", value=7))

    async def delete() -> None:
        await coins.delete("a")

    async def assign() -> None:
        (await coins.get("a")).value = 7

    async def assign_and_read() -> None:
        (await coins.get("a")).value = 7
        await coins.count()

    async def through_the_session() -> None:
        session = await unit_now().session()
        (await session.get_one(Coin, "a")).value = 7

    for change in (add, save, delete, assign, assign_and_read, through_the_session, add_to_the_session):
        with pytest.raises(Misconfigured, match="A query changes nothing"):
            async with unit(database, read_only=True):
                await change()
        assert await values(database) == {"a": 1, "b": 1, "c": 1}


def unit_now() -> UnitOfWork:
    uow = current_unit.get()
    assert isinstance(uow, UnitOfWork)
    return uow


async def test_a_read_only_unit_of_work_reads(database: Database) -> None:
    async with unit(database, read_only=True):
        assert (await coins.get("a")).value == 1
        assert await coins.count() == 3


async def test_a_commit_by_hand_writes_once(database: Database) -> None:
    told: list[Changes] = []

    async def after(changes: Changes) -> None:
        told.append(changes)

    async with unit(database, after=[after]) as uow:
        coin = await coins.get("a")
        coin.value = 2
        coin.register_event(CoinSpent(coin_id="a"))
        await uow.commit()
        assert (await values(database))["a"] == 2
        coin.value = 3
        await coins.add(Coin(id="d"))
        await uow.commit()
        await uow.commit()
    assert await values(database) == {"a": 3, "b": 1, "c": 1, "d": 1}
    assert sorted(await audited(database)) == [("a", "update"), ("a", "update"), ("d", "create")]
    assert [len(changes.events) for changes in told if changes.events] == [1]


async def test_reads_see_what_was_changed_before_them(database: Database) -> None:
    async with unit(database):
        (await coins.get("a")).value = 7
        await coins.add(Coin(id="d", value=7))
        await coins.delete("b")
        assert await coins.count() == 3
        assert await coins.count(Coin.value == 7) == 2
        assert [coin.id for coin in await coins.find(sort="-id")] == ["d", "c", "a"]
        assert await coins.exists(id="d")
        assert not await coins.exists(id="b")
        assert await coins.get_by_id("b") is None
        with pytest.raises(NotFound, match="There is no Coin with id 'b'"):
            await coins.get("b")
    assert await values(database) == {"a": 7, "c": 1, "d": 7}
    assert sorted(await audited(database)) == [("a", "update"), ("b", "delete"), ("d", "create")]


async def test_there_is_never_a_second_object_for_one_row(database: Database) -> None:
    async with unit(database) as uow:
        coin = await coins.get("a")
        assert await coins.get("a") is coin
        assert await coins.find_one(id="a") is coin
        assert await coins.get_for_update("a") is coin
        new = await coins.add(Coin(id="d"))
        assert await coins.get("d") is new
        session = await uow.session()
        assert await session.get(Coin, "a") is coin
        assert (await session.execute(select(Coin).where(Coin.id == "d"))).scalar_one() is new
        assert await coins.get("a") is coin
        with pytest.raises(Misconfigured, match="already in this unit of work as another object"):
            await coins.add(Coin(id="a"))


async def test_what_is_written_through_the_session_is_audited_and_its_events_are_published(database: Database) -> None:
    told: list[Changes] = []

    async def after(changes: Changes) -> None:
        told.append(changes)

    async with unit(database, after=[after]) as uow:
        before = await coins.get("a")
        before.value = 2
        before.register_event(CoinSpent(coin_id="a"))
        session = await uow.session()
        coin = await session.get_one(Coin, "b")
        coin.value = 3
        coin.register_event(CoinSpent(coin_id="b"))
        session.add(Coin(id="d", value=4))
        await session.delete(await session.get_one(Coin, "c"))
        before.value = 5
    assert await values(database) == {"a": 5, "b": 3, "d": 4}
    trail = {e.record_id: (e.operation, e.before, e.after) for e in await AuditTrail(database).query()}
    assert trail == {
        "a": ("update", {"value": 1}, {"value": 5}),
        "b": ("update", {"value": 1}, {"value": 3}),
        "c": ("delete", {"id": "c", "value": 1}, None),
        "d": ("create", None, {"id": "d", "value": 4}),
    }
    assert sorted(event.coin_id for event in told[0].events if isinstance(event, CoinSpent)) == ["a", "b"]


async def test_an_entity_that_was_only_read_publishes_its_events(database: Database) -> None:
    told: list[Changes] = []

    async def after(changes: Changes) -> None:
        told.append(changes)

    async with unit(database, after=[after]):
        (await coins.get("a")).register_event(CoinSpent(coin_id="a"))
    assert [type(event) for event in told[0].events] == [CoinSpent]
    assert await audited(database) == []


async def test_what_the_database_generates_is_there_after_a_flush(database: Database) -> None:
    async with unit(database) as uow:
        first = await tickets.add(Ticket(title="first"))
        second = await tickets.add(Ticket(title="second", state="closed"))
        await uow.flush()
        assert first.number > 0
        assert second.number != first.number
        assert (first.state, second.state) == ("open", "closed")
        assert await tickets.get(first.number) is first
        first.title = "renamed"
    rows = await database.query(select(Ticket.title, Ticket.state).order_by(Ticket.number))
    assert [tuple(row) for row in rows] == [("renamed", "open"), ("second", "closed")]
    trail = {e.record_id: e.after for e in await AuditTrail(database).query()}
    assert trail[str(first.number)] == {"number": first.number, "title": "renamed", "state": "open"}


async def test_what_the_database_generates_is_audited_without_a_flush(database: Database) -> None:
    async with unit(database):
        ticket = await tickets.add(Ticket(title="only"))
    (entry,) = await AuditTrail(database).query()
    assert entry.record_id == str(ticket.number)
    assert entry.after == {"number": ticket.number, "title": "only", "state": "open"}


async def test_a_generated_key_that_is_read_too_early_names_flush(database: Database) -> None:
    async with unit(database) as uow:
        ticket = await tickets.add(Ticket(title="only"))
        with pytest.raises(Misconfigured, match=r"flush\(\)"):
            _ = ticket.number
        await uow.flush()
        assert ticket.number


# ── single rows: locking, saving, deleting ──


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
            await until_somebody_waits(database)
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


async def until_somebody_waits(database: Database) -> None:
    """PostgreSQL says who waits for a lock; SQLite refuses whoever does not wait."""
    if database.backend == "sqlite":
        other = sqlite3.connect(str(database.engine.url.database), timeout=0)
        with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        return
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    deadline = time.monotonic() + 10
    while not (await database.query(waiting))[0][0]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


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
