"""Locks that a unit of work has: they end with its transaction, or with a savepoint that is undone."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from sqlalchemy import text
from tests.flows.aio.locker import NAME, lock_of, prepare

from uno.aio import AsyncLock, LockLost
from uno.data import Database, UnitOfWork
from uno.errors import TimedOut, Unavailable
from uno.testing.postgres import DatabaseFarm

FOREVER = 60.0
TERMINATE = text("SELECT pg_terminate_backend(pg_backend_pid())")
Savepoint = Callable[[UnitOfWork], AbstractAsyncContextManager[None]]


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        await farm.template("counters", prepare)
        yield farm


@pytest.fixture
async def url(farm: DatabaseFarm) -> str:
    return await farm.create("counters")


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as database:
        yield database


@pytest.fixture
async def other(url: str) -> AsyncIterator[Database]:
    """The same one, as another process has it."""
    async with Database(url) as database:
        yield database


@pytest.fixture
def lock(database: Database) -> AsyncLock:
    return lock_of(database, FOREVER)


async def is_free(other: Database) -> bool:
    """Whether another process could have it."""
    try:
        await lock_of(other).acquire(timeout=0)
    except TimedOut:
        return False
    lock_of(other).release()
    return True


@pytest.mark.parametrize("how", ["commits", "fails", "is cut off", "commits itself"])
async def test_a_lock_that_is_not_released_ends_with_its_transaction(
    how: str, database: Database, other: Database, lock: AsyncLock
) -> None:
    with contextlib.suppress(ZeroDivisionError, Unavailable):
        async with UnitOfWork(database) as uow:
            await lock.acquire()
            await lock.acquire()
            assert not await is_free(other)
            if how == "fails":
                raise ZeroDivisionError
            if how == "is cut off":
                await uow.execute(TERMINATE)
            if how == "commits itself":
                await uow.commit()
    assert not lock.locked()
    lock.release()  # as in a `finally`, where there may be another error
    async with lock:
        assert not await is_free(other)
    async with UnitOfWork(database):
        await lock.acquire()
        assert not await is_free(other)
    assert await is_free(other)


async def test_a_session_that_goes_on_after_a_commit_takes_its_lock_anew(
    database: Database, other: Database, lock: AsyncLock
) -> None:
    async with UnitOfWork(database) as uow:
        await uow.session()
        for _ in range(2):
            await lock.acquire()
            assert not await is_free(other)
            await uow.commit()
            assert await is_free(other)
            assert not lock.locked()


async def test_the_error_of_a_unit_of_work_is_not_that_of_giving_its_lock_back(
    lock: AsyncLock, database: Database
) -> None:
    with pytest.raises(ZeroDivisionError):
        try:
            async with UnitOfWork(database):
                await lock.acquire()
                raise ZeroDivisionError
        finally:
            lock.release()


async def test_a_wait_that_the_server_ends_leaves_no_savepoint_behind(
    database: Database, other: Database, lock: AsyncLock
) -> None:
    """Undoing the one around it ends the locks that were taken in that."""
    taken = AsyncLock("taken", scope="database", database=other)
    async with taken, UnitOfWork(database) as uow:
        with pytest.raises(TimedOut):
            async with uow.savepoint():
                await lock.acquire()
                await uow.execute(text("SET LOCAL statement_timeout = '100ms'"))
                await AsyncLock("taken", scope="database", timeout=FOREVER).acquire()
        assert await is_free(other)
        assert not lock.locked()
        async with lock:
            assert not await is_free(other)


async def test_a_block_that_goes_on_after_its_transaction_is_told(
    database: Database, other: Database, lock: AsyncLock
) -> None:
    with pytest.raises(LockLost, match="has ended with its transaction.*inside of the unit of work"):
        async with contextlib.AsyncExitStack() as stack:
            async with UnitOfWork(database):
                await stack.enter_async_context(lock)
            async with lock:  # it is another one
                assert not await is_free(other)
    with pytest.raises(LockLost):
        async with UnitOfWork(database) as uow, lock:
            await uow.commit()
    assert not lock.locked()
    with pytest.raises(ZeroDivisionError):
        async with contextlib.AsyncExitStack() as stack, UnitOfWork(database):
            await stack.enter_async_context(lock)
            raise ZeroDivisionError


def in_the_unit(uow: UnitOfWork) -> AbstractAsyncContextManager[None]:
    return uow.savepoint()


@contextlib.asynccontextmanager
async def in_the_session(uow: UnitOfWork) -> AsyncIterator[None]:
    session = await uow.session()
    async with session.begin_nested():
        await session.connection()  # it begins with the first use
        yield


@contextlib.asynccontextmanager
async def in_the_unit_with_a_session(uow: UnitOfWork) -> AsyncIterator[None]:
    await uow.session()
    async with uow.savepoint():
        yield


@pytest.fixture(params=[in_the_unit, in_the_session, in_the_unit_with_a_session], ids=lambda make: make.__name__)
def savepoint(request: pytest.FixtureRequest) -> Savepoint:
    made: Savepoint = request.param
    return made


async def test_a_lock_that_was_taken_in_a_savepoint_ends_where_that_is_undone(
    savepoint: Savepoint, database: Database, other: Database, lock: AsyncLock
) -> None:
    async with UnitOfWork(database) as uow:
        for _ in range(2):
            with contextlib.suppress(ZeroDivisionError):
                async with savepoint(uow):
                    await lock.acquire()
                    raise ZeroDivisionError
            assert not lock.locked()
            assert await is_free(other)
        async with AsyncLock(NAME, scope="database"):
            assert not await is_free(other)


async def test_other_locks_outlive_a_savepoint(savepoint: Savepoint, database: Database, lock: AsyncLock) -> None:
    before, kept, undone = (AsyncLock(name, scope="database", database=database) for name in ("a", "b", "c"))
    async with UnitOfWork(database) as uow:
        await before.acquire()
        async with savepoint(uow):
            await kept.acquire()
            async with lock:
                with contextlib.suppress(ZeroDivisionError):
                    async with savepoint(uow):
                        async with lock:
                            await before.acquire()
                        await undone.acquire()
                        raise ZeroDivisionError
        assert [one.locked() for one in (before, kept, undone, lock)] == [True, True, False, False]
        assert before.owner_info is not None
        assert before.owner_info.depth == 2
    assert not before.locked()


async def test_a_unit_of_work_remembers_only_the_locks_that_are_held(database: Database, lock: AsyncLock) -> None:
    async with UnitOfWork(database) as uow:
        for _ in range(3):
            async with lock:
                pass
        await lock.acquire()
        assert len((await uow.transaction()).lock_ends._told) == 1
