"""Each guard fires where it should, names the place, and is silent elsewhere."""

import asyncio
import inspect
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, select
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import Fresh

from uno.data import Database, Model, Repository, UnitOfWork, session, transaction
from uno.errors import Misconfigured
from uno.settings import DatabaseSettings


class Base(AsyncAttrs, Model):
    __abstract__ = True
    metadata = MetaData()


class Parcel(Base):
    __tablename__ = "guarded_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str] = mapped_column(default="", deferred=True)
    lines: Mapped[list["ParcelItem"]] = relationship(back_populates="order")


class ParcelItem(Base):
    __tablename__ = "guarded_lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("guarded_orders.id"))
    order: Mapped[Parcel] = relationship(back_populates="lines")


class Plain(Base):
    __tablename__ = "guarded_plain"
    id: Mapped[int] = mapped_column(primary_key=True)


orders: Repository[Parcel] = Repository(Parcel)
lines: Repository[ParcelItem] = Repository(ParcelItem)
plain: Repository[Plain] = Repository(Plain)
Guarded = Callable[..., Awaitable[Database]]


@pytest.fixture
def guarded(fresh: Fresh, backend: str) -> Guarded:
    """A database with some rows, and guards as given."""

    async def make(guards: str = "error", **values: Any) -> Database:
        database = await fresh(backend, Base.metadata, settings=DatabaseSettings(guards=guards, **values))
        async with UnitOfWork(database):
            for n in range(1, 6):
                await orders.add(Parcel(id=n))
                await plain.add(Plain(id=n))
            await (await _flushed()).flush()
            for n in range(1, 6):
                await lines.add(ParcelItem(id=n, order_id=n))
        return database

    return make


async def _flushed() -> UnitOfWork:
    async with transaction() as uow:
        return uow


def here(offset: int) -> str:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return re.escape(f"{__file__}:{frame.f_back.f_lineno + offset}")


# ── lazy loads ──


async def test_an_attribute_that_was_not_loaded_is_named_with_the_way_to_load_it(guarded: Guarded) -> None:
    database = await guarded()
    relation = r"Parcel\.lines was not loaded, and cannot be loaded here; .*selectinload\(Parcel\.lines\)"
    async with UnitOfWork(database) as uow:
        order, line = await orders.get(1), await lines.get(2)
        for _ in range(2):
            with pytest.raises(Misconfigured, match=relation):
                order.lines  # noqa: B018
            with pytest.raises(Misconfigured, match=r"Parcel\.note was not loaded.*undefer\(Parcel\.note\)"):
                order.note  # noqa: B018
            with pytest.raises(Misconfigured, match=r"ParcelItem\.order was not loaded"):
                line.order  # noqa: B018
            await uow.session()
        assert len(await order.awaitable_attrs.lines) == 1
        assert await line.awaitable_attrs.order is await orders.get(2)
    gone = await _read(database)
    with pytest.raises(Misconfigured, match=relation):
        gone.lines  # noqa: B018


async def _read(database: Database) -> Parcel:
    async with UnitOfWork(database):
        return await orders.get(3)


async def test_an_attribute_that_has_expired_is_an_error_that_names_the_class(guarded: Guarded) -> None:
    async with session(await guarded()) as one:
        order = await one.get(Parcel, 1)
        assert order is not None
        one.expire(order)
        with pytest.raises(Misconfigured, match=r"An attribute of Parcel has expired.*await session\.refresh"):
            order.id  # noqa: B018
        await one.refresh(order)
        assert order.id == 1


# ── one by one ──


async def test_rows_read_one_by_one_are_refused_with_the_place(guarded: Guarded) -> None:
    database = await guarded(repeated_reads=4)
    for cls in (Parcel, Plain):
        async with UnitOfWork(database):
            kept = [await Repository(cls).get(n) for n in range(1, 4)]
            for one in kept:
                assert await Repository(cls).get(one.id) is one  # what is known is not read again
            with pytest.raises(Misconfigured, match=f"4 rows of {cls.__name__} were read one by one.*{here(1)}"):
                await Repository(cls).get(4)


