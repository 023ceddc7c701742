"""A write that was refused ends its unit of work, also where somebody catches the error: nothing of it is stored."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from sqlalchemy import ForeignKey, MetaData, column, insert, select, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from uno.app import App
from uno.audit import AuditBook, AuditTrail
from uno.bus import command_handler
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin, hooks
from uno.errors import Conflict, Invalid, Misconfigured, NotFound
from uno.messages import Command
from uno.modules import Module

Fresh = Callable[..., Awaitable[Database]]
Way = Callable[[UnitOfWork, type[Any]], Awaitable[Any]]
FORMS = ("postgresql auto", "postgresql batch", "postgresql session", "sqlite auto", "sqlite session")


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Money(Tables):
    __tablename__ = "money"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    amount: Mapped[int] = mapped_column(default=0)


class Plain(VersionMixin, Tables):
    __tablename__ = "plain_coded"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(unique=True)


class RefusedWhole(VersionMixin, Tables):
    """What belongs to it makes it a class of the session path."""

    __tablename__ = "whole"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(unique=True)
    parts: Mapped[list["RefusedPart"]] = relationship(cascade="all, delete-orphan", lazy="selectin")


class RefusedPart(Tables):
    __tablename__ = "part_of_whole"
    id: Mapped[int] = mapped_column(primary_key=True)
    whole_id: Mapped[int] = mapped_column(ForeignKey("whole.id"))


class Hooked(Tables):
    __tablename__ = "hooked_coded"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str]


@pytest.fixture
def _refusing() -> Iterator[None]:
    @hooks.after_insert(Hooked)
    def refuse(_hooked: Hooked) -> None:
        raise Invalid("not this one")

    yield
    hooks.remove(refuse)


@pytest.fixture(params=FORMS)
async def database(request: pytest.FixtureRequest, fresh: Fresh) -> Database:
    backend, commit = request.param.split()
    database = await fresh(backend, Tables.metadata, commit=commit)
    async with UnitOfWork(database):
        await Repository(Money).add(Money(id=1))
        for cls in (Plain, RefusedWhole):
            await Repository(cls).add(cls(id=1, code="c1"))
    return database


async def _stored(database: Database) -> Any:
    """Everything in the tables, and in the audit trail."""
    async with UnitOfWork(database):
        money = [(one.id, one.amount) for one in await Repository(Money).find(sort="id")]
        coded = [(one.id, one.code) for cls in (Plain, RefusedWhole) for one in await Repository(cls).find(sort="id")]
    return money, coded, [entry.component for entry in await AuditTrail(database).query()]


NOTHING = ([(1, 0)], [(1, "c1"), (1, "c1")], [])


async def _flush(uow: UnitOfWork, cls: type[Any]) -> None:
    await Repository(cls).add(cls(id=2, code="c1"))
    await uow.flush()


async def _find(_uow: UnitOfWork, cls: type[Any]) -> None:
    await Repository(cls).add(cls(id=2, code="c1"))
    await Repository(cls).find()


async def _enter(uow: UnitOfWork, cls: type[Any]) -> None:
    await Repository(cls).add(cls(id=2, code="c1"))
    async with uow.savepoint():
        pass


async def _insert_many(_uow: UnitOfWork, cls: type[Any]) -> None:
    await Repository(cls).insert_many([{"id": 2, "code": "c1"}])


async def _update_many(_uow: UnitOfWork, cls: type[Any]) -> None:
    await Repository(cls).insert_many([{"id": 3, "code": "c3"}])
    await Repository(cls).update_many(id=3, values={"code": "c1"})


async def _execute(uow: UnitOfWork, cls: type[Any]) -> None:
    await uow.execute(insert(cls).values(id=2, code="c1", version=1))


async def _session_flush(uow: UnitOfWork, cls: type[Any]) -> None:
    session = await uow.session()
    session.add(cls(id=2, code="c1"))
    await session.flush()


async def _session_execute(uow: UnitOfWork, cls: type[Any]) -> None:
    await (await uow.session()).execute(insert(cls).values(id=2, code="c1", version=1))


WAYS = (_flush, _find, _enter, _insert_many, _update_many, _execute, _session_flush, _session_execute)


@pytest.mark.parametrize("cls", [Plain, RefusedWhole])
@pytest.mark.parametrize("way", WAYS)
async def test_a_refused_write_that_was_caught_dooms_the_unit_of_work(
    database: Database, way: Way, cls: type[Any]
) -> None:
    with pytest.raises(Conflict) as raised:
        async with UnitOfWork(database, books=[AuditBook()]) as uow:
            (await Repository(Money).get(1)).amount = 500
            await Repository(Money).add(Money(id=9))
            await Repository(cls).add(cls(id=7, code="c7"))
            with pytest.raises(Conflict) as caught:
                await way(uow, cls)
    assert raised.value.constraint == caught.value.constraint
    assert await _stored(database) == NOTHING


@pytest.mark.parametrize("cls", [Plain, RefusedWhole])
@pytest.mark.parametrize("way", WAYS)
async def test_whatever_comes_after_a_refused_write_raises_it_again(
    database: Database, way: Way, cls: type[Any]
) -> None:
    with suppress(Conflict):
        async with UnitOfWork(database, books=[AuditBook()]) as uow:
            with pytest.raises(Conflict) as first:
                await way(uow, cls)
            for later in (
                uow.flush(),
                uow.execute("SELECT 1"),
                Repository(cls).get_by_id(1),
                Repository(cls).count(),
                Repository(Money).find(),
                Repository(Money).insert_many([{"id": 8}]),
                anext(Repository(Money).stream()),
            ):
                with pytest.raises(Conflict) as again:
                    await later
                assert again.value.constraint == first.value.constraint
            with pytest.raises(Conflict):
                async with uow.savepoint():
                    pass
    assert await _stored(database) == NOTHING


@pytest.mark.parametrize("cls", [Plain, RefusedWhole])
@pytest.mark.parametrize("way", WAYS)
async def test_a_savepoint_undoes_a_refused_write_and_the_unit_goes_on(
    database: Database, way: Way, cls: type[Any]
) -> None:
    async with UnitOfWork(database, books=[AuditBook()]) as uow:
        (await Repository(Money).get(1)).amount = 500
        for caught_inside in (False, True):
            with pytest.raises(Conflict):
                async with uow.savepoint():
                    with suppress(*([Conflict] if caught_inside else [])):
                        await way(uow, cls)
        await Repository(cls).add(cls(id=2, code="c2"))
        assert await Repository(cls).count() == 2
    money, coded, audited = await _stored(database)
    assert (money, (2, "c2") in coded, sorted(audited)) == ([(1, 500)], True, sorted(["Money", cls.__name__]))


async def test_a_savepoint_undoes_sql_beside_the_session(database: Database) -> None:
    async with UnitOfWork(database) as uow:
        await uow.session()
        with suppress(ZeroDivisionError):
            async with uow.savepoint():
                await uow.execute(text("UPDATE money SET amount = 7"))
                raise ZeroDivisionError
    assert await _stored(database) == NOTHING


async def test_the_session_itself_raises_the_first_error_again(database: Database) -> None:
    with suppress(Conflict):
        async with UnitOfWork(database) as uow:
            session = await uow.session()
            whole = await session.get(RefusedWhole, 1)
            with pytest.raises(Conflict):
                await _session_flush(uow, RefusedWhole)
            for later in (
                session.flush(),
                session.get(Plain, 1),
                session.refresh(whole),
                session.scalar("SELECT 1"),
            ):
                with pytest.raises(Conflict):
                    await later


async def test_a_savepoint_of_the_session_undoes_it_as_well(database: Database) -> None:
    async with UnitOfWork(database) as uow:
        session = await uow.session()
        with suppress(Conflict):
            async with session.begin_nested():
                await _session_flush(uow, RefusedWhole)
        session.add(RefusedWhole(id=2, code="c2"))
    assert (2, "c2") in (await _stored(database))[1]


@pytest.mark.usefixtures("_refusing")
async def test_a_hook_that_refused_dooms_it_too(database: Database) -> None:
    with pytest.raises(Invalid, match="not this one"):
        async with UnitOfWork(database) as uow:
            await Repository(Money).add(Money(id=9))
            await Repository(Hooked).add(Hooked(id=1, code="c1"))
            for call in (uow.flush, uow.flush, Repository(Hooked).count):
                with pytest.raises(Invalid, match="not this one"):
                    await call()
    assert await _stored(database) == NOTHING


async def test_a_statement_that_the_database_does_not_take_dooms_what_was_written_before(database: Database) -> None:
    with pytest.raises(Misconfigured):
        async with UnitOfWork(database) as uow:
            await Repository(Money).add(Money(id=9))
            await uow.flush()
            for call in (lambda: uow.execute("SELECT nonsense"), Repository(Money).count):
                with pytest.raises(Misconfigured):
                    await call()
    assert await _stored(database) == NOTHING


async def test_what_was_refused_before_it_was_sent_or_only_read_dooms_nothing(database: Database) -> None:
    async with UnitOfWork(database) as uow:
        with suppress(Misconfigured):  # outside of a transaction
            await uow.execute(select(column("nonsense")))
        await Repository(Money).add(Money(id=9))
        await uow.flush()
        with pytest.raises(NotFound):
            await Repository(Money).get(77)
        with pytest.raises(Invalid):
            await Repository(Money).find(nonsense=1)
        with pytest.raises(Invalid):
            await Repository(Money).find(amount=2**70)
        (await Repository(Money).get(1)).amount = 500
    assert (await _stored(database))[0] == [(1, 500), (9, 0)]


class Spend(Command[str]):
    pass


async def test_a_message_whose_handler_caught_it_fails_with_it(database: Database) -> None:
    @command_handler(Spend)
    async def spend(_command: Spend, uow: UnitOfWork) -> str:
        (await Repository(Money).get(1)).amount = 500
        with suppress(Conflict):
            await _flush(uow, RefusedWhole)
        return "stored"

    async with App(Module("money", handlers=[spend]), database=database) as app:
        result = await app.bus.dispatch(Spend())
    assert isinstance(result.error, Conflict)
    assert await _stored(database) == NOTHING
