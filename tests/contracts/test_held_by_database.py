"""A transaction that waits for nothing but the database is not taken for one that is held open."""

import asyncio

from sqlalchemy import MetaData, Text, cast, func, text
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.data import Database, Model, Repository, UnitOfWork
from uno.settings import DatabaseSettings


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Awaited(Base):
    __tablename__ = "awaited"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


awaited: Repository[Awaited] = Repository(Awaited)


async def opened(fresh: Fresh) -> Database:
    settings = DatabaseSettings(guards="error", transaction_idle=0.2)
    return await fresh("postgresql", Base.metadata, settings=settings)


async def test_a_stream_whose_query_is_slow(fresh: Fresh) -> None:
    async with UnitOfWork(await opened(fresh)) as uow:
        await awaited.create(id=1)
        await uow.flush()
        found = [one.id async for one in awaited.stream(cast(func.pg_sleep(0.7), Text) != "x")]
        await awaited.create(id=2)
    assert found == [1]


async def test_a_copy_that_waits_for_a_lock(fresh: Fresh) -> None:
    database = await opened(fresh)

    async def lock(locked: asyncio.Event) -> None:
        async with database.transaction() as transaction:
            await transaction.execute(text("LOCK TABLE awaited IN EXCLUSIVE MODE"))
            locked.set()
            await transaction.execute(text("SELECT pg_sleep(0.7)"))

    locked = asyncio.Event()
    locking = asyncio.create_task(lock(locked))
    await locked.wait()
    async with UnitOfWork(database):
        assert await awaited.insert_many({"id": n} for n in range(100)) == 100
    await locking
    async with UnitOfWork(database):
        assert await awaited.count() == 100
