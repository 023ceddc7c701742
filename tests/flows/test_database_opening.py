"""A database of one's own is started once, however many open it, and stops with the last of them."""

import asyncio
import gc
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from uno import clock
from uno.data import Database
from uno.data.embedded import status, stop
from uno.errors import Misconfigured, UnoError
from uno.testing.postgres import DatabaseFarm


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short, for the server's socket.
    root = Path(tempfile.mkdtemp(prefix="uno-"))
    root.chmod(0o755)
    try:
        yield root / "data"
    finally:
        if (root / "data").is_dir():
            stop(root / "data", force=True)
        shutil.rmtree(root)


async def test_opening_fails_once_then_succeeds_twice_at_a_time_and_the_last_one_closes(folder: Path) -> None:
    folder.write_text("in the way")
    database = Database(f"embedded:{folder}")
    with pytest.raises(UnoError):
        async with database:
            raise AssertionError("it opened")
    folder.unlink()
    await asyncio.gather(database.__aenter__(), database.__aenter__())
    await database.__aexit__()
    await database.ping()
    await database.__aexit__()
    await until_unused(folder)


async def until_unused(folder: Path) -> None:
    # Whoever looks, the watchdog too, holds the lock for a moment.
    async with clock.timeout(10):
        while status(folder).in_use:
            await asyncio.sleep(0.05)


def test_a_database_may_be_opened_in_one_event_loop_after_another() -> None:
    database = Database("sqlite://")

    async def used() -> None:
        async with database:
            await database.ping()

    async def twice() -> None:
        await asyncio.gather(used(), used())

    for _ in range(2):
        asyncio.run(twice())


@pytest.fixture(scope="module")
async def postgres_url() -> AsyncIterator[str]:
    async with DatabaseFarm() as farm:
        yield await farm.create()


# Python tells that they were left open.
LEFT_OPEN = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


async def leave_open(database: Database) -> None:
    """In an event loop that ends."""

    async def enter() -> None:
        await database.__aenter__()
        await asyncio.gather(*(database.ping() for _ in range(3)))

    await asyncio.to_thread(lambda: asyncio.run(enter()))


@LEFT_OPEN
async def test_connections_that_an_event_loop_left_open_are_not_used_in_the_next_one(postgres_url: str) -> None:
    database = Database(postgres_url)

    async def use() -> None:
        await database.open()
        await database.ping()

    for _ in range(2):
        await asyncio.to_thread(lambda: asyncio.run(use()))
    async with database:
        await database.ping()
    gc.collect()


async def test_a_database_is_open_in_one_event_loop(postgres_url: str) -> None:
    async with Database(postgres_url) as database:
        with pytest.raises(Misconfigured, match="open in another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(database.open()))
        await database.ping()


@LEFT_OPEN
async def test_what_an_event_loop_left_open_is_closed_by_the_next_one(postgres_url: str, tmp_path: Path) -> None:
    beside = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    for url in (postgres_url, f"sqlite:///{tmp_path / 'left.db'}"):
        database = Database(url)
        for _ in range(2):
            await leave_open(database)
            async with database:
                await database.ping()
            assert database.pool_use() is None
    async with Database(postgres_url) as database, clock.timeout(10):
        while (await database.query(beside))[0][0] > 1:
            await asyncio.sleep(0.05)
    gc.collect()


@LEFT_OPEN
async def test_a_server_that_an_event_loop_left_running_stops_with_its_last_user(folder: Path) -> None:
    database = Database(f"embedded:{folder}")
    await leave_open(database)
    async with database:
        await database.ping()
    await until_unused(folder)
    gc.collect()
