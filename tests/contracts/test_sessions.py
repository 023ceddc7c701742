"""Sessions, transactions and groups: one unit of work, whoever opens it."""

import asyncio

import pytest
from sqlalchemy import MetaData, select
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.app import App
from uno.audit import AuditTrail
from uno.bus import command_handler, query_handler
from uno.data import (
    Database,
    Model,
    Repository,
    SessionOperationGroup,
    UnitOfWork,
    VersionMixin,
    session,
    transaction,
)
from uno.errors import Conflict, Invalid, Misconfigured
from uno.messages import Command, Query
from uno.modules import Module
from uno.result import Failure, Result


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Note(VersionMixin, Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(default="", unique=True)


notes: Repository[Note] = Repository(Note)
INSERT = "INSERT INTO notes (id, title, version) VALUES (:id, :title, 1)"


@pytest.fixture
async def database(fresh: Fresh, backend: str) -> Database:
    return await fresh(backend, Base.metadata)


async def stored(database: Database) -> list[str]:
    return [row.title for row in await database.query(select(Note.title).order_by(Note.id))]


async def test_a_transaction_commits_at_its_end(database: Database) -> None:
    async with transaction(database) as uow:
        await uow.execute(INSERT, {"id": 1, "title": "raw"})
        await notes.add(Note(id=2, title="object"))
    async with session(database) as one:
        one.add(Note(id=3, title="session"))
    assert await stored(database) == ["raw", "object", "session"]


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError])
async def test_it_rolls_back_where_its_block_raises_or_is_cancelled(
    database: Database, kind: type[BaseException]
) -> None:
    for opened in (transaction, session):
        with pytest.raises(kind):
            async with opened(database) as one:
                await one.execute(INSERT, {"id": 1, "title": "raw"})
                raise kind
    assert await stored(database) == []
    use = database.pool_use()
    assert use is not None
    assert use.in_use == 0


async def test_inside_a_unit_of_work_they_join_it_and_it_commits(database: Database) -> None:
    with pytest.raises(ValueError, match="later"):
        async with UnitOfWork(database) as uow:
            async with session() as one, transaction() as joined, session(database) as again:
                assert joined is uow
                assert one is again
                one.add(Note(id=1, title="joined"))
            assert await stored_inside(uow) == ["joined"]
            raise ValueError("later")
    assert await stored(database) == []


async def stored_inside(uow: UnitOfWork) -> list[str]:
    return list((await uow.execute("SELECT title FROM notes")).scalars())


async def test_repositories_see_the_objects_of_the_session(database: Database) -> None:
    async with session(database) as one:
        note = Note(id=1, title="a")
        one.add(note)
        await one.flush()
        assert await notes.get(1) is note
        assert await one.get(Note, 1) is note


async def test_without_a_database_they_say_what_to_write(database: Database) -> None:
    for opened in (session, transaction, SessionOperationGroup):
        with pytest.raises(Misconfigured, match=r"Which database\? Write session\(database\)"):
            async with opened():
                pass


async def test_another_database_is_another_transaction(database: Database, fresh: Fresh, backend: str) -> None:
    other = await fresh(backend, Base.metadata)
    with pytest.raises(ValueError, match="only here"):
        async with UnitOfWork(database):
            await notes.add(Note(id=1, title="here"))
            async with transaction(other) as uow:
                await uow.execute(INSERT, {"id": 1, "title": "there"})
            raise ValueError("only here")
    assert (await stored(database), await stored(other)) == ([], ["there"])


# ── groups ──


async def test_a_group_stores_its_operations_together(database: Database) -> None:
    async with SessionOperationGroup(database) as group:
        first, second = await group.create_session(), await group.create_session()
        assert first is second
        results = await group.run_in_transaction(
            first,
            [
                lambda s: s.execute(INSERT, {"id": 1, "title": "a"}),
                lambda s: s.execute(INSERT, {"id": 2, "title": "b"}),
                lambda s: s.scalar("SELECT count(*) FROM notes"),
            ],
        )
        assert results[2] == 2
        assert await group.run_operation(second, lambda s: s.scalar("SELECT max(id) FROM notes")) == 2
    assert await stored(database) == ["a", "b"]


async def test_a_run_that_fails_is_undone_and_the_group_goes_on(database: Database) -> None:
    async with SessionOperationGroup(database) as group:
        one = await group.create_session()
        await group.run_operation(one, lambda s: s.execute(INSERT, {"id": 1, "title": "kept"}))
        with pytest.raises(Conflict):
            await group.run_in_transaction(
                one,
                [
                    lambda s: s.execute(INSERT, {"id": 2, "title": "undone"}),
                    lambda s: s.execute(INSERT, {"id": 3, "title": "kept"}),
                ],
            )
    assert await stored(database) == ["kept"]


async def test_a_group_that_fails_stores_nothing(database: Database) -> None:
    with pytest.raises(Conflict):
        async with SessionOperationGroup(database) as group:
            one = await group.create_session()
            await group.run_operation(one, lambda s: s.execute(INSERT, {"id": 1, "title": "a"}))
            await group.run_operation(one, lambda s: s.execute(INSERT, {"id": 1, "title": "b"}))
    assert await stored(database) == []


async def test_a_group_refuses_strange_sessions_and_those_who_come_too_late(database: Database) -> None:
    group = SessionOperationGroup(database)
    with pytest.raises(Misconfigured, match="not open"):
        await group.create_session()
    async with session(database) as stranger:
        pass
    async with group:
        with pytest.raises(Misconfigured, match="take it from create_session"):
            await group.run_operation(stranger, lambda s: s.scalar("SELECT 1"))
    with pytest.raises(Misconfigured, match="not open"):
        await group.create_session()


# ── an application ──


class Keep(Command[None]):
    title: str
    fails: bool = False


class Titles(Query[list[str]]):
    pass


class Rename(Query[None]):
    pass


@command_handler(Keep)
async def keep(command: Keep) -> Result[None] | None:
    async with session() as one:
        await one.execute(INSERT, {"id": 1, "title": command.title})
    await notes.add(Note(id=2, title=f"{command.title} too"))
    return Failure(Invalid("no")) if command.fails else None


@query_handler(Titles)
async def titles(_query: Titles, uow: UnitOfWork) -> list[str]:
    return list((await uow.execute("SELECT upper(title) FROM notes ORDER BY id")).scalars())


@query_handler(Rename)
async def rename(_query: Rename, uow: UnitOfWork) -> None:
    await uow.execute("UPDATE notes SET title = :title", {"title": "x"})


async def test_a_handler_that_fails_stores_nothing_of_its_sessions(database: Database) -> None:
    async with App(Module("notes", handlers=[keep, titles, rename]), database=database) as app:
        assert (await app.bus.dispatch(Keep(title="a", fails=True))).is_failure
        assert (await app.bus.dispatch(Titles())).unwrap() == []
        assert (await app.bus.dispatch(Keep(title="a"))).is_success
        assert (await app.bus.dispatch(Titles())).unwrap() == ["A", "A TOO"]
        with pytest.raises(Misconfigured, match="A query changes nothing"):
            await app.bus.dispatch(Rename())


async def test_a_transaction_on_the_database_of_an_application_is_audited(database: Database) -> None:
    async with App(Module("notes"), database=database), transaction(database):
        await notes.add(Note(id=1, title="a"))
    assert [entry.operation for entry in await AuditTrail(database).query()] == ["create"]