async def test_in_each_unit_of_work_they_are_counted_anew_and_locks_are_not(guarded: Guarded) -> None:
    database = await guarded(repeated_reads=2)
    for n in range(1, 6):
        async with UnitOfWork(database):
            await plain.get(n)
    async with UnitOfWork(database):
        for n in range(1, 6):
            await plain.get_for_update(n)


async def test_attributes_loaded_one_by_one_are_refused_with_the_place(guarded: Guarded) -> None:
    database = await guarded(repeated_reads=3)
    async with session(database) as one:
        found = list((await one.scalars(select(Parcel).order_by(Parcel.id))).all())
        for order in found[:2]:
            await order.awaitable_attrs.lines
        with pytest.raises(Misconfigured, match=rf"Parcel\.lines was loaded 3 times one by one.*{here(1)}"):
            await found[2].awaitable_attrs.lines


async def test_otherwise_it_is_told_once_and_goes_on(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    database = await guarded("warn", repeated_reads=2)
    with caplog.at_level(logging.WARNING, "uno.data"):
        async with UnitOfWork(database):
            for n in range(1, 6):
                await plain.get(n)
    assert [record.getMessage().split(" were")[0] for record in caplog.records] == ["2 rows of Plain"]


async def test_guards_can_be_off(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    for settings in ({"guards": "off", "repeated_reads": 2}, {"repeated_reads": 0, "transaction_idle": 0}):
        database = await guarded(**settings)
        async with UnitOfWork(database):
            for n in range(1, 6):
                await plain.get(n)
    assert not caplog.records


def test_in_tests_guards_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DatabaseSettings().guarding == "warn"
    monkeypatch.setenv("UNO_ENV", "test")
    assert DatabaseSettings().guarding == "error"
    assert DatabaseSettings(guards="off").guarding == "off"


# ── what else is awaited in a transaction ──


async def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the guard tells, as soon as it does."""
    async with asyncio.timeout(20):
        while not (found := [one.getMessage() for one in caplog.records if "held open" in one.getMessage()]):
            await asyncio.sleep(0.001)
    return found


async def test_a_foreign_await_inside_a_transaction_is_told_with_its_place(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    database = await guarded("warn", transaction_idle=0.02)
    with caplog.at_level(logging.WARNING, "uno.data"):
        async with transaction(database) as uow:
            await uow.execute("SELECT 1")
            [message] = await told(caplog)
    first = inspect.getsourcelines(told)[1]  # the innermost function of the application's, which waits there
    assert f"something else is awaited, at {__file__}:{first + 4};" in message


async def test_it_is_an_error_of_the_next_statement_or_of_the_commit(guarded: Guarded) -> None:
    database = await guarded(transaction_idle=0.02)
    for commit in (False, True):
        with pytest.raises(Misconfigured, match="held open"):
            async with transaction(database) as uow:
                await uow.execute("INSERT INTO guarded_plain (id) VALUES (:id)", {"id": 77})
                held = uow.explicit
                assert held is not None
                async with asyncio.timeout(20):
                    while held.watch is None or held.watch.error is None:
                        await asyncio.sleep(0.001)
                if not commit:
                    await uow.execute("SELECT 1")
                    pytest.fail("The statement ran.")
    async with UnitOfWork(database):
        assert not await plain.exists(id=77)


async def test_a_long_statement_is_not_foreign(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    database = await guarded("warn", transaction_idle=0.02)
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT count(*) FROM n"
    with caplog.at_level(logging.WARNING, "uno.data"):
        async with transaction(database) as uow:
            assert (await uow.execute(slow)).scalar_one() == 1_000_000
            one = await uow.session()
            assert await one.scalar(slow) == 1_000_000
    assert not caplog.records


@asynccontextmanager
async def _around(caplog: pytest.LogCaptureFixture) -> AsyncIterator[list[str]]:
    yield await told(caplog)


async def test_the_place_is_found_inside_of_context_managers_too(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    database = await guarded("warn", transaction_idle=0.02)
    with caplog.at_level(logging.WARNING, "uno.data"):
        async with transaction(database) as uow, uow.savepoint(), _around(caplog) as messages:
            assert f"{__file__}:{inspect.getsourcelines(told)[1] + 4};" in messages[0]
