"""uno's own tables have a numbered schema."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Integer, MetaData, Table, insert, inspect, select, text

import uno.audit.tables
import uno.queue.tables
from uno import clock
from uno.app import App
from uno.bus import event_handler
from uno.data import Database, schema
from uno.data.tables import documents, metadata
from uno.errors import Misconfigured
from uno.messages import DomainEvent
from uno.modules import Module

assert uno.audit.tables.audit.metadata is uno.queue.tables.deliveries.metadata is metadata

own = MetaData()
thing = Table("thing", own, Column("id", Integer, primary_key=True))


@pytest.fixture
async def url(backend: str, templates: object) -> str:
    return await templates.empty_url(backend)  # type: ignore[attr-defined, no-any-return]


async def table_names(database: Database) -> set[str]:
    async with database.transaction() as transaction:
        return set(await transaction.connection.run_sync(lambda c: inspect(c).get_table_names()))


async def test_creating_makes_unos_tables_and_the_applications_and_can_be_repeated(url: str) -> None:
    async with Database(url) as database:
        assert await schema.current(database) is None
        await schema.create(database, [own])
        assert await schema.current(database) == schema.HEAD
        assert await table_names(database) == {
            "uno_document",
            "uno_audit",
            "uno_delivery",
            "uno_idempotency",
            "uno_schema",
            "thing",
        }
        async with database.transaction() as transaction:
            await transaction.execute(insert(thing).values(id=1))
        await schema.create(database, [own])
        assert len(await database.query(select(thing))) == 1
        await schema.require(database)


async def test_the_revisions_make_exactly_the_tables_that_the_code_declares(url: str) -> None:
    async with Database(url) as database:
        await schema.create(database)

        def compare(connection: object) -> list[object]:
            options = {"compare_type": True, "compare_server_default": True, "version_table": "uno_schema"}
            return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))  # type: ignore[arg-type]

        async with database.transaction() as transaction:
            assert await transaction.connection.run_sync(compare) == []


async def test_several_processes_may_create_the_schema_at_once(url: str) -> None:
    async def create() -> None:
        async with Database(url) as database:
            await schema.create(database, [own])

    await asyncio.gather(*(create() for _ in range(6)))
    async with Database(url) as database:
        await schema.require(database)


class Sent(DomainEvent):
    parcel_id: str


@event_handler(Sent, durable=True, name="tests.schema")
async def on_sent(event: Sent) -> None: ...


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (None, "The database has none of uno's tables; create them with: uno db create PACKAGE:APP"),
        ("0000", "The database has uno's schema 0000, this version needs 0002; run: uno db create PACKAGE:APP"),
        ("9999", "The database has uno's schema 9999, newer than this version's 0002; upgrade uno."),
    ],
)
async def test_an_application_refuses_another_schema_and_says_what_to_do(
    url: str, number: str | None, message: str
) -> None:
    async with Database(url) as database:
        if number is not None:
            await schema.create(database)
            async with database.transaction() as transaction:
                await transaction.execute(text("UPDATE uno_schema SET version_num = :n"), {"n": number})
        app = App(Module("post", handlers=[on_sent]), database=database)
        with pytest.raises(Misconfigured) as caught:
            async with app:
                raise AssertionError("it started")
        assert str(caught.value) == message


async def test_an_older_schema_is_brought_up_to_date_and_keeps_its_rows(url: str) -> None:
    async with Database(url) as database:
        await schema.create(database)
        row = {
            "kind": "a",
            "id": "1",
            "version": 1,
            "body": {"a": 1},
            "created_at": clock.now(),
            "updated_at": clock.now(),
        }
        async with database.transaction() as transaction:
            await transaction.execute(insert(documents).values(row))
            await transaction.execute(text("DROP TABLE uno_idempotency"))
            await transaction.execute(text("UPDATE uno_schema SET version_num = '0001'"))
        with pytest.raises(Misconfigured, match="schema 0001, this version needs 0002; run: uno db create"):
            await schema.require(database)
        await schema.create(database)
        await schema.require(database)
        assert "uno_idempotency" in await table_names(database)
        assert [found.body for found in await database.query(select(documents))] == [{"a": 1}]


async def test_an_application_starts_once_its_schema_is_there(
    url: str, fresh: Callable[..., Awaitable[Database]]
) -> None:
    async with Database(url) as database:
        await App(Module("post", handlers=[on_sent]), database=database).create_schema()
        async with App(Module("post", handlers=[on_sent]), database=database) as app:
            assert (await app.health()).status.value == "healthy"


async def test_a_database_in_memory_is_prepared_when_the_application_starts() -> None:
    async with App(Module("post", handlers=[on_sent]), database="sqlite://") as app:
        assert app.database is not None
        await schema.require(app.database)
