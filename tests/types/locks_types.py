"""Never run: what decorators and blocks of uno.aio give is what the function gives, and take is what it takes."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from contextlib import nullcontext
from typing import Generic, Self, TypeVar, assert_type

from uno.aio import (
    AsyncContextGroup,
    AsyncEvent,
    AsyncLock,
    AsyncSemaphore,
    cancellable,
    concurrent_limited,
    rate_limited,
    retry,
    timeout,
    timeout_handler,
)
from uno.data import Database
from uno.resilience import CircuitBreaker

T = TypeVar("T")


async def close(order: int) -> None: ...


@cancellable
@retry(max_attempts=3)
@timeout_handler(timeout_seconds=5.0)
@rate_limited(operations_per_second=10)
@concurrent_limited(max_concurrent=5)
async def fetch(order: int) -> str:
    return str(order)


@cancellable(cleanup=close, cleanup_timeout=2)
@retry
async def again(order: int) -> bytes:
    return bytes(order)


class Client:
    @retry(max_attempts=2)
    async def get(self, order: int) -> float:
        return float(order)

    @timeout_handler(5.0)
    @CircuitBreaker()
    def count(self, order: int, *, twice: bool = False) -> int:
        return order * (1 + twice)

    @cancellable
    async def stop(self, order: int) -> None: ...

    @staticmethod
    @retry
    async def make(order: int) -> "Client":
        return Client()


class Store(Generic[T]):
    def __init__(self, one: T) -> None: ...

    @retry
    async def put(self, one: T) -> Self:
        return self


async def use() -> None:
    assert_type(await fetch(5), str)
    assert_type(await again(5), bytes)
    assert_type(await Client().get(5), float)
    assert_type(await Client.get(Client(), order=5), float)
    assert_type(Client().count(5, twice=True), int)
    assert_type(await Client.make(5), Client)
    assert_type(await Store("a").put("b"), Store[str])
    async with AsyncLock("orders") as lock, AsyncSemaphore(3) as semaphore, timeout(5.0, "too slow") as limit:
        assert_type(lock, AsyncLock)
        assert_type(semaphore, AsyncSemaphore)
        assert_type(limit, timeout)
    async with AsyncContextGroup(nullcontext(5)) as group:
        assert_type(group, AsyncContextGroup)
        assert_type(await group.enter_async_context(nullcontext(5)), int)
    assert_type(await AsyncEvent("ready").wait(timeout=1), bool)
    assert_type(await AsyncLock().acquire(timeout=1), bool)


async def wrong(database: Database) -> None:
    await fetch("a")  # type: ignore[arg-type]
    await Client().get("a")  # type: ignore[arg-type]
    await Client().get()  # type: ignore[call-arg]
    await Client().get(5, 3)  # type: ignore[call-arg]
    Client().count(5, thrice=True)  # type: ignore[call-arg]
    await Client().stop()  # type: ignore[call-arg]
    await Store("a").put(5)  # type: ignore[arg-type]
    AsyncLock("orders", scope="database", database=database)
    AsyncLock("orders", scope="database", database="postgresql://")  # type: ignore[arg-type]
    AsyncLock("orders", scope="both")  # type: ignore[arg-type]
