"""One deadline: `timeout` holds for SQL, for HTTP and for what is nested in it, and a commit tells how it ended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
from sqlalchemy import text

from uno.aio import AsyncLock, TaskGroup, cancellable, retry, timeout, timeout_handler
from uno.data import Database, UnitOfWork
from uno.errors import TimedOut
from uno.resilience.commits import CommittedLate
from uno.testing.postgres import DatabaseFarm

# Seconds: enough for a statement, less than a commit takes here, as a constraint waits in the end.
LATE, SOON, FOREVER = 0.7, 0.1, 60.0
SLOW = """
CREATE TABLE entries (id int PRIMARY KEY);
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON entries DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.id < 10) EXECUTE FUNCTION wait()
"""


async def _prepare(url: str) -> None:
    async with Database(url) as database, database.transaction() as transaction:
        for statement in SLOW.split(";\n"):
            await transaction.execute(text(statement))


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        await farm.template("slow", _prepare)
        yield farm


@pytest.fixture
async def database(farm: DatabaseFarm) -> AsyncIterator[Database]:
    async with Database(f"{await farm.create('slow')}?sslmode=disable") as database:
        yield database


async def stored(database: Database) -> list[int]:
    return [row.id for row in await database.query(text("SELECT id FROM entries ORDER BY id"))]


async def test_a_statement_ends_with_the_limit_around_it(database: Database) -> None:
    with pytest.raises(TimedOut, match="The report is late"):
        async with timeout(SOON, "The report is late"):
            await database.query(text("SELECT pg_sleep(60)"))
    with pytest.raises(TimedOut, match="The report is late"):
        async with UnitOfWork(database) as uow, timeout(SOON, "The report is late"):
            await uow.execute(text("SELECT pg_sleep(60)"))
    assert await stored(database) == []


async def test_nothing_is_asked_once_the_limit_is_over(database: Database) -> None:
    async with timeout(SOON):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(TimedOut, match="has passed"):
                await stored(database)


Work = Callable[[], Awaitable[None]]


async def _plainly(work: Work) -> None:
    await work()


async def _locked(work: Work) -> None:
    async with AsyncLock("orders"):
        await work()


async def _in_a_group(work: Work) -> None:
    async with TaskGroup() as group:
        group.create_task(cancellable(work)())


async def _in_asyncios_group(work: Work) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(cancellable(work)())


async def _gathered(work: Work) -> None:
    await asyncio.gather(cancellable(work)(), asyncio.sleep(0))


@pytest.mark.parametrize(
    "between", [_plainly, _locked, cancellable(_plainly), _in_a_group, _in_asyncios_group, _gathered]
)
async def test_who_is_late_in_a_commit_learns_that_it_is_stored_and_does_not_do_it_twice(
    between: Callable[[Work], Awaitable[None]], database: Database
) -> None:
    attempts: list[int] = []

    async def store() -> None:
        attempts.append(1)
        async with UnitOfWork(database) as uow:
            await uow.execute(text("INSERT INTO entries VALUES (:id)"), {"id": len(attempts)})

    @retry(max_attempts=3, base_delay=0)
    @timeout_handler(LATE, "The order is late")
    async def explicit() -> None:
        await between(store)

    with pytest.raises(CommittedLate, match="The order is late; its commit was under way, and has succeeded"):
        await explicit()
    assert await stored(database) == [1]


async def test_who_is_late_in_the_commit_of_a_transaction_learns_that_it_is_stored(database: Database) -> None:
    with pytest.raises(CommittedLate):
        async with timeout(LATE), database.transaction() as transaction:
            await transaction.execute(text("INSERT INTO entries VALUES (7)"))
    assert await stored(database) == [7]


async def test_of_two_limits_that_end_in_one_commit_the_outer_tells_of_it_too(database: Database) -> None:
    with pytest.raises(CommittedLate, match="The import is late; its commit was under way, and has succeeded"):
        async with (
            timeout(LATE + SOON, "The import is late"),
            timeout(LATE, "The order is late"),
            UnitOfWork(database) as uow,
        ):
            await uow.execute(text("INSERT INTO entries VALUES (1)"))
    assert await stored(database) == [1]


@pytest.mark.parametrize("times", [1, 3])
async def test_a_unit_of_work_that_is_cancelled_while_it_commits_has_committed(database: Database, times: int) -> None:
    began = asyncio.Event()

    async def store() -> None:
        async with UnitOfWork(database) as uow:
            await uow.execute(text("INSERT INTO entries VALUES (1)"))
            began.set()

    task = asyncio.create_task(store())
    await began.wait()
    for _ in range(times):
        await asyncio.sleep(SOON)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stored(database) == [1]


async def test_a_cancellable_call_works_in_the_unit_of_work_of_its_caller(database: Database) -> None:
    @cancellable
    async def insert(id: int) -> None:
        async with UnitOfWork(database) as uow:
            await uow.execute(text("INSERT INTO entries VALUES (:id)"), {"id": id})

    async with UnitOfWork(database):
        await insert(11)
        await insert(12)
        assert await stored(database) == []
    assert await stored(database) == [11, 12]


async def test_what_a_cancelled_call_writes_in_its_cleanup_is_stored(database: Database) -> None:
    @cancellable(cleanup_timeout=FOREVER)
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            async with UnitOfWork(database) as uow:
                await uow.execute(text("INSERT INTO entries VALUES (11)"))

    with pytest.raises(TimedOut):
        async with timeout(SOON):
            await work()
    assert await stored(database) == [11]


async def test_a_request_over_http_ends_with_the_limit_around_it() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def answer_never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(answer_never, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with server, httpx2.AsyncClient(timeout=None, trust_env=False) as client:
        with pytest.raises(TimedOut, match="The supplier is late"):
            async with timeout(LATE, "The supplier is late"):
                await client.get(f"http://127.0.0.1:{port}/")
        assert asked.is_set()
        # While the client is still open.
        await gone.wait()
