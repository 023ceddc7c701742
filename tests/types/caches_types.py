"""The types of batches, caches and loaders, as both type checkers have to see them. Never run."""

import asyncio
from collections.abc import Sequence
from typing import assert_type

from uno.aio import AsyncBatcher, AsyncCache, SharedCache
from uno.bus import Bus, invalidates
from uno.data import Model, Repository
from uno.messages import DomainEvent


class Order(Model):
    __tablename__ = "typed_orders"
    id: int


class OrderShipped(DomainEvent):
    order_id: int


async def load(key: int) -> Order:
    raise NotImplementedError


async def load_text(key: str) -> Order | None:
    raise NotImplementedError


def tags_of(order: Order) -> list[str]:
    return [f"order:{order.id}"]


async def insert(rows: list[str]) -> Sequence[int | BaseException]:
    raise NotImplementedError


async def caching(cache: AsyncCache, shared: SharedCache) -> None:
    assert_type(await cache.get(1, load), Order)
    assert_type(await cache.get(key=1, fetch_func=load, force_refresh=True, tags=["a"]), Order)
    assert_type(await cache.get(1, lambda key: load(key)), Order)
    assert_type(await cache.get(1, load, tags=tags_of), Order)
    assert_type(await shared.get("a", load_text), Order | None)
    await cache.get("a", load)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await shared.get(1, load_text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def batching() -> None:
    batcher = AsyncBatcher(insert, max_batch_size=100, max_wait_time=0.05, key=lambda row: row.upper())
    assert_type(batcher, AsyncBatcher[str, int])
    assert_type(await batcher.add_item("a"), int)
    assert_type(batcher.submit("a"), asyncio.Future[int])
    await batcher.add_item(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def loading(orders: Repository[Order]) -> None:
    loader = orders.loader()
    assert_type(await loader.load(1), Order)
    assert_type(await loader.load_many([1, 2]), list[Order | None])
    assert_type(await orders.get_many([1, 2]), list[Order | None])


def forgetting(cache: AsyncCache, shared: SharedCache) -> Bus:
    by_tag = invalidates(OrderShipped, cache, tags=lambda event: [f"order:{event.order_id}"])
    return Bus([by_tag, invalidates(OrderShipped, shared, keys=lambda event: [event.order_id])])
