"""Locks in PostgreSQL, as the tasks of one process use them: taken, lost, cancelled at every step."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from tests.flows.aio.locker import COUNT, NAME, lock_of, prepare

from uno.aio import AsyncLock, LockLost, retry, timeout
from uno.data import Database, UnitOfWork
from uno.data.locks import number_of
from uno.errors import Conflict, Misconfigured, OutcomeUnknown, TimedOut, Unavailable
from uno.settings import DatabaseSettings
from uno.testing.postgres import DatabaseFarm

SOON, FOREVER = 0.05, 60.0
Open = Callable[..., Awaitable[Database]]
TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# A commit takes its time, as a constraint waits in the end.
SLOW = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON counters DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION wait()
"""


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        await farm.template("counters", prepare)
        yield farm


@pytest.fixture
async def url(farm: DatabaseFarm) -> AsyncIterator[str]:
    made = await farm.create("counters")
    # asyncpg does not expect to be cancelled while it asks whether the server speaks TLS.
    return f"{made}?sslmode=disable"


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as stack:

        async def make(**options: Any) -> Database:
            return await stack.enter_async_context(Database(url, settings=DatabaseSettings(**options)))

        yield make


@pytest.fixture
async def database(opened: Open) -> Database:
    return await opened()


@pytest.fixture
async def other(opened: Open) -> Database:
    """The same one, as another process has it."""
    return await opened()


