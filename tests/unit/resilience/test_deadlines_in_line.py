"""Deadlines that nothing can enforce by cancelling: blocked threads, blocked loops, wrong guesses about the line."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from uno import clock, context
from uno.context import Context
from uno.errors import NotFound, TimedOut, Unavailable
from uno.resilience import Bulkhead, RateLimiter, RateLimitExceeded, RetryPolicy, Timeout
from uno.resilience.timeout import FinishedLate
from uno.resilience.turns import Line, Turn
from uno.result import Failure


def in_a_thread(work: Callable[[], Any]) -> list[Any]:
    """What `work` gives or raises, in a thread that must come back; an empty list if it does not."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    return found


def test_a_thread_does_not_wait_for_a_place_past_the_deadline() -> None:
    bulkhead = Bulkhead(1, max_waiting=1)
    bulkhead.enter_sync()
    for _ in range(2):  # the second finds the place of the first in line
        [error] = in_a_thread(lambda: Timeout(0.05).run(bulkhead.run, lambda: "ran"))
        assert isinstance(error, TimedOut)
    assert (bulkhead.running, bulkhead.waiting) == (1, 0)
    bulkhead.leave()
    assert bulkhead.run(lambda: "free") == "free"


async def test_nor_does_a_task_past_the_deadline_of_its_context() -> None:
    bulkhead = Bulkhead(1, max_waiting=1)
    await bulkhead.enter()
    async with clock.timeout(10):
        with context.use(Context(deadline=0.0)), pytest.raises(TimedOut, match="no place in time"):
            await bulkhead.enter()
    assert (bulkhead.running, bulkhead.waiting) == (1, 0)


async def test_a_place_that_is_given_just_when_the_deadline_passes_goes_to_the_next() -> None:
    bulkhead = Bulkhead(1, max_waiting=2)
    await bulkhead.enter()
    with context.use(Context(deadline=0.0)):
        late = asyncio.create_task(bulkhead.enter())
    following = asyncio.create_task(bulkhead.call(asyncio.sleep, 0, "ran"))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(bulkhead.leave)  # in the same round of the loop as the deadline
    async with clock.timeout(10):
        with pytest.raises(TimedOut):
            await late
        assert await following == "ran"
    assert (bulkhead.running, bulkhead.waiting) == (0, 0)


def test_a_turn_may_be_late_and_given_at_once_and_is_passed_on() -> None:
    line, late, after = Line(), Turn(), Turn()
    line.join(late)
    line.join(after)
    with context.use(Context(deadline=0.0)), pytest.raises(StopIteration) as waited:
        late.wait().send(None)
    assert waited.value.value is False
    assert line.call_first() is late
    line.leave(late)
    assert line.call_first() is after


def test_a_thread_does_not_wait_for_its_turn_at_a_limiter_past_the_deadline() -> None:
    limiter = RateLimiter(rate=20, burst=400, block=True)
    limiter.acquire(400)
    threading.Thread(target=limiter.acquire, args=(400,), daemon=True).start()  # 20 s
    while limiter._own.line is None or limiter._own.line.first is None:
        threading.Event().wait(0.001)
    [error] = in_a_thread(lambda: Timeout(0.5).run(limiter.acquire))  # 0.1 s, if the first had wanted one token
    assert isinstance(error, TimedOut)
    assert len(limiter._own.line) == 1


async def test_who_comes_to_the_front_and_sees_that_it_takes_too_long_is_refused(steered: Any) -> None:
    limiter = RateLimiter(rate=1, burst=4, block=True)
    await limiter.acquire_async(4)
    first = asyncio.create_task(limiter.acquire_async(4))
    await steered.move(0)
    with context.use(Context(deadline=steered.passed + 5)):
        second = asyncio.create_task(limiter.acquire_async(4))  # 5 s, if the first had wanted one token
    third = asyncio.create_task(limiter.acquire_async(1))
    await steered.move(4)
    assert await first
    with pytest.raises(RateLimitExceeded) as raised:
        await asyncio.wait_for(second, 10)
    assert raised.value.retry_after == pytest.approx(4)
    await steered.move(1)
    assert await third
    assert limiter._own.line is None


def blocking(time: Any, done: list[str]) -> tuple[Any, Any]:
    def block() -> str:
        time.passed += 3
        done.append("done")
        return "done"

    async def block_inside() -> str:
        return block()

    return block, block_inside


async def test_what_cannot_be_interrupted_is_late_when_it_ends_and_is_not_done_again(skipping: Any) -> None:
    done: list[str] = []
    block, _ = blocking(skipping, done)
    for repeat in (RetryPolicy(max_retries=3).call, RetryPolicy(max_retries=3, retryable_exceptions=TimedOut).call):
        with pytest.raises(FinishedLate) as raised:
            await repeat(Timeout(2).call, block)
        assert raised.value.value == "done"
    with pytest.raises(FinishedLate):
        await asyncio.to_thread(RetryPolicy(max_retries=3).run, Timeout(2)(block))
    assert done == ["done"] * 3


async def test_what_was_awaited_and_came_to_its_end_is_not_thrown_away(skipping: Any) -> None:
    done: list[str] = []
    _, block_inside = blocking(skipping, done)
    assert await RetryPolicy(max_retries=3).call(Timeout(2).call, block_inside) == "done"
    assert done == ["done"]


async def test_a_deadline_over_all_attempts_does_not_throw_a_success_away(skipping: Any) -> None:
    done: list[str] = []
    for late in blocking(skipping, done):
        assert await RetryPolicy(deadline=2).call(late) == "done"
    assert await asyncio.to_thread(RetryPolicy(deadline=2).run, blocking(skipping, done)[0]) == "done"


async def test_what_has_failed_late_stays_what_it_is(skipping: Any) -> None:
    def fail(error: BaseException) -> None:
        skipping.passed += 3
        raise error

    def refuse() -> Failure:
        skipping.passed += 3
        return Failure(NotFound("order", 1))

    for error in (Unavailable("down"), ZeroDivisionError(), asyncio.CancelledError()):
        with pytest.raises(type(error)) as raised:
            await Timeout(2).call(fail, error)
        assert raised.value is error
    assert isinstance((await Timeout(2).call(refuse)).error, NotFound)
    assert isinstance((await asyncio.to_thread(Timeout(2).run, refuse)).error, NotFound)
