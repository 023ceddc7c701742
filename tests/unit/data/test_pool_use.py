"""How the connections of a pool are used, as the metrics show it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from uno import clock
from uno.data import Database
from uno.data.pool import PoolUse
from uno.errors import Unavailable
from uno.settings import DatabaseSettings


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    settings = DatabaseSettings(pool_size=1, max_overflow=1, acquire_timeout=20)
    async with Database(f"sqlite:///{tmp_path}/shop.db", settings=settings) as database:
        yield database


async def waiting(database: Database, count: int) -> None:
    async with clock.timeout(20):
        while (use := database.pool_use()) is None or use.waiting != count:
            await asyncio.sleep(0.001)


async def hold(database: Database, release: asyncio.Event) -> None:
    async with database.lease():
        await release.wait()


async def test_what_is_open_in_use_and_waited_for_is_counted(database: Database) -> None:
    assert database.pool_use() == PoolUse(limit=2, open=0, in_use=0, waiting=0)
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(hold(database, release))
        await waiting(database, 3)
        assert database.pool_use() == PoolUse(limit=2, open=2, in_use=2, waiting=3)
        release.set()
    use = database.pool_use()
    assert use is not None
    assert use.waited > 0
    # One more than is kept was closed after use.
    assert database.pool_use() == PoolUse(limit=2, open=1, in_use=0, waiting=0)


async def test_who_gives_up_waiting_is_not_counted_any_more(database: Database) -> None:
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        holding = [group.create_task(hold(database, release)) for _ in range(4)]
        await waiting(database, 2)
        holding[3].cancel()
        await waiting(database, 1)
        release.set()
    assert database.pool_use() == PoolUse(limit=2, open=1, in_use=0, waiting=0)


async def test_who_is_cancelled_while_a_surplus_connection_closes_leaves_its_place(database: Database) -> None:
    release, held, naps = asyncio.Event(), [], []  # type: ignore[var-annotated]

    async def leave_slowly() -> None:
        async with database.lease() as lease:
            held.append(lease)
            await lease.driver.create_function("nap", 0, lambda: time.sleep(0.2))
            await release.wait()
            # Its thread is busy, so that closing takes a while.
            naps.append(asyncio.ensure_future(lease.driver.execute("SELECT nap()")))

    tasks = [asyncio.create_task(leave_slowly()) for _ in range(2)]
    while len(held) < 2:
        await asyncio.sleep(0.001)
    release.set()
    while len(naps) < 2:
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, *naps, return_exceptions=True)
    use = database.pool_use()
    assert use is not None
    assert use.in_use == 0


async def test_one_that_waits_too_long_is_not_counted_any_more(tmp_path: Path) -> None:
    settings = DatabaseSettings(pool_size=1, max_overflow=0, acquire_timeout=0.05)
    async with Database(f"sqlite:///{tmp_path}/shop.db", settings=settings) as database, database.lease():
        with pytest.raises(Unavailable):
            await database.ping()
        use = database.pool_use()
        assert use is not None
        assert (use.in_use, use.waiting) == (1, 0)


async def test_a_closed_database_has_no_figures(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/shop.db")
    async with database:
        assert database.pool_use() is not None
    assert database.pool_use() is None


async def test_in_memory_there_is_one_connection() -> None:
    async with Database("sqlite://") as database:
        use = database.pool_use()
    assert use is not None
    assert use.limit == 1
