"""Databases for tests, on a real server."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from uno.data.embedded import acquire_async, ensure_database, status
from uno.errors import Invalid, Misconfigured, Unavailable
from uno.testing.postgres import DatabaseFarm, shared_folder


@pytest.fixture(scope="module")
async def folder() -> AsyncIterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="uno-farm-"))
    with await acquire_async(path, fsync=False):
        yield path
    deadline = time.monotonic() + 20
    while status(path).running and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def _no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNO_TEST_POSTGRES_URL", raising=False)


async def run(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def fill(url: str) -> None:
    await run(url, "CREATE TABLE fruit AS SELECT 'apple' AS name")


async def databases(url: str) -> int:
    return int(str(await run(url, "SELECT count(*) FROM pg_database WHERE datname LIKE 'uno\\_test\\_%'")))


async def test_copies_of_a_template_know_nothing_of_each_other(folder: Path) -> None:
    async with DatabaseFarm(folder=folder) as farm:
        await farm.template("fruit", fill)
        first, second = await asyncio.gather(farm.create("fruit"), farm.create("fruit"))
        await run(first, "DELETE FROM fruit")
        assert await run(first, "SELECT count(*) FROM fruit") == 0
        assert await run(second, "SELECT name FROM fruit") == "apple"
        assert await run(await farm.create(), "SELECT to_regclass('fruit')") is None


async def test_a_template_is_prepared_once_and_not_at_all_if_that_fails(folder: Path) -> None:
    prepared = []

    async def prepare(url: str) -> None:
        prepared.append(url)
        if len(prepared) == 1:
            raise ZeroDivisionError

    async with DatabaseFarm(folder=folder) as farm:
        before = await databases(farm.server_url)
        with pytest.raises(ZeroDivisionError):
            await farm.template("a", prepare)
        assert await databases(farm.server_url) == before
        await asyncio.gather(farm.template("a", prepare), farm.template("a", prepare))
    assert len(prepared) == 2


async def test_a_farm_that_closes_drops_what_it_made_even_while_it_is_used(folder: Path) -> None:
    async with DatabaseFarm(folder=folder) as watching:
        async with DatabaseFarm(folder=folder) as farm:
            connection = await asyncpg.connect(await farm.create())
            assert await databases(watching.server_url) == 1
        assert await databases(watching.server_url) == 0
        await connection.close()


async def test_a_database_can_be_dropped_early_but_only_our_own(folder: Path) -> None:
    async with DatabaseFarm(folder=folder) as farm:
        url = await farm.create()
        await farm.drop(url)
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await run(url, "SELECT 1")
        with pytest.raises(Invalid, match="was not made by this farm"):
            await farm.drop(farm.server_url)


async def test_a_database_of_a_block_is_dropped_after_it_even_when_it_fails(folder: Path) -> None:
    async with DatabaseFarm(folder=folder) as farm:
        await farm.template("fruit", fill)
        with pytest.raises(ZeroDivisionError):
            async with farm.database("fruit") as url:
                assert await run(url, "SELECT name FROM fruit") == "apple"
                raise ZeroDivisionError
        assert await databases(farm.server_url) == 1


async def test_databases_of_a_killed_test_run_are_dropped_and_those_of_a_living_one_are_kept(folder: Path) -> None:
    async with DatabaseFarm(folder=folder) as living:
        url = await living.create()
        with await acquire_async(folder, fsync=False) as lease:
            await ensure_database(lease.server, "uno_test_1000000000000_abcdef_01234567")
            await ensure_database(lease.server, "uno_test_of_somebody_else")
        async with DatabaseFarm(folder=folder) as farm:
            assert await databases(farm.server_url) == 2
        assert await run(url, "SELECT 1") == 1


async def test_a_server_can_be_given_by_its_url(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with await acquire_async(folder, fsync=False) as lease:
        monkeypatch.setenv("UNO_TEST_POSTGRES_URL", f"{lease.server.url}?application_name=tests")
        async with DatabaseFarm() as farm:
            url = await farm.create()
            assert url.endswith("?application_name=tests")
            assert await run(url, "SHOW application_name") == "tests"


async def test_a_farm_without_server_says_so(folder: Path) -> None:
    with pytest.raises(Misconfigured, match="The farm is not open"):
        await DatabaseFarm(folder=folder).create()
    with pytest.raises(Unavailable, match="does not answer"):
        await DatabaseFarm("postgresql://uno@127.0.0.1:1/x").open()
    async with DatabaseFarm(folder=folder) as farm:
        with pytest.raises(
            Misconfigured, match=r"There is no template 'x': call `await farm.template\('x', …\)` first"
        ):
            await farm.create("x")


def test_the_shared_folder_is_private_and_the_same_for_one_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first = shared_folder()
    assert first == shared_folder()
    assert first.stat().st_mode & 0o777 == 0o700
    monkeypatch.chdir(tmp_path)
    other = shared_folder()
    assert other != first
    other.rmdir()
    other.symlink_to(first)
    with pytest.raises(Unavailable, match="belongs to somebody else"):
        shared_folder()
