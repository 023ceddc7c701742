"""The thread pool: bounded, seen, never stuck."""

import asyncio
import contextvars
import os
import threading
from typing import Any

import pytest
from tests.unit.steered import settled

from uno import clock, context
from uno.aio import PoolClosed, ThreadPool, get_thread_pool, in_thread
from uno.context import Context
from uno.errors import Misconfigured, TimedOut
from uno.resilience import BulkheadFull

variable: contextvars.ContextVar[str] = contextvars.ContextVar("of_threads", default="nothing")


def add(one: int, *, other: int) -> tuple[int, str, str]:
    return one + other, variable.get(), threading.current_thread().name


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_call_runs_in_a_thread_with_the_context_of_the_caller() -> None:
    variable.set("here")
    async with ThreadPool("adding", threads=1) as pool:
        value, seen, thread = await pool.run(add, 1, other=2)
    assert (value, seen) == (3, "here")
    assert thread.startswith("uno.adding")


async def test_no_more_run_and_wait_than_may_and_all_is_seen() -> None:
    gate = threading.Event()
    async with ThreadPool(threads=2, max_waiting=1) as pool:
        tasks = [asyncio.create_task(pool.run(gate.wait)) for _ in range(3)]
        await until(lambda: pool.waiting == 1)
        assert pool.running == 2
        assert [call.function for call in pool.calls] == ["Event.wait"] * 2
        with pytest.raises(BulkheadFull):
            await pool.run(gate.wait)
        gate.set()
        assert await asyncio.gather(*tasks) == [True] * 3
        await until(lambda: pool.running == 0)
        assert pool.calls == []


async def test_who_is_cancelled_goes_on_and_its_thread_is_free_when_it_has_ended() -> None:
    gate = threading.Event()
    async with ThreadPool(threads=1) as pool:
        task = asyncio.create_task(pool.run(gate.wait))
        await until(lambda: pool.running == 1)
        waiting = asyncio.create_task(pool.run(add, 1, other=1))
        gone = asyncio.create_task(pool.run(add, 1, other=1))
        await until(lambda: pool.waiting == 2)
        task.cancel()
        gone.cancel()
        await asyncio.wait([task, gone])
        assert task.cancelled()
        assert gone.cancelled()
        assert pool.running == 1
        gate.set()
        assert (await waiting)[0] == 2


async def test_nobody_waits_for_a_thread_past_the_deadline() -> None:
    gate = threading.Event()
    async with ThreadPool(threads=1) as pool:
        task = asyncio.create_task(pool.run(gate.wait))
        await until(lambda: pool.running == 1)
        with context.use(Context(deadline=clock.monotonic() + 0.01)), pytest.raises(TimedOut):
            await pool.run(add, 1, other=1)
        gate.set()
        await task


async def test_errors_come_as_they_were() -> None:
    def fail(error: BaseException) -> None:
        raise error

    async with ThreadPool() as pool:
        with pytest.raises(ValueError, match="mine"):
            await pool.run(fail, ValueError("mine"))
        with pytest.raises(RuntimeError, match="StopIteration"):
            await pool.run(fail, StopIteration())
        await until(lambda: pool.running == 0)


async def test_a_closed_pool_takes_nothing_not_even_what_waited() -> None:
    gate = threading.Event()
    pool = ThreadPool("closed", threads=1)
    running = asyncio.create_task(pool.run(gate.wait))
    await until(lambda: pool.running == 1)
    waiting = asyncio.create_task(pool.run(add, 1, other=1))
    await settled()
    pool.close()
    with pytest.raises(PoolClosed, match="closed"):
        await pool.run(add, 1, other=1)
    gate.set()
    assert await running is True
    with pytest.raises(PoolClosed):
        await waiting
    await until(lambda: pool.running == 0)


async def test_the_pool_of_the_process_is_one() -> None:
    assert (await in_thread(add, 1, other=2))[0] == 3
    pool = get_thread_pool()
    assert get_thread_pool() is pool
    assert pool.threads == os.cpu_count()
    pool.close()
    assert get_thread_pool() is not pool
    get_thread_pool().close()


async def test_async_functions_are_refused() -> None:
    async with ThreadPool() as pool:
        with pytest.raises(Misconfigured, match="settled is async"):
            await pool.run(settled)


@pytest.mark.parametrize("settings", [{"threads": 0}, {"max_waiting": -1}, {"threads": 1.5}])
def test_wrong_sizes_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="ThreadPool"):
        ThreadPool(**settings)
