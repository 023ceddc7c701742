"""What a cache may hold of a database: only what is committed, and nothing older than the last commit."""

import asyncio

import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.aio import AsyncCache
from uno.bus import Bus, invalidates
from uno.data import Changes, Database, Model, Repository, UnitOfWork
from uno.errors import Misconfigured
from uno.messages import DomainEvent


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Item(Base):
    __tablename__ = "cached_items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class ItemRenamed(DomainEvent):
    item_id: int


@pytest.fixture
async def database(fresh: Fresh, backend: str) -> Database:
    made = await fresh(backend, Base.metadata)
    async with UnitOfWork(made):
        await Repository(Item).add(Item(id=1, name="old"))
    return made


async def test_what_is_not_committed_never_gets_into_a_cache(database: Database) -> None:
    cache = AsyncCache(60.0)

    async def name_of(id: int) -> str:
        async with UnitOfWork(database, read_only=True):
            return (await Repository(Item).get(id)).name

    async with UnitOfWork(database):
        (await Repository(Item).get(1)).name = "new"
        assert await cache.get(1, name_of) == "old"
        # And a loader has no unit of work unless it opens one.
        with pytest.raises(Misconfigured, match="No unit of work"):
            await cache.get(2, Repository(Item).get)


async def test_a_commit_invalidates_what_was_read_before_it(database: Database) -> None:
    cache = AsyncCache(60.0)
    bus = Bus([invalidates(ItemRenamed, cache, keys=lambda event: [event.item_id])])
    read, go = asyncio.Event(), asyncio.Event()

    async def name_of(id: int) -> str:
        async with UnitOfWork(database, read_only=True):
            found = (await Repository(Item).get(id)).name
        read.set()
        await go.wait()
        return found

    async def tell(changes: Changes) -> None:
        await bus.notify(changes.events)

    early = asyncio.create_task(cache.get(1, name_of))
    await read.wait()
    async with UnitOfWork(database, after=[tell]) as uow:
        (await Repository(Item).get(1)).name = "new"
        uow.record(ItemRenamed(item_id=1))
    go.set()
    assert await early == "old"
    assert await cache.get(1, name_of) == "new"
    with pytest.raises(ZeroDivisionError):
        async with UnitOfWork(database, after=[tell]) as uow:
            uow.record(ItemRenamed(item_id=1))
            raise ZeroDivisionError
    assert len(cache) == 1
