"""A repository where no unit of work is open says why that may be."""

import asyncio

import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column

from uno import context
from uno.aio import AsyncBatcher, AsyncCache
from uno.data import Database, Model, Repository, UnitOfWork
from uno.errors import Misconfigured


class Fruit(Model):
    __tablename__ = "fruits"
    metadata = MetaData()
    id: Mapped[int] = mapped_column(primary_key=True)


async def load(id: int) -> Fruit:
    return await Repository(Fruit).get(id)


async def load_all(ids: list[int]) -> list[Fruit]:
    return [await load(id) for id in ids]


async def test_what_a_cache_loads_or_a_batch_does_for_a_handler_says_that_it_opens_its_own() -> None:
    asks = (
        lambda: AsyncCache(60.0).get(1, load),
        lambda: AsyncBatcher(load_all, max_wait_time=0).add_item(1),
        lambda: asyncio.create_task(load(1), context=context.apart()),
    )
    async with Database("sqlite:///:memory:") as database, UnitOfWork(database):
        for ask in asks:
            with pytest.raises(Misconfigured, match=r"No unit of work is open; .* a cache loads, .* opens its own"):
                await ask()
