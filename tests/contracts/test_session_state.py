"""No connection of PostgreSQL takes what was done to its session to whoever has it next."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from secrets import token_hex
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from tests.contracts.tenants import Note, expected, notes, of, run

from uno.data import Database, Repository, UnitOfWork, session
from uno.data.pool import PoolUse
from uno.settings import DatabaseSettings

STATE = """
    SELECT current_user::text = :role, current_setting('search_path'), current_setting('statement_timeout'),
        coalesce(current_setting('uno.tenant', true), ''), (SELECT count(*) FROM pg_listening_channels()),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        (SELECT count(*) FROM pg_cursors WHERE is_holdable), to_regclass('pg_temp.mine')::text,
        (SELECT count(*) FROM pg_prepared_statements WHERE from_sql)
"""
CHANGES = (
    "SET search_path TO pg_catalog",
    "set statement_timeout = '7s'",
    "SET uno.tenant = 'south'",
    "SELECT set_config('uno.tenant', 'south', false)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock_shared(1, 2)",
    "LISTEN mine",
    "CREATE TEMP TABLE mine (id int)",
    "SELECT 1 AS id INTO TEMPORARY mine",
    "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
    "PREPARE one AS SELECT 1",
    "DO $$ BEGIN SET search_path TO pg_catalog; END $$",
)
HARMLESS = (
    "SELECT id FROM tenant_notes",
    "UPDATE tenant_notes SET text = 'x'",
    "SET LOCAL search_path TO pg_catalog",
    "SELECT set_config('search_path', 'pg_catalog', true)",
    "SELECT pg_advisory_xact_lock(1)",
    "SAVEPOINT one",
)
Run = Callable[[Database, str], Awaitable[object]]


class Stop(Exception):
    pass


async def by_transaction(database: Database, sql: str) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(text(sql))


async def by_unit(database: Database, sql: str) -> None:
    async with UnitOfWork(database) as uow:
        await uow.execute(text(sql))


async def by_session(database: Database, sql: str) -> None:
    async with session(database) as one:
        await one.execute(text(sql))


async def by_session_of_unit(database: Database, sql: str) -> None:
    async with UnitOfWork(database) as uow:
        await (await uow.session()).execute(text(sql))


async def by_engine(database: Database, sql: str) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text(sql))


async def by_facade(database: Database, sql: str) -> None:
    def work() -> None:
        with database.blocking.unit_of_work() as uow:
            uow.execute(text(sql))

    await asyncio.to_thread(work)


async def with_error(database: Database, sql: str) -> None:
    with pytest.raises(Stop):
        async with database.transaction() as transaction:
            await transaction.execute(text(sql))
            await transaction.connection.commit()
            raise Stop


async def cancelled(database: Database, sql: str) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), UnitOfWork(database) as uow:
            await uow.execute(text(sql))
            await (await uow.transaction()).connection.commit()
            await asyncio.Event().wait()


WAYS = [by_transaction, by_unit, by_session, by_session_of_unit, by_engine, by_facade, with_error, cancelled]


@pytest.fixture
async def database(tenant_url: str) -> AsyncIterator[Database]:
    """One connection, which everybody has."""
    async with Database(tenant_url, settings=DatabaseSettings(pool_size=1, max_overflow=0)) as database:
        yield database


async def state(database: Database) -> list[object]:
    async with UnitOfWork(database) as uow:
        return list((await uow.execute(text(STATE), {"role": urlsplit(database.dsn).username})).one())


async def backend(database: Database) -> int:
    async with database.lease() as lease:
        found: int = lease.driver.get_server_pid()
        return found


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_nobody_finds_what_another_has_set(database: Database, way: Run) -> None:
    before = await state(database)
    assert before == [True, '"$user", public', "30s", "", 0, 0, 0, None, 0]
    for sql in CHANGES if way in (by_transaction, by_unit) else CHANGES[::4]:
        await way(database, sql)
        assert await state(database) == before, sql


async def test_reading_and_writing_keep_their_connection(database: Database) -> None:
    with of("north"):
        await by_unit(database, "SELECT id FROM tenant_notes")
        kept = await backend(database)
        for way in (by_transaction, by_unit, by_session, by_engine):
            for sql in HARMLESS:
                await way(database, sql)
        async with UnitOfWork(database) as uow:
            (await notes.get(1)).text = "changed"
            async with uow.savepoint():
                assert await notes.update_many(everything=True, values={"text": "y"}) == 2
            assert [one.id async for one in notes.stream(sort="id")] == expected("north")
        assert await backend(database) == kept


async def test_one_statement_on_a_connection_of_its_own_leaves_nothing_either(database: Database) -> None:
    before = await state(database)
    for statement in (
        select(func.set_config("uno.tenant", "south", False)),
        select(func.pg_advisory_lock(1)),
        text("SELECT pg_advisory_lock(1)"),
        text("SELECT set_config('uno.tenant', 'south', false)"),
    ):
        await database.query(statement)
        assert await state(database) == before
        async with UnitOfWork(database) as uow:
            await uow.execute(statement)
        assert await state(database) == before
    with of("north"):
        async with UnitOfWork(database):
            assert len([one.id async for one in notes.stream(func.pg_try_advisory_lock(1))]) == 2
    assert await state(database) == before


async def test_who_bypassed_policies_leaves_them_to_everybody_else(database: Database, tenant_owner: Database) -> None:
    everyone, role = f"uno_every_{token_hex(6)}", urlsplit(database.dsn).username
    admin = tenant_owner.dsn.partition("?")[0]
    await run(
        admin,
        f"CREATE ROLE {everyone} BYPASSRLS NOLOGIN",
        f"GRANT {everyone} TO {role}",
        f"GRANT SELECT ON tenant_notes TO {everyone}",
    )
    try:
        for way in WAYS:
            await way(database, f"SET ROLE {everyone}")
            with of("north"):
                async with UnitOfWork(database):
                    assert [one.id for one in await notes.find(sort="id")] == expected("north")
        async with database.transaction() as report:
            await report.execute(text(f"SET LOCAL ROLE {everyone}"))
            assert len((await report.execute(text("SELECT id FROM tenant_notes"))).all()) == 4
        assert (await state(database))[0]
    finally:
        await run(admin, f"DROP OWNED BY {everyone}", f"DROP ROLE {everyone}")


async def test_nobody_without_a_tenant_sees_that_of_a_session(database: Database) -> None:
    for sql in ("SET uno.tenant = 'south'", "SELECT set_config('uno.tenant', 'south', false)"):
        await by_transaction(database, sql)
        async with UnitOfWork(database):
            assert await notes.find() == []
            assert await notes.get_by_id(11) is None
    # Nor later in the same transaction.
    async with database.transaction() as one:
        await one.execute(text("SET uno.tenant = 'south'"))
        assert (await one.execute(text("SELECT id FROM tenant_notes"))).all() == []


async def test_connections_of_a_replica_are_closed_too(tenant_url: str) -> None:
    settings = DatabaseSettings(pool_size=1, max_overflow=0, replica_url=SecretStr(tenant_url))
    async with Database(tenant_url, settings=settings) as database:
        assert database.replica is not None
        before = await state(database.replica)
        async with UnitOfWork(database, read_only=True) as uow:
            await uow.execute(text("SELECT pg_advisory_lock(1)"))
        await by_transaction(database.replica, "SET search_path TO pg_catalog")
        assert await state(database.replica) == before


async def test_of_somebody_elses_engine_only_what_uno_ran_is_closed(tenant_url: str) -> None:
    engine = create_async_engine(
        tenant_url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=1, max_overflow=0
    )

    async def pid() -> int:
        async with engine.connect() as connection:
            return int((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())

    try:
        alone = Repository(Note, session_factory=async_sessionmaker(engine))
        await alone.count()
        kept = await pid()
        async with engine.begin() as connection:
            await connection.execute(text("SET search_path TO pg_catalog, public"))
        assert await pid() == kept
        await alone.find(func.pg_try_advisory_lock(1))
        assert await pid() != kept
    finally:
        await engine.dispose()


async def test_the_pool_loses_no_place_by_it(database: Database) -> None:
    for _ in range(5):
        await by_unit(database, "SET search_path TO public")
    await database.ping()
    assert database.pool_use() == PoolUse(limit=1, open=1, in_use=0, waiting=0)


async def test_a_savepoint_undone_by_text_takes_what_was_told_with_it(database: Database) -> None:
    found = text("SELECT max(tenant) FROM tenant_notes")
    for undo in ("ROLLBACK TO SAVEPOINT x", "/* all */ rollback work to x"):
        with of("north"):
            async with database.transaction() as one:
                assert (await one.execute(found)).scalar_one() == "north"
                await one.execute(text("SAVEPOINT x"))
                with of("south"):
                    assert (await one.execute(found)).scalar_one() == "south"
                    await one.execute(text(undo))
                    assert (await one.execute(found)).scalar_one() == "south"
                assert (await one.execute(found)).scalar_one() == "north"
        with of("south"):
            async with database.transaction() as one:
                await one.execute(text("savepoint x"))
                with pytest.raises(Exception, match="zero"):
                    await one.connection.execute(text("SELECT 1 / 0"))
                with of("north"):
                    # Nothing can be told in between.
                    await one.connection.execute(text(undo))
                    assert (await one.connection.execute(found)).scalar_one() == "north"
