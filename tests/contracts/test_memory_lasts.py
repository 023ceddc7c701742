"""What is in memory stays there, whatever becomes of those who ask for it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.orm import Mapped, mapped_column

from uno import clock, context
from uno.data import Database, Model, Repository, UnitOfWork
from uno.errors import TimedOut


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Lasting(Base):
    __tablename__ = "lasting"
    id: Mapped[int] = mapped_column(primary_key=True)


SLOW = (
    "WITH RECURSIVE counted(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM counted WHERE x < 3000000) "
    "SELECT count(*) FROM counted"
)
lasting: Repository[Lasting] = Repository(Lasting)
Way = Callable[[Database], Awaitable[object]]


async def by_lease(database: Database) -> None:
    async with database.lease() as lease:
        await lease.fetch_text(SLOW, ())


async def by_query(database: Database) -> None:
    await database.query(text(SLOW))


async def by_raw_sql(database: Database) -> None:
    async with UnitOfWork(database) as uow:
        await lasting.create(id=2)
        await uow.execute(text(SLOW))


async def by_reading_sql(database: Database) -> None:
    async with UnitOfWork(database, read_only=True) as uow:
        await uow.execute(text(SLOW))


async def by_session(database: Database) -> None:
    async with UnitOfWork(database) as uow:
        await (await uow.session()).execute(text(SLOW))


@pytest.mark.parametrize("late", [True, False], ids=["late", "cancelled"])
@pytest.mark.parametrize("way", [by_lease, by_query, by_raw_sql, by_reading_sql, by_session])
async def test_it_outlives_a_statement_that_was_given_up(way: Way, late: bool) -> None:
    async with Database("sqlite://") as database:
        await database.create_tables([Base.metadata])
        async with UnitOfWork(database):
            await lasting.create(id=1)
        if late:
            with context.use(context.Context(deadline=clock.monotonic() + 0.05)), pytest.raises(TimedOut):
                await way(database)
        else:
            task = asyncio.ensure_future(way(database))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with UnitOfWork(database):
            assert [one.id for one in await lasting.find()] == [1]
            await lasting.create(id=3)
        assert (await database.query(text("SELECT count(*) FROM lasting")))[0][0] == 2
