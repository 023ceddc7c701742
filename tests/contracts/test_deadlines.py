"""The deadline of a message ends what waits for the database, and leaves nothing behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import MetaData, Text, cast, func, text
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno import clock, context
from uno.context import Context
from uno.data import Database, Model, Repository, UnitOfWork
from uno.errors import TimedOut
from uno.settings import DatabaseSettings

SLEEP = "SELECT pg_sleep(20)"
# Much longer, on SQLite.
COUNT = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000000) SELECT count(*) FROM n
"""


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Late(Base):
    __tablename__ = "late"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


lates: Repository[Late] = Repository(Late)


@contextmanager
def due(seconds: float) -> Iterator[None]:
    with context.use(Context(deadline=clock.monotonic() + seconds)):
        yield


@pytest.fixture
async def database(fresh: Fresh, backend: str) -> AsyncIterator[Database]:
    settings = DatabaseSettings(pool_size=1, max_overflow=0, acquire_timeout=30)
    database = await fresh(backend, Base.metadata, settings=settings)
    yield database
    use = database.pool_use()
    assert use is not None
    assert use.in_use == 0
    # The one connection there may be is good, and in no transaction.
    async with UnitOfWork(database):
        await lates.create(id=1000)
    assert await lates_of(database) >= 1


async def lates_of(database: Database) -> int:
    [(found,)] = await database.query(text("SELECT count(*) FROM late"))
    return int(found)


def slow(database: Database) -> str:
    return SLEEP if database.backend == "postgresql" else COUNT


async def by_lease(database: Database) -> None:
    async with database.lease() as lease:
        await lease.fetch_text(slow(database), ())


async def by_query(database: Database) -> None:
    await database.query(text(slow(database)))


async def by_transaction(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(text("INSERT INTO late (id) VALUES (1)"))
        await transaction.execute(text(slow(database)))


async def by_session(database: Database) -> None:
    async with UnitOfWork(database) as uow:
        await lates.create(id=2)
        await (await uow.session()).execute(text(slow(database)))


async def by_raw_sql(database: Database) -> None:
    async with UnitOfWork(database, read_only=True) as uow:
        await uow.execute(text(slow(database)))


async def by_stream(database: Database) -> None:
    async with UnitOfWork(database):
        await lates.insert_many([{"id": n} for n in (3, 4)])
        async for _ in lates.stream(batch=1):
            await asyncio.sleep(0.4)


async def by_slow_stream(database: Database) -> None:
    if database.backend == "sqlite":  # which looks between rows
        return await by_stream(database)
    async with UnitOfWork(database):
        await lates.insert_many([{"id": 3}])
        async for _ in lates.stream(cast(func.pg_sleep(20), Text) != "x"):
            pass


async def by_many(database: Database) -> None:
    if database.backend == "postgresql":
        return await by_lease(database)
    async with database.transaction() as transaction:
        slow_rows = text(f"INSERT INTO late (id) SELECT :id + count(*) FROM ({COUNT})")
        await transaction.execute(slow_rows, [{"id": n} for n in range(5)])


@pytest.mark.parametrize(
    "way", [by_lease, by_query, by_transaction, by_session, by_raw_sql, by_stream, by_slow_stream, by_many]
)
async def test_a_statement_ends_at_the_deadline(database: Database, way: Callable[[Database], Awaitable[None]]) -> None:
    await database.ping()
    since = clock.monotonic()
    with due(0.3), pytest.raises(TimedOut):
        await way(database)
    assert clock.monotonic() - since < 15  # the statement would have taken longer
    assert await lates_of(database) == 0


async def test_who_waits_for_a_connection_goes_at_the_deadline(database: Database) -> None:
    async with database.lease():
        for way in (by_lease, by_query, by_transaction):
            with due(0.1), pytest.raises(TimedOut):
                await way(database)


async def test_after_the_deadline_nothing_is_asked_and_nothing_is_written(database: Database) -> None:
    with due(-1):
        for way in (by_lease, by_query, by_transaction):
            with pytest.raises(TimedOut, match="deadline of the message"):
                await way(database)
        with pytest.raises(TimedOut, match="deadline of the message"):
            async with UnitOfWork(database):
                await lates.create(id=3)
    assert await lates_of(database) == 0


async def test_a_unit_of_work_that_goes_on_after_it_writes_nothing(database: Database) -> None:
    with due(0.3), pytest.raises(TimedOut):
        async with UnitOfWork(database) as uow:
            await lates.create(id=4)
            with pytest.raises(TimedOut):
                await uow.execute(text(slow(database)))
    assert await lates_of(database) == 0


async def test_the_server_does_not_go_on(fresh: Fresh) -> None:
    database = await fresh("postgresql", Base.metadata)
    running = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' "
        "AND pid <> pg_backend_pid()"
    )

    async def until(expected: int) -> None:
        async with clock.timeout(30):
            while (await database.query(running))[0][0] != expected:
                await asyncio.sleep(0.05)

    for way in (by_lease, by_query, by_transaction):
        with due(0.2), pytest.raises(TimedOut):
            await way(database)
        await until(0)
        cancelled = asyncio.create_task(way(database))
        await until(1)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await until(0)


@pytest.mark.parametrize("form", ["auto", "batch", "session"])
async def test_a_commit_under_way_has_its_own_limit(fresh: Fresh, form: str) -> None:
    database = await fresh("postgresql", Base.metadata, commit=form)
    async with database.transaction() as transaction:
        await transaction.execute(
            text(
                "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql "
                "AS 'BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END'"
            )
        )
        await transaction.execute(
            text(
                "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON late INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION wait()"
            )
        )
    await database.restricted_tables()
    with due(0.3):
        async with UnitOfWork(database):
            await lates.create(id=5)
    assert await lates_of(database) == 1


async def test_synchronous_code_is_late_before_it_begins(fresh: Fresh) -> None:
    database = await fresh("sqlite", Base.metadata)

    def count() -> int:
        with database.blocking.transaction() as uow:
            return int(uow.execute("SELECT count(*) FROM late").scalar_one())

    with due(5):
        assert await asyncio.to_thread(count) == 0
    with due(-1), pytest.raises(TimedOut, match="deadline of the message"):
        await asyncio.to_thread(count)
