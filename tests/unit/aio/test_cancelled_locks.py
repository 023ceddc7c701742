"""Who waits for a lock, or has it, is cancelled at every step, or in the moment of its turn."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st
from tests.unit.aio.holding import held
from tests.unit.steered import settled

from uno.aio import AsyncLock, AsyncSemaphore

FOREVER = 60.0
Make = Callable[..., Any]


@pytest.mark.parametrize("make", [AsyncLock, lambda: AsyncSemaphore(1)])
@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("limited", [False, True])
async def test_who_is_cancelled_while_it_acquires_leaves_nothing_behind(make: Make, steps: int, limited: bool) -> None:
    thing = make()

    async def enter() -> None:
        await thing.acquire(timeout=FOREVER if limited else None)
        try:
            await asyncio.Event().wait()
        finally:
            thing.release()

    async with held(thing):
        task = asyncio.create_task(enter())
        for _ in range(steps % 4):
            await asyncio.sleep(0)
        if steps < 4:
            task.cancel()
    for _ in range(steps % 4):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not thing.locked()
    assert thing.waiting == ()
    assert await thing.acquire(timeout=FOREVER)
    thing.release()


@pytest.mark.parametrize("make", [AsyncLock, lambda: AsyncSemaphore(1)])
async def test_a_turn_that_comes_with_the_cancellation_goes_to_the_next_one(make: Make) -> None:
    thing = make()
    await thing.acquire()
    first, second = asyncio.create_task(thing.acquire()), asyncio.create_task(thing.acquire())
    await settled()
    thing.release()
    first.cancel()
    assert await second
    assert first.cancelled()


async def test_a_turn_that_comes_with_the_end_of_the_limit_is_not_lost() -> None:
    lock, loop = AsyncLock(), asyncio.get_running_loop()
    await lock.acquire()
    first = asyncio.create_task(lock.acquire(timeout=0.001))
    await settled()
    blocked = loop.time() + 0.01
    lock.release()
    while loop.time() < blocked:  # so that the timer and the turn come in the same round
        pass
    await asyncio.wait([first])
    assert await lock.acquire(timeout=FOREVER)


Step = tuple[int, str]


STEPS = ["enter", "cancel", "finish", "fail", "limit", "turn"]


@given(st.integers(1, 3), st.lists(st.tuples(st.integers(0, 4), st.sampled_from(STEPS)), max_size=40))
def test_however_tasks_come_and_go_no_more_than_may_be_are_inside_and_all_is_free_at_the_end(
    value: int, steps: list[Step]
) -> None:
    asyncio.run(_come_and_go(value, steps))


async def _come_and_go(value: int, steps: list[Step]) -> None:
    thing: Any = AsyncLock("busy") if value == 1 else AsyncSemaphore(value, "busy")
    inside: set[int] = set()
    ends: dict[int, asyncio.Future[None]] = {}
    tasks: dict[int, asyncio.Task[None]] = {}

    async def enter(n: int, seconds: float | None) -> None:
        await thing.acquire(timeout=seconds)
        inside.add(n)
        assert len(inside) <= value
        try:
            await ends[n]
        finally:
            inside.discard(n)
            if n % 2:  # the others die with it
                thing.release()

    for n, what in steps:
        running = n in tasks and not tasks[n].done()
        if what in ("enter", "limit") and not running:
            ends[n] = asyncio.get_running_loop().create_future()
            tasks[n] = asyncio.create_task(enter(n, 0 if what == "limit" else None))
        elif what == "cancel" and running:
            tasks[n].cancel()
        elif what in ("finish", "fail") and running and not ends[n].done():
            ends[n].set_result(None) if what == "finish" else ends[n].set_exception(ZeroDivisionError())
        else:
            await asyncio.sleep(0)
    for one in (*tasks.values(), *ends.values()):
        one.cancel()
    await asyncio.gather(*tasks.values(), *ends.values(), return_exceptions=True)
    await settled()
    assert thing.waiting == ()
    for _ in range(value):
        assert await thing.acquire(timeout=FOREVER)
