"""uno's own tables of an older version: brought up to date at the start of an embedded database, refused elsewhere."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection, ForeignKey, MetaData, insert, inspect, select, text
from sqlalchemy.orm import Mapped, mapped_column

from uno import ids
from uno.app import App, Module
from uno.audit.tables import audit
from uno.clock import now
from uno.data import Database, Model, schema
from uno.data.embedded import stop
from uno.data.migrations.driving import Migrations
from uno.errors import Misconfigured
from uno.testing.postgres import DatabaseFarm

FIRST = "0001"


class Tables(Model):
    __abstract__ = True
    metadata = MetaData()


class Note(Tables):
    __tablename__ = "notes_at_start"
    id: Mapped[int] = mapped_column(primary_key=True)


class Others(Model):
    __abstract__ = True
    metadata = MetaData()


class Author(Others):
    __tablename__ = "authors_at_start"
    id: Mapped[int] = mapped_column(primary_key=True)


class Letters(Model):
    __abstract__ = True
    metadata = MetaData()


class Letter(Letters):
    __tablename__ = "letters_at_start"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.__table__.c.id))


class Lost(Model):
    __abstract__ = True
    metadata = MetaData()


class Orphan(Lost):
    __tablename__ = "orphans_at_start"
    id: Mapped[int] = mapped_column(primary_key=True)


class Stray(Lost):
    __tablename__ = "strays_at_start"
    id: Mapped[int] = mapped_column(ForeignKey("nowhere.id"), primary_key=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short, for the server's socket; the user it runs as can enter it.
    root = Path(tempfile.mkdtemp(prefix="uno-"))
    root.chmod(0o755)
    yield root / "data"
    stop(root / "data", force=True)
    shutil.rmtree(root)


@pytest.fixture
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        yield farm


def app(database: Database) -> App:
    return App(Module("notes", models=[Note]), database=database)


def _first(connection: Connection) -> None:
    """What the first version of uno made, by its own revision."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "revisions"))
    config.attributes["connection"] = connection
    command.upgrade(config, FIRST)


async def make_old(database: Database) -> None:
    row = {
        "id": ids.uuid7(),
        "kind": "change",
        "component": "Note",
        "record_id": "1",
        "operation": "create",
        "actor_source": "system",
        "timestamp": now(),
        "correlation_id": "req-1",
        "message_id": "msg-1",
    }
    async with database.transaction() as transaction:
        await transaction.connection.run_sync(_first)
        await transaction.execute(insert(audit).values(row))
    assert await schema.current(database) == FIRST
    assert "uno_idempotency" not in await tables_of(database)


async def tables_of(database: Database) -> set[str]:
    async with database.transaction() as transaction:
        return set(await transaction.connection.run_sync(lambda one: inspect(one).get_table_names()))


async def test_an_embedded_database_is_upgraded_once_by_those_who_start_at_once(folder: Path) -> None:
    url = f"embedded:{folder}"
    async with Database(url) as database:
        await make_old(database)
        lock = await asyncpg.connect(database.url.partition("?")[0].replace("+asyncpg", ""))
        try:
            # That of uno.data.schema: whoever upgrades waits for it.
            await lock.execute("BEGIN; SELECT pg_advisory_xact_lock(7305808869231650816)")
            async with AsyncExitStack() as stack:
                starting = [asyncio.create_task(stack.enter_async_context(app(Database(url)))) for _ in range(3)]
                waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                async with asyncio.timeout(30):
                    while await lock.fetchval(waiting) < len(starting):
                        await asyncio.sleep(0.02)
                assert "uno_idempotency" not in await tables_of(database)
                await lock.execute("COMMIT")
                await asyncio.gather(*starting)
                await schema.require(database, [Tables.metadata])
                assert [row.record_id for row in await database.query(select(audit))] == ["1"]
        finally:
            await lock.close()


@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
async def test_any_other_database_is_left_as_it_is_and_the_command_is_named(
    farm: DatabaseFarm, tmp_path: Path, backend: str
) -> None:
    url = await farm.create() if backend == "postgresql" else f"sqlite:///{tmp_path / 'old.db'}"
    async with Database(url) as database:
        await make_old(database)
        before = await tables_of(database)
        with pytest.raises(Misconfigured) as caught:
            async with app(database):
                raise AssertionError("it started")
        assert str(caught.value) == (
            f"The database has uno's schema {FIRST}, this version needs {schema.HEAD}; run: uno db create PACKAGE:APP"
        )
        assert await tables_of(database) == before
        await app(database).create_schema()
        async with app(database) as started:
            assert started.database is not None
            assert await schema.current(database) == schema.HEAD
            [(number,)] = await database.query(text("SELECT count(*) FROM uno_audit"))
            assert number == 1


@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
async def test_a_table_without_a_column_of_its_model_stops_the_start(
    farm: DatabaseFarm, tmp_path: Path, backend: str
) -> None:
    url = await farm.create() if backend == "postgresql" else f"sqlite:///{tmp_path / 'old.db'}"
    async with Database(url) as database:
        await app(database).create_schema()
        async with database.transaction() as transaction:
            await transaction.execute(text("DROP TABLE notes_at_start"))
            await transaction.execute(text("CREATE TABLE notes_at_start (other INTEGER)"))
        expected = r"no column notes_at_start\.id; .*uno db diff"
        for begin in (lambda: app(database).__aenter__(), lambda: app(database).create_schema()):
            with pytest.raises(Misconfigured, match=expected):
                await begin()


@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
async def test_a_table_that_refers_to_one_that_is_nowhere_is_not_made(
    farm: DatabaseFarm, tmp_path: Path, backend: str
) -> None:
    expected = (
        "letters_at_start.author_id refers to the table authors_at_start, which the database does not have and no "
        "module lists; add Author to the models of one."
    )
    url = await farm.create() if backend == "postgresql" else f"sqlite:///{tmp_path / 'new.db'}"
    async with Database(url) as database:
        letters = App(Module("letters", models=[Letter]), database=database)
        migrations = Migrations(database, tmp_path / "migrations", [Letters.metadata])
        for attempt in (letters.create_schema, lambda: migrations.revise("first")):
            with pytest.raises(Misconfigured) as caught:
                await attempt()
            assert str(caught.value) == expected
        assert await tables_of(database) == set()
        assert not migrations.folder.exists()
        await App(Module("letters", models=[Letter, Author]), database=database).create_schema()
        # Whoever made it.
        async with letters:
            assert {"letters_at_start", "authors_at_start"} <= await tables_of(database)
        async with database.transaction() as transaction:
            cascade = " CASCADE" if backend == "postgresql" else ""
            await transaction.execute(text(f"DROP TABLE authors_at_start{cascade}"))
        with pytest.raises(Misconfigured) as caught:
            async with letters:
                raise AssertionError("it started")
        assert str(caught.value) == expected


async def test_a_reference_that_finds_nothing_is_told_of_tables_that_nobody_lists(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path / 'lost.db'}") as database:
        with pytest.raises(Misconfigured, match=r'strays_at_start\.id: ForeignKey\("nowhere\.id"\) finds no such'):
            await App(Module("lost", models=[Orphan]), database=database).create_schema()
        assert await tables_of(database) == set()
