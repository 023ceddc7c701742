"""Connections are killed, servers stop and callers are cancelled; afterwards everything works as before."""

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import func, select
from tests.flows.entries import Entry, Tables, entries, farm_of_entries
from tests.flows.proxy import Proxy

from uno import clock
from uno.audit import AuditBook
from uno.audit.tables import audit
from uno.data import Database, UnitOfWork, schema
from uno.data.sqlite import connect
from uno.errors import OutcomeUnknown, TimedOut, Unavailable, UnoError
from uno.health import HealthStatus, report
from uno.settings import DatabaseSettings
from uno.testing.postgres import DatabaseFarm

Open = Callable[..., Awaitable[Database]]


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with farm_of_entries() as farm:
        yield farm


@pytest.fixture
async def url(farm: DatabaseFarm) -> str:
    return await farm.create("entries")


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as stack:

        async def make(commit: str = "auto", **options: Any) -> Database:
            settings = DatabaseSettings(**options)
            # asyncpg does not expect to be cancelled while it asks whether the server speaks TLS.
            return await stack.enter_async_context(Database(f"{url}?sslmode=disable", commit=commit, settings=settings))

        yield make


@pytest.fixture
async def admin(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the pool."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "admin"})
    yield connection
    await connection.close()


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=(AuditBook(),))


async def write(database: Database, **values: Any) -> str:
    async with unit(database):
        entry = await entries.add(Entry(**values))
    return entry.id


async def write_explicitly(database: Database) -> str:
    async with unit(database) as uow:
        entry = await entries.add(Entry())
        await uow.flush()
        await entries.find()
    return entry.id


async def read(database: Database) -> None:
    async with unit(database):
        await entries.find(limit=3)
        await entries.get_by_id("nothing")


OTHERS = (
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'uno'"
)
KILL = f"SELECT pg_terminate_backend(pid) {OTHERS}"
IDLE = f"SELECT count(*) {OTHERS} AND state LIKE 'idle in transaction%'"


async def assert_healthy(database: Database, admin: asyncpg.Connection) -> None:
    """Twenty calls work, nothing is checked out and no transaction is left open."""
    for _ in range(20):
        await read(database)
        await write(database)
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert await admin.fetchval(IDLE) == 0


async def stored(database: Database) -> tuple[set[str], set[str]]:
    """The ids of the rows and of their audit rows."""
    rows = await database.query(select(Entry.id))
    audited = await database.query(select(audit.c.record_id))
    return {row[0] for row in rows}, {row[0] for row in audited}


@pytest.mark.parametrize("commit", ["auto", "batch", "session"])
async def test_after_a_storm_of_killed_connections_and_cancelled_callers_everything_works(
    opened: Open, admin: asyncpg.Connection, commit: str
) -> None:
    database = await opened(commit, pool_size=4, max_overflow=2, acquire_timeout=1)
    chosen = random.Random(7)
    stop = asyncio.Event()

    async def kill() -> None:
        while not stop.is_set():
            await admin.fetch(KILL)
            await asyncio.sleep(0.02)

    async def call() -> None:
        work = asyncio.ensure_future(chosen.choice([read, write, write_explicitly])(database))
        if chosen.random() < 0.5:
            await asyncio.sleep(chosen.random() * 0.01)
            work.cancel()
        with contextlib.suppress(UnoError, asyncio.CancelledError):
            await work

    killing = asyncio.create_task(kill())
    for _ in range(30):
        await asyncio.gather(*(call() for _ in range(8)))
    stop.set()
    await killing
    await assert_healthy_soon(database, admin)
    rows, audited = await stored(database)
    assert rows == audited