@pytest.fixture
async def admin(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what the server does by itself."""
    async with asyncio.timeout(FOREVER):
        while not await holds():
            await asyncio.sleep(0.01)


async def interrupted() -> None:
    """Wait to be interrupted; a minute is for a machine that is very busy."""
    async with asyncio.timeout(FOREVER):
        await asyncio.Event().wait()


def in_use(database: Database) -> int:
    use = database.pool_use()
    assert use is not None
    return use.in_use


async def waiting_for(admin: asyncpg.Connection) -> bool:
    return bool(await admin.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


async def committing(admin: asyncpg.Connection) -> bool:
    return bool(await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))


async def check_free(database: Database, other: Database) -> None:
    """Nothing is left of a lock, nor of its connections."""
    async with lock_of(other, FOREVER):
        pass
    for one in (database, other):
        assert in_use(one) == 0
    assert lock_of(database).waiting == ()
    assert not lock_of(database).locked()


def test_the_number_of_a_name_is_the_same_in_every_process_and_version() -> None:
    assert number_of("nightly import") == 2774077891014178889


async def test_tasks_of_one_process_wait_for_each_other_without_connections(
    database: Database, other: Database
) -> None:
    order: list[int] = []

    async def enter(n: int) -> None:
        async with lock_of(database):
            order.append(n)

    async with lock_of(database) as lock:
        tasks = [asyncio.create_task(enter(n), name=f"task {n}") for n in range(20)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert in_use(database) == 1
        assert [waiter.task for waiter in lock.waiting] == [f"task {n}" for n in range(20)]
        with pytest.raises(TimedOut, match="the task .* has held it for .* and 20 more wait"):
            await asyncio.create_task(lock_of(database).acquire(timeout=0.01))
    await asyncio.gather(*tasks)
    assert order == list(range(20))
    await check_free(database, other)


async def test_a_task_enters_its_lock_again_inside_and_outside_of_a_unit_of_work(
    database: Database, other: Database
) -> None:
    async with lock_of(database, FOREVER) as lock:
        again = AsyncLock(NAME, scope="database", timeout=FOREVER)
        async with UnitOfWork(database), again, lock_of(database, FOREVER):
            owner = lock.owner_info
            assert owner is not None
            assert owner.depth == 3
        with pytest.raises(TimedOut):
            await lock_of(other).acquire(timeout=SOON)
    async with UnitOfWork(database):
        for _ in range(2):  # once left it is still that of the transaction
            async with lock_of(database, FOREVER):
                pass
        with pytest.raises(TimedOut):
            await lock_of(other).acquire(timeout=SOON)
    await check_free(database, other)


async def test_locks_of_one_name_in_two_databases_are_two(farm: DatabaseFarm, database: Database) -> None:
    second = Database(await farm.create("counters"))
    async with second, lock_of(database, SOON), lock_of(second, SOON):
        assert lock_of(database).locked()
        assert lock_of(second).locked()


async def test_a_task_that_ends_without_releasing_has_no_lock_in_the_database(
    database: Database, other: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.create_task(lock_of(database).acquire(), name="careless")
    async with lock_of(other, FOREVER):
        pass
    assert "a task ended without releasing a lock" in caplog.text
    async with lock_of(database, FOREVER):
        pass
    await check_free(database, other)


async def test_a_lock_that_is_released_by_hand_is_free_a_moment_later(database: Database, other: Database) -> None:
    lock = lock_of(database)
    for _ in range(3):
        await lock.acquire(timeout=FOREVER)
        lock.release()
        with pytest.raises(Misconfigured, match="not held by this task"):
            lock.release()
    await check_free(database, other)


async def test_a_unit_of_work_goes_on_after_it_has_waited_in_vain(database: Database, other: Database) -> None:
    async with lock_of(other), UnitOfWork(database) as uow:
        await uow.execute(text("UPDATE counters SET number = number + 1"))
        with pytest.raises(TimedOut, match="In the database the server process"):
            await AsyncLock(NAME, scope="database").acquire(timeout=SOON)
        with pytest.raises(TimedOut):
            await AsyncLock(NAME, scope="database").acquire(timeout=0)
        await uow.execute(text("UPDATE counters SET number = number + 1"))
        assert (await uow.execute(text("SHOW lock_timeout"))).scalar_one() == "0"
    assert await database.query(COUNT) == [(2,)]


async def test_what_a_unit_of_work_waits_for_comes_in_time(
    database: Database, other: Database, admin: asyncpg.Connection
) -> None:
    lock, began = lock_of(other), asyncio.Event()

    async def hold() -> None:
        async with lock:
            began.set()
            await until(lambda: waiting_for(admin))

    holder = asyncio.create_task(hold())
    await began.wait()
    async with UnitOfWork(database) as uow:
        await AsyncLock(NAME, scope="database").acquire(timeout=FOREVER)
        await holder
        assert (await uow.execute(text("SHOW lock_timeout"))).scalar_one() == "0"


async def test_two_units_of_work_that_wait_for_each_other_are_told(database: Database) -> None:
    both = asyncio.Barrier(2)

    async def take(*names: str) -> None:
        async with UnitOfWork(database), AsyncLock(names[0], scope="database"):
            await both.wait()
            async with AsyncLock(names[1], scope="database"):
                pass

    found = await asyncio.gather(take("a", "b"), take("b", "a"), return_exceptions=True)
    [error] = [one for one in found if one is not None]
    assert isinstance(error, Conflict)
    assert error.repeatable


async def test_locks_leave_half_of_the_connections_to_others(opened: Open) -> None:
    database = await opened(pool_size=2, max_overflow=2, acquire_timeout=SOON)
    first, second, third = (AsyncLock(name, scope="database", database=database) for name in "abc")
    async with first, second:
        with pytest.raises(Unavailable, match="Locks hold 2 connections, half of those there may be"):
            await third.acquire()
        async with UnitOfWork(database) as uow:
            await uow.execute(COUNT)
            async with AsyncLock("c", scope="database"):
                pass
    async with third, first:
        pass


async def test_who_waits_in_vain_takes_no_room_away(opened: Open, other: Database) -> None:
    database = await opened(pool_size=2, max_overflow=2, acquire_timeout=SOON)
    async with lock_of(other):
        for _ in range(3):
            with pytest.raises(TimedOut):
                await lock_of(database).acquire(timeout=0)
    async with lock_of(database), AsyncLock("b", scope="database", database=database):
        pass


async def test_an_idle_holder_keeps_its_lock_where_the_server_ends_idle_transactions(
    url: str, admin: asyncpg.Connection
) -> None:
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f'ALTER DATABASE "{name}" SET idle_in_transaction_session_timeout = 50')
    async with Database(url) as database, lock_of(database):
        [setting] = await database.query(text("SHOW idle_in_transaction_session_timeout"))
        assert setting == ("50ms",)
        await asyncio.sleep(4 * SOON)


async def test_a_holder_finds_out_that_it_is_cut_off(database: Database) -> None:
    async with lock_of(database):
        [own] = database.locks._held
        line = own._driver._transport.get_extra_info("socket")
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10


async def test_a_lock_has_more_time_than_a_statement(opened: Open, other: Database) -> None:
    database = await opened(statement_timeout=SOON)
    async with lock_of(other):
        waiter = asyncio.create_task(lock_of(database).acquire())
        await asyncio.wait([waiter], timeout=4 * SOON)
        assert not waiter.done()
    assert await waiter
    with pytest.raises(TimedOut, match="took too long"):
        await database.query(text("SELECT pg_sleep(10)"))


# ── a connection that is lost ──


async def test_a_holder_whose_connection_is_lost_is_interrupted(
    database: Database, other: Database, admin: asyncpg.Connection
) -> None:
    with pytest.raises(LockLost, match="'nightly import' was lost") as caught:
        async with lock_of(database):
            await admin.execute(TERMINATE)
            await interrupted()
    assert isinstance(caught.value, Unavailable)
    await check_free(database, other)


async def test_who_loses_its_lock_while_it_commits_does_not_do_it_twice(
    database: Database, other: Database, admin: asyncpg.Connection
) -> None:
    await admin.execute(SLOW)
    attempts: list[int] = []

    @retry(max_attempts=3, base_delay=0)
    async def store() -> None:
        attempts.append(1)
        async with lock_of(database), UnitOfWork(database) as uow:
            await uow.execute(text("UPDATE counters SET number = number + 1"))

    task = asyncio.create_task(store())
    await until(lambda: committing(admin))
    await admin.execute(TERMINATE)
    with pytest.raises(OutcomeUnknown, match="'nightly import' was lost"):
        await task
    assert len(attempts) == 1
    assert await other.query(COUNT) == [(1,)]
    await check_free(database, other)


async def test_a_block_that_ends_after_its_lock_was_lost_does_not_end_well(
    database: Database, other: Database, admin: asyncpg.Connection
) -> None:
    with pytest.raises(LockLost):
        async with lock_of(database), lock_of(database):
            await admin.execute(TERMINATE)
            async with lock_of(other, FOREVER):
                with contextlib.suppress(asyncio.CancelledError):
                    await interrupted()
    lock = lock_of(database)
    await lock.acquire()
    await admin.execute(TERMINATE)
    async with lock_of(other, FOREVER):
        await asyncio.sleep(SOON)
    with pytest.raises(LockLost):
        lock.release()
    await check_free(database, other)


async def test_who_is_cancelled_while_its_lock_is_lost_is_cancelled(
    database: Database, other: Database, admin: asyncpg.Connection
) -> None:
    began = asyncio.Event()

    async def work() -> None:
        async with lock_of(database):
            began.set()
            await interrupted()

    task = asyncio.create_task(work())
    await began.wait()
    await admin.execute(TERMINATE)
    task.cancel()
    await asyncio.wait([task])
    # It may have ended before.
    assert task.cancelled() or isinstance(task.exception(), LockLost)
    await check_free(database, other)


# ── cancelled, at every step ──


async def _steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("where", ["free", "held elsewhere", "held here", "in a unit of work"])
async def test_wherever_who_acquires_is_cancelled_nothing_is_left(
    where: str, database: Database, other: Database
) -> None:
    chance = random.Random(5)

    async def enter() -> None:
        async with contextlib.AsyncExitStack() as stack:
            if where == "in a unit of work":
                await stack.enter_async_context(UnitOfWork(database))
            await stack.enter_async_context(lock_of(database))
            await interrupted()

    async with contextlib.AsyncExitStack() as holder:
        if where != "free":
            await holder.enter_async_context(lock_of(database if where == "held here" else other))
        for _ in range(40):
            task = asyncio.create_task(enter())
            await _steps(chance.randrange(12))
            await asyncio.sleep(chance.random() * 0.02)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
    await check_free(database, other)


async def test_wherever_who_releases_is_cancelled_it_is_released(database: Database, other: Database) -> None:
    for steps in range(40):
        began, leave = asyncio.Event(), asyncio.Event()

        async def enter(began: asyncio.Event = began, leave: asyncio.Event = leave) -> None:
            async with lock_of(database):
                began.set()
                await leave.wait()

        task = asyncio.create_task(enter())
        await began.wait()
        leave.set()
        await _steps(steps)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.exception() is None
        assert in_use(database) == 0
    await check_free(database, other)


async def test_who_waits_in_the_database_does_so_until_its_deadline(database: Database, other: Database) -> None:
    async with lock_of(other):
        with pytest.raises(TimedOut, match="The import is late"):
            async with timeout(SOON, "The import is late"), lock_of(database):
                raise AssertionError
        with pytest.raises(TimedOut, match="The import is late"):
            async with timeout(SOON, "The import is late"), UnitOfWork(database), AsyncLock(NAME, scope="database"):
                raise AssertionError
    await check_free(database, other)


# ── misuse ──


async def test_a_lock_needs_a_postgresql_database() -> None:
    with pytest.raises(Misconfigured, match="needs a database: AsyncLock"):
        await AsyncLock("x", scope="database").acquire()
    with pytest.raises(Misconfigured, match=r"is a uno\.data\.Database, not a str"):
        await AsyncLock("x", scope="database", database="postgresql://").acquire()
    async with Database("sqlite://") as lite:
        with pytest.raises(Misconfigured, match="needs PostgreSQL, and this is SQLite"):
            await AsyncLock("x", scope="database", database=lite).acquire()
        async with UnitOfWork(lite):
            with pytest.raises(Misconfigured, match="needs PostgreSQL"):
                await AsyncLock("x", scope="database").acquire()


async def test_a_replica_is_not_the_place_for_locks(url: str) -> None:
    async with Database(url, read_only=True) as replica:
        with pytest.raises(Misconfigured, match="use the primary's Database"):
            await lock_of(replica).acquire()


async def test_a_database_that_is_not_open_locks_nothing(url: str) -> None:
    database = Database(url)
    async with database:
        pass
    with pytest.raises(Misconfigured, match="not open"):
        await lock_of(database).acquire()
    async with database, lock_of(database, FOREVER):
        pass


async def test_a_database_that_is_closed_ends_its_locks(url: str, other: Database) -> None:
    database = Database(url)
    with pytest.raises(LockLost):
        async with database, lock_of(database):
            closing = asyncio.create_task(database.close())
            await interrupted()
    await closing
    async with database:
        await lock_of(database).acquire(timeout=FOREVER)
        lock_of(database).release()
    async with lock_of(other, FOREVER):
        pass


async def test_the_lock_of_a_unit_of_work_is_of_its_own_task(database: Database) -> None:
    async with UnitOfWork(database):
        with pytest.raises(Misconfigured, match="share one unit of work"):
            await asyncio.create_task(AsyncLock(NAME, scope="database").acquire())
