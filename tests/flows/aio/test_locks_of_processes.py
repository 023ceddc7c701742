"""A lock of several processes: they wait for each other, and one is killed while it has it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.flows.aio.locker import COUNT, NAME, ROUNDS, TASKS, lock_of, prepare

from uno.aio import AsyncLock
from uno.data import Database, UnitOfWork
from uno.errors import TimedOut
from uno.testing.postgres import DatabaseFarm

ROOT = Path(__file__).parents[3]
SOON, FOREVER = 0.05, 60.0
Start = Callable[[str], Awaitable[Process]]


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
async def start(url: str) -> AsyncIterator[Start]:
    """`await start("hold")` is a process that has the lock."""
    running: list[Process] = []

    async def starting(what: str) -> Process:
        program = str(Path(__file__).with_name("locker.py"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, what, url, stdin=PIPE, stdout=PIPE, env=environment
        )
        running.append(process)
        assert await heard(process) == "held"
        return process

    yield starting
    for process in running:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def heard(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


def tell(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")


async def test_a_lock_that_another_process_has_is_waited_for(start: Start, database: Database) -> None:
    process = await start("hold")
    with pytest.raises(TimedOut, match=r"'nightly import' was not free within 0\.05 s\. In the database the server"):
        await lock_of(database).acquire(timeout=SOON)
    tell(process)
    async with lock_of(database, FOREVER):
        pass
    assert await heard(process) == "released"


async def test_a_process_that_is_killed_while_it_has_a_lock_releases_it(start: Start, database: Database) -> None:
    process = await start("hold")

    async def enter() -> int:
        async with lock_of(database, FOREVER):
            return process.pid

    waiter = asyncio.create_task(enter())
    process.send_signal(signal.SIGKILL)
    assert await waiter == process.pid
    assert await process.wait() == -signal.SIGKILL


async def test_two_processes_and_this_one_count_without_losing_any(start: Start, database: Database) -> None:
    async def several() -> None:
        for _ in range(ROUNDS):
            async with lock_of(database):
                [[number]] = await database.query(COUNT)
                async with database.transaction() as transaction:
                    await transaction.execute(text("UPDATE counters SET number = :n"), {"n": number + 1})

    processes = await asyncio.gather(start("count"), start("count"))
    await asyncio.gather(*(several() for _ in range(TASKS)))
    assert [await heard(process) for process in processes] == ["released"] * 2
    assert await database.query(COUNT) == [(3 * ROUNDS * TASKS,)]


@pytest.mark.parametrize("end", ["commits", "is killed"])
async def test_a_lock_of_a_unit_of_work_is_held_until_its_transaction_ends(
    start: Start, database: Database, end: str
) -> None:
    process = await start("unit")
    with pytest.raises(TimedOut):
        await lock_of(database).acquire(timeout=SOON)
    if end == "commits":
        tell(process)
    else:
        process.send_signal(signal.SIGKILL)
    async with UnitOfWork(database) as uow, AsyncLock(NAME, scope="database"):
        [[number]] = (await uow.execute(COUNT)).all()
    assert number == (100 if end == "commits" else 0)