async def assert_healthy_soon(database: Database, admin: asyncpg.Connection) -> None:
    """Pooled connections that were killed while idle are found out by at most one failing call each."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            await asyncio.gather(*(read(database) for _ in range(8)))
            break
        except Unavailable:
            continue
    await assert_healthy(database, admin)


@pytest.mark.parametrize("call", [read, write, write_explicitly])
async def test_connections_that_the_server_closed_while_nobody_used_them_cost_nobody_an_error(
    opened: Open, admin: asyncpg.Connection, call: Callable[[Database], Awaitable[object]]
) -> None:
    database = await opened(pool_size=4, max_overflow=0)
    await write(database)
    async with contextlib.AsyncExitStack() as stack:
        leases = [await stack.enter_async_context(database.lease()) for _ in range(4)]
        drivers = [lease.driver for lease in leases]
    await admin.fetch(KILL)
    async with clock.timeout(9):
        while not all(driver.is_closed() for driver in drivers):
            await asyncio.sleep(0.01)
    for _ in range(2):
        await asyncio.gather(*(call(database) for _ in range(8)))
    await assert_healthy(database, admin)


@pytest.mark.parametrize("commit", ["auto", "batch", "session"])
async def test_after_a_cancelled_commit_the_row_is_there_if_and_only_if_its_audit_row_is(
    opened: Open, admin: asyncpg.Connection, commit: str
) -> None:
    database = await opened(commit)
    chosen = random.Random(11)
    known: list[bool] = []
    cancelled: list[bool] = []

    async def call() -> None:
        ids: list[str] = []

        async def work() -> None:
            async with unit(database):
                entry = await entries.add(Entry())
                ids.append(entry.id)

        await database.ping()
        task = asyncio.ensure_future(work())
        for _ in range(chosen.randrange(12)):
            await asyncio.sleep(0)
        await asyncio.sleep(chosen.choice([0, 0, 0.001, 0.002]))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        cancelled.append(task.cancelled())
        # What the caller sees after the cancellation is the end of it.
        found = await admin.fetchval("SELECT count(*) FROM entry WHERE id = $1", ids[0]) if ids else 0
        known.append(bool(found))
        assert found == (
            await admin.fetchval("SELECT count(*) FROM uno_audit WHERE record_id = $1", ids[0]) if ids else 0
        )

    await database.restricted_tables()  # asked once, so that it is a commit that is cancelled
    for _ in range(60):
        await call()
    rows, audited = await stored(database)
    assert rows == audited
    assert len(rows) == sum(known)
    assert rows
    assert any(cancelled)
    await assert_healthy(database, admin)


@pytest.mark.parametrize("commit", ["auto", "batch"])
async def test_a_connection_that_is_lost_during_the_commit_leaves_an_unknown_outcome(
    opened: Open, admin: asyncpg.Connection, commit: str
) -> None:
    database = await opened(commit)
    # The commit waits here: the trigger is deferred to it.
    await admin.execute("""
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(10); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON entry DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION slow();
    """)
    task = asyncio.create_task(write(database))
    await until(admin, f"SELECT count(*) = 1 {OTHERS} AND wait_event = 'PgSleep'")
    await admin.fetch(KILL)
    with pytest.raises(OutcomeUnknown, match="lost during the commit"):
        await task
    await admin.execute("DROP TRIGGER slow ON entry")
    assert await stored(database) == (set(), set())
    await assert_healthy(database, admin)


async def test_a_connection_that_is_lost_before_the_commit_leaves_nothing_and_says_so(
    opened: Open, admin: asyncpg.Connection
) -> None:
    database = await opened()
    with pytest.raises(Unavailable) as caught:
        async with unit(database) as uow:
            await entries.add(Entry())
            await uow.flush()
            await admin.fetch(KILL)
            await until(admin, f"SELECT count(*) = 0 {OTHERS}")
            await entries.add(Entry())
            await uow.flush()
    assert not isinstance(caught.value, OutcomeUnknown)
    assert await stored(database) == (set(), set())
    await assert_healthy(database, admin)


async def test_a_commit_that_is_not_confirmed_in_time_has_an_unknown_outcome(
    opened: Open, admin: asyncpg.Connection
) -> None:
    database = await opened(commit_timeout=0.2)
    async with admin.transaction():
        await admin.execute("LOCK TABLE entry")
        with pytest.raises(OutcomeUnknown, match="not confirmed within 0.2 s"):
            await write(database)
    await assert_healthy(database, admin)


async def test_an_exhausted_pool_is_unavailable_within_the_limit_and_recovers(
    opened: Open, admin: asyncpg.Connection
) -> None:
    database = await opened(pool_size=1, max_overflow=1, acquire_timeout=0.2)
    async with database.transaction(), database.transaction():
        for call in (read, write, write_explicitly):
            started = time.monotonic()
            with pytest.raises(Unavailable, match="in use") as caught:
                await call(database)
            assert not isinstance(caught.value, OutcomeUnknown)
            assert time.monotonic() - started < 15
    await assert_healthy(database, admin)


async def test_more_callers_than_connections_take_turns(opened: Open, admin: asyncpg.Connection) -> None:
    database = await opened(pool_size=2, max_overflow=2)
    await asyncio.gather(*(write(database) for _ in range(40)))
    assert len((await stored(database))[0]) == 40
    # A server process ends a moment after its connection.
    await until(admin, f"SELECT count(*) <= 2 {OTHERS}")


async def test_a_statement_that_takes_too_long_is_stopped(opened: Open, admin: asyncpg.Connection) -> None:
    database = await opened(statement_timeout=0.1)
    with pytest.raises(TimedOut):
        await database.query(select(func.pg_sleep(10)))
    await assert_healthy(database, admin)


async def test_a_session_that_was_left_raw_is_thrown_away(opened: Open, admin: asyncpg.Connection) -> None:
    database = await opened(pool_size=1, max_overflow=0)
    async with database.lease() as lease:
        await lease.driver.execute("BEGIN")
    with pytest.raises(ZeroDivisionError):
        async with database.lease() as lease:
            await lease.driver.execute("BEGIN")
            raise ZeroDivisionError
    await assert_healthy(database, admin)


async def test_cancelled_callers_leave_no_lock_on_a_sqlite_file(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path}/x.db") as database:
        await schema.create(database, [Tables.metadata])
        chosen = random.Random(2)

        async def call() -> None:
            work = asyncio.ensure_future(chosen.choice([write, write_explicitly])(database))
            await asyncio.sleep(chosen.random() * 0.02)
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

        # With a lock left behind, the others wait for it as long as SQLite lets them: 10 s.
        async with clock.timeout(9):
            for _ in range(60):
                await asyncio.gather(*(call() for _ in range(6)))
            await write(database)
        rows, audited = await stored(database)
        assert rows == audited


@pytest.mark.parametrize("beside", [0, 1, 2])
async def test_a_sqlite_connection_is_closed_however_often_that_is_asked_and_cancelled(
    tmp_path: Path, beside: int
) -> None:
    connection = await connect(f"{tmp_path}/x.db")
    closing = [asyncio.ensure_future(connection.close()) for _ in range(2)]
    for _ in range(beside):
        await asyncio.sleep(0)
    closing[0].cancel()
    connection.stop()
    async with clock.timeout(9):
        await asyncio.wait(closing)
        await connection.close()
    with pytest.raises(ValueError, match="closed|no active"):
        await connection.execute("SELECT 1")


async def test_a_caller_cancelled_while_a_sqlite_file_is_opened_leaves_it_closed(tmp_path: Path) -> None:
    for turns in range(1, 60):
        async with Database(f"sqlite:///{tmp_path}/x.db") as database:
            work = asyncio.ensure_future(database.query(select(1)))
            for _ in range(turns % 20):
                await asyncio.sleep(0)
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        gc.collect()  # Python 3.13 warns of a connection that nobody closed


async def test_a_server_that_is_gone_is_unavailable_and_its_return_is_noticed(
    url: str, admin: asyncpg.Connection
) -> None:
    proxy = Proxy(url)
    await proxy.start()
    settings = DatabaseSettings(connect_timeout=1, breaker_recovery=0.5)
    async with Database(proxy.url, settings=settings) as database:
        await write(database)
        await proxy.stop()
        for call in (read, write, write_explicitly, read, write, write_explicitly):
            started = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                await call(database)
            assert time.monotonic() - started < 15
        assert not isinstance(caught.value, OutcomeUnknown)
        assert (await report([database.check()])).status is HealthStatus.UNHEALTHY
        await proxy.start()
        async with clock.timeout(10):
            # The breaker on connecting has seen enough failures to wait a little.
            while (await report([database.check()])).status is not HealthStatus.HEALTHY:
                await asyncio.sleep(0.05)
        await assert_healthy(database, admin)
        assert len((await stored(database))[0]) == 21
    await proxy.stop()


async def test_a_server_that_never_lets_go_does_not_hold_up_the_end(url: str) -> None:
    proxy = Proxy(url, deaf=True)
    await proxy.start()
    async with clock.timeout(30):
        async with Database(proxy.url, settings=DatabaseSettings(connect_timeout=0.5)) as database:
            await asyncio.gather(*(read(database) for _ in range(4)))
        while not all(writer.is_closing() for writer in proxy.near):
            await asyncio.sleep(0.01)
    await proxy.stop()


async def until(admin: asyncpg.Connection, condition: str) -> None:
    deadline = time.monotonic() + 10
    while not await admin.fetchval(condition):
        assert time.monotonic() < deadline, condition
        await asyncio.sleep(0.01)
