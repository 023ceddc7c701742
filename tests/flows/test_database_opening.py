"""A database of one's own is started once, however many open it, and stops with the last of them."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from uno import clock
from uno.data import Database
from uno.data.embedded import status, stop
from uno.errors import UnoError


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
