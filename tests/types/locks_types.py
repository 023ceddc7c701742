"""What decorators and blocks of uno.aio give is what the function gives."""

from contextlib import nullcontext
from typing import assert_type

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


async def use() -> None:
    assert_type(await fetch(5), str)
    assert_type(await again(5), bytes)
    assert_type(await Client().get(5), float)
    async with AsyncLock("orders") as lock, AsyncSemaphore(3) as semaphore, timeout(5.0, "too slow") as limit:
        assert_type(lock, AsyncLock)
        assert_type(semaphore, AsyncSemaphore)
        assert_type(limit, timeout)
    async with AsyncContextGroup(nullcontext(5)) as group:
        assert_type(group, AsyncContextGroup)
        assert_type(await group.enter_async_context(nullcontext(5)), int)
    assert_type(await AsyncEvent("ready").wait(timeout=1), bool)
    assert_type(await AsyncLock().acquire(timeout=1), bool)
