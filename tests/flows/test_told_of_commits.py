"""What is stored has its consequences: subscribers hear of a commit, though who committed was cancelled meanwhile."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from uno.app import App
from uno.bus import command_handler, event_handler
from uno.data import Changes, Database, Repository, UnitOfWork, schema
from uno.domain import AggregateRoot
from uno.messages import Command, DomainEvent
from uno.modules import Module
from uno.testing.postgres import DatabaseFarm


class Counted(DomainEvent):
    number: str


class Number(AggregateRoot[str]):
    pass


class Count(Command[None]):
    number: str


@command_handler(Count)
async def count(command: Count, numbers: Repository[Number]) -> None:
    number = await numbers.add(Number(id=command.number))
    number.register_event(Counted(number=command.number))


# A commit that takes a while: a constraint waits at its end.
SLOW = (
    "CREATE TABLE entries (id text PRIMARY KEY)",
    "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END'",
    "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON entries DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION wait()",
)


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with DatabaseFarm() as farm, Database(f"{await farm.create()}?sslmode=disable") as database:
        await schema.create(database)
        async with database.transaction() as transaction:
            for statement in SLOW:
                await transaction.execute(text(statement))
        yield database


async def test_whoever_waits_for_a_commit_hears_of_it_though_its_caller_was_cancelled(database: Database) -> None:
    told = asyncio.Event()

    async def tell(changes: Changes) -> None:
        told.set()

    async def write() -> None:
        async with UnitOfWork(database, books=[], after=[tell]) as uow:
            await uow.execute(text("INSERT INTO entries VALUES ('a')"))

    writing = asyncio.create_task(write())
    while await _committing(database) == 0:
        await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    async with asyncio.timeout(30):
        await told.wait()
    assert [row.id for row in await database.query(text("SELECT id FROM entries"))] == ["a"]


async def _committing(database: Database) -> int:
    rows = await database.query(text("SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
    return int(rows[0].n)


async def test_subscribers_behind_one_that_was_cancelled_are_told_all_the_same(database: Database) -> None:
    begun, last = asyncio.Event(), asyncio.Event()
    story: list[str] = []

    @event_handler(Counted)
    async def first(event: Counted) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            story.append("cancelled")

    @event_handler(Counted)
    async def second(event: Counted) -> None:
        story.append(f"second {event.number}")
        last.set()

    async with App(Module("counting", models=[Number], handlers=[count, first, second]), database=database) as app:
        await app.create_schema()
        counting = asyncio.create_task(app.bus.dispatch(Count(number="one")))
        await begun.wait()
        counting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await counting
        async with asyncio.timeout(30):
            await last.wait()
    assert story == ["cancelled", "second one"]
