"""A server that falls silent does not keep who lets go of a connection, nor its place in the pool."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import select, text
from tests.flows.entries import Entry, entries, farm_of_entries
from tests.flows.proxy import GOODBYE, Proxy

from uno import clock, context
from uno.data import Database, UnitOfWork, deadlines, parting
from uno.errors import Misconfigured, NotFound, OutcomeUnknown, TimedOut
from uno.settings import DatabaseSettings
from uno.testing.postgres import DatabaseFarm

Body = Callable[[UnitOfWork], Awaitable[None]]
# Longer than any of this takes; who hangs does so for ever.
PATIENCE = 25


SECURED = """
    CREATE TABLE secured (id int PRIMARY KEY, tenant text);
    INSERT INTO secured VALUES (0, 'a');
    ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON secured USING (tenant = current_setting('uno.tenant', true));
"""


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with farm_of_entries() as farm:
        yield farm


@pytest.fixture
async def proxy(farm: DatabaseFarm) -> AsyncIterator[Proxy]:
    proxy = Proxy(await farm.create("entries"))
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture(params=["auto", "session"])
async def database(
    request: pytest.FixtureRequest, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Database]:
    """One connection, and one more for a while."""
    monkeypatch.setattr(parting, "SECONDS", 0.3)
    settings = DatabaseSettings(pool_size=1, max_overflow=1, acquire_timeout=10, connect_timeout=3, commit_timeout=0.5)
    async with Database(proxy.url, commit=request.param, settings=settings) as database:
        await database.restricted_tables()
        yield database
        proxy.silent = False


def in_use(database: Database) -> int:
    use = database.pool_use()
    assert use is not None
    return use.in_use


async def assert_usable(database: Database, proxy: Proxy) -> None:
    """No place in the pool is taken, and two transactions fit in at once as soon as the server can be heard."""
    assert in_use(database) == 0
    proxy.silent, proxy.last = False, None
    async with clock.timeout(PATIENCE), database.transaction() as one, database.transaction() as other:
        assert [(await each.execute(select(1))).scalar() for each in (one, other)] == [1, 1]
    assert await stored(database) == []


async def stored(database: Database) -> list[str]:
    return [row[0] for row in await database.query(select(Entry.text))]


async def write(unit: UnitOfWork) -> None:
    """Something in its explicit transaction."""
    await unit.transaction()
    await entries.add(Entry(text="undone"))
    await unit.flush()


async def run(database: Database, body: Body) -> None:
    async with clock.timeout(PATIENCE), UnitOfWork(database) as unit:
        await body(unit)


async def cancel(database: Database, body: Body, ready: asyncio.Event) -> None:
    task = asyncio.create_task(run(database, body))
    await ready.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_caller_cancelled_while_its_transaction_is_idle_is_let_go(database: Database, proxy: Proxy) -> None:
    ready = asyncio.Event()

    async def wait(unit: UnitOfWork) -> None:
        await write(unit)
        proxy.silent = True
        ready.set()
        await asyncio.Event().wait()

    await cancel(database, wait, ready)
    await assert_usable(database, proxy)


async def test_a_caller_cancelled_during_a_statement_opens_no_connection(database: Database, proxy: Proxy) -> None:
    ready = asyncio.Event()

    async def wait(unit: UnitOfWork) -> None:
        await write(unit)
        proxy.silent = True
        asyncio.get_running_loop().call_soon(ready.set)
        await (await unit.transaction()).execute(select(1))

    await database.query(select(1))
    known = proxy.greeted
    await cancel(database, wait, ready)
    assert proxy.greeted == known
    await assert_usable(database, proxy)
    assert proxy.greeted > known


async def test_a_handler_that_raises_gets_its_own_error(database: Database, proxy: Proxy) -> None:
    async def fail(unit: UnitOfWork) -> None:
        await write(unit)
        proxy.silent = True
        raise NotFound("Entry", "x")

    with pytest.raises(NotFound):
        await run(database, fail)
    await assert_usable(database, proxy)


async def test_what_only_reads_is_let_go(database: Database, proxy: Proxy) -> None:
    async def fail(unit: UnitOfWork) -> None:
        await (await unit.transaction()).execute(select(1))
        proxy.silent = True
        raise NotFound("Entry", "x")

    with pytest.raises(NotFound):
        async with clock.timeout(PATIENCE), UnitOfWork(database, read_only=True) as unit:
            await fail(unit)
    proxy.silent = False
    transaction = await database.begin(writing=False)
    await transaction.execute(select(1))
    proxy.silent = True
    async with clock.timeout(PATIENCE):
        await transaction.close()
    await assert_usable(database, proxy)


@pytest.mark.parametrize("writing", [True, False])
async def test_a_stream_that_is_left_is_let_go(database: Database, proxy: Proxy, writing: bool) -> None:
    async with UnitOfWork(database):
        for _ in range(3):
            await entries.add(Entry())

    async def leave(unit: UnitOfWork) -> None:
        if writing:
            await unit.transaction()
        stream = entries.stream(batch=1)
        async for _ in stream:
            proxy.silent = True
            raise NotFound("Entry", "x")

    with pytest.raises(NotFound):
        await run(database, leave)
    assert in_use(database) == 0


async def test_an_error_leaves_a_savepoint_as_it_is_and_nothing_goes_on(database: Database, proxy: Proxy) -> None:
    async def go_on(unit: UnitOfWork) -> None:
        await write(unit)
        with pytest.raises(NotFound):
            async with unit.savepoint():
                await write(unit)
                proxy.silent = True
                raise NotFound("Entry", "x")
        assert in_use(database) == 0
        with pytest.raises(TimedOut, match="cut off"):
            await unit.execute("SELECT 1")
        proxy.silent = False

    with pytest.raises(TimedOut, match="cut off"):
        await run(database, go_on)
    await assert_usable(database, proxy)


async def test_a_caller_cancelled_inside_a_savepoint_is_let_go(database: Database, proxy: Proxy) -> None:
    ready = asyncio.Event()

    async def wait(unit: UnitOfWork) -> None:
        await write(unit)
        async with unit.savepoint():
            await write(unit)
            proxy.silent = True
            ready.set()
            await asyncio.Event().wait()

    await cancel(database, wait, ready)
    await assert_usable(database, proxy)


@pytest.mark.parametrize("inside", [False, True])
async def test_a_savepoint_that_a_session_leaves_open_is_let_go(database: Database, proxy: Proxy, inside: bool) -> None:
    async def fail(unit: UnitOfWork) -> None:
        async with unit.savepoint() if inside else contextlib.nullcontext():
            session = await unit.session()
            await session.begin_nested()
            await session.execute("SELECT 1")
            proxy.silent = True
            raise NotFound("Entry", "x")

    with pytest.raises(NotFound):
        await run(database, fail)
    await assert_usable(database, proxy)


async def test_a_transaction_without_a_unit_of_work_is_let_go(database: Database, proxy: Proxy) -> None:
    with pytest.raises(NotFound):
        async with clock.timeout(PATIENCE), database.session() as session:
            session.add(Entry())
            await session.flush()
            proxy.silent = True
            raise NotFound("Entry", "x")
    await assert_usable(database, proxy)


async def test_its_commit_that_is_not_confirmed_has_an_unknown_outcome(database: Database, proxy: Proxy) -> None:
    proxy.last = b"COMMIT"
    with pytest.raises(OutcomeUnknown, match=r"not confirmed within 0\.5 s"):
        async with clock.timeout(PATIENCE), database.session() as session:
            session.add(Entry())
    await assert_usable(database, proxy)


async def test_a_connection_that_the_pool_has_no_place_for_is_closed_in_time(database: Database, proxy: Proxy) -> None:
    proxy.last = GOODBYE
    async with clock.timeout(PATIENCE), database.transaction() as one, database.transaction() as other:
        for each in (one, other):
            await each.execute(select(1))
    assert proxy.silent
    await assert_usable(database, proxy)


async def test_rows_of_a_tenant_are_given_though_the_transaction_does_not_end(
    database: Database, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with database.transaction() as transaction:
        for statement in filter(str.strip, SECURED.split(";")):
            await transaction.execute(text(statement))
    database.forget_tables()
    await database.restricted_tables()
    proxy.last = b"ROLLBACK"
    async with clock.timeout(PATIENCE):
        with context.use(context.Context(tenant="a")):
            assert (await database.query(text("SELECT tenant FROM secured"))) == [("a",)]
    assert proxy.silent
    assert "cut off" in caplog.text
    await assert_usable(database, proxy)


async def test_a_read_of_a_tenant_that_the_server_refused_has_its_own_error(database: Database, proxy: Proxy) -> None:
    proxy.last = b"ROLLBACK"
    wrong = database.prepare(text("SELECT id FROM nowhere"))
    with pytest.raises(Misconfigured, match="nowhere"):
        async with clock.timeout(PATIENCE), database.lease() as lease:
            await lease.fetch_of("a", wrong, {})
    assert proxy.silent
    await assert_usable(database, proxy)


async def test_a_read_that_nobody_answers_is_given_up_though_there_is_no_deadline(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "SILENCE", 0.2)
    monkeypatch.setattr(parting, "SECONDS", 0.3)
    settings = DatabaseSettings(pool_size=1, max_overflow=0, statement_timeout=0.2)
    async with Database(proxy.url, settings=settings) as database:
        async with UnitOfWork(database):
            assert await entries.get_by_id("nothing") is None
        proxy.silent = True
        with pytest.raises(TimedOut, match="did not answer in time"):
            async with clock.timeout(PATIENCE), UnitOfWork(database):
                await entries.get_by_id("nothing")
        proxy.silent, proxy.last = False, None
        assert await stored(database) == []


async def test_a_server_that_answers_is_not_cut_off(
    database: Database, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with contextlib.suppress(NotFound):
            async with UnitOfWork(database) as unit:
                await write(unit)
                raise NotFound("Entry", "x")
    assert len(proxy.near) == 1
    assert not caplog.records
