"""The rate limiter: never more than it says, first come first served, and nothing taken in vain."""

import asyncio
import sys
import threading
import time
import tracemalloc
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from uno import clock, context
from uno.bus import Bus, command_handler
from uno.context import Context
from uno.errors import Misconfigured
from uno.messages import Command
from uno.resilience import RateLimiter, RateLimitExceeded, Timeout


def taken(limiter: RateLimiter, times: int, **options: Any) -> int:
    return sum(not limiter.try_acquire(**options) for _ in range(times))


def test_a_full_bucket_holds_the_burst_and_fills_with_the_rate(steered: Any) -> None:
    limiter = RateLimiter(rate=10, burst=5)
    assert taken(limiter, 100) == 5
    steered.passed += 0.3
    assert taken(limiter, 100) == 3
    steered.passed += 3600
    assert taken(limiter, 100) == 5


def test_who_comes_too_often_is_told_when_to_come_again(steered: Any) -> None:
    limiter = RateLimiter(rate=2, burst=1, name="shop")
    assert limiter.acquire() is True
    with pytest.raises(RateLimitExceeded, match="shop") as refused:
        limiter.acquire()
    assert refused.value.retry_after == pytest.approx(0.5)
    steered.passed += refused.value.retry_after
    assert limiter.acquire()


def test_several_tokens_at_once_and_a_reset(steered: Any) -> None:
    limiter = RateLimiter(rate=10, burst=5)
    assert limiter.acquire(tokens=3)
    with pytest.raises(RateLimitExceeded):
        limiter.acquire(tokens=3)
    assert limiter.acquire(2)
    limiter.reset()
    assert limiter.acquire(5)
    for wrong in (6, 0, -1):
        with pytest.raises(Misconfigured):
            limiter.acquire(wrong)


@given(
    rate=st.floats(0.1, 1e5),
    burst=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 60)), max_size=30),
)
def test_in_any_time_no_more_is_let_through_than_burst_and_rate_allow(
    rate: float, burst: int, steps: list[tuple[float, int]]
) -> None:
    class Hands:
        time = 5e5

        def monotonic(self) -> float:
            return self.time

    hands: Any = Hands()
    with clock.use(hands):
        limiter, let_through = RateLimiter(rate, burst), 0
        for seconds, calls in steps:
            hands.time += seconds
            let_through += taken(limiter, calls)
            assert let_through <= burst + rate * (hands.time - 5e5) + 0.01


async def test_of_1000_concurrent_calls_no_more_get_through_than_allowed() -> None:
    limiter = RateLimiter(rate=200, burst=20)
    ran = 0

    @limiter
    async def call() -> None:
        nonlocal ran
        ran += 1
        await asyncio.sleep(0.001)

    started = time.monotonic()
    outcomes = await asyncio.gather(*(call() for _ in range(1000)), return_exceptions=True)
    elapsed = time.monotonic() - started
    assert 20 <= ran <= 20 + 200 * elapsed + 1
    assert sum(isinstance(o, RateLimitExceeded) and o.retry_after > 0 for o in outcomes) == 1000 - ran


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("interval", [1e-6, sys.getswitchinterval()])
def test_threads_get_no_more_than_tasks(guarded: bool, interval: float) -> None:
    limiter, ran = RateLimiter(rate=0.001, burst=2500), []

    def call() -> None:
        if not guarded:
            ran.append(taken(limiter, 1000))
            return
        for _ in range(1000):
            with suppress(RateLimitExceeded):
                limiter.run(ran.append, 1)

    threads = [threading.Thread(target=call) for _ in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert sum(ran) == 2500


async def test_who_waits_is_served_in_the_order_of_arrival(steered: Any) -> None:
    limiter = RateLimiter(rate=10, burst=1, block=True)
    served: list[tuple[int, float]] = []

    async def call(n: int) -> None:
        await limiter.acquire_async()
        served.append((n, round(steered.passed - 1000, 3)))

    calls = [asyncio.create_task(call(n)) for n in range(5)]
    await steered.move(10)
    await asyncio.gather(*calls)
    assert served == [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]


async def test_nobody_overtakes_those_who_wait(steered: Any) -> None:
    limiter = RateLimiter(rate=10, burst=1, block=True)
    limiter.acquire()
    waiting = asyncio.create_task(limiter.acquire_async())
    await asyncio.sleep(0)
    steered.passed += 0.2
    assert limiter.try_acquire() > 0
    await steered.move(0.1)
    assert await waiting


async def test_a_cancelled_one_gives_its_turn_to_the_next(steered: Any) -> None:
    limiter = RateLimiter(rate=10, burst=1, block=True)
    limiter.acquire()
    waiting = [asyncio.create_task(limiter.acquire_async()) for _ in range(50)]
    await asyncio.sleep(0)
    for one in waiting[:49]:
        one.cancel()
    await steered.move(0.1)
    assert waiting[49].done()
    assert waiting[49].result() is True
    assert all(one.cancelled() for one in waiting[:49])
    assert limiter.try_acquire() > 0
    await steered.move(0.1)
    assert limiter.try_acquire() == 0


async def test_tasks_and_threads_stand_in_one_line() -> None:
    limiter = RateLimiter(rate=200, burst=1, block=True)
    limiter.acquire()
    started = time.monotonic()
    await asyncio.gather(
        *(limiter.acquire_async() for _ in range(10)), *(asyncio.to_thread(limiter.acquire) for _ in range(10))
    )
    assert time.monotonic() - started >= 20 / 200 - 0.001
    assert limiter._own.line is None


def test_a_thread_that_may_wait_waits(skipping: Any) -> None:
    limiter = RateLimiter(rate=4, burst=1, block=True)
    assert all(limiter.acquire() for _ in range(5))
    assert sum(skipping.slept) == pytest.approx(1.0)


async def test_inside_an_event_loop_a_thread_that_would_wait_is_told_to_await() -> None:
    limiter = RateLimiter(rate=4, burst=1, block=True)
    limiter.acquire()
    with pytest.raises(Misconfigured, match="await"):
        limiter.acquire()


async def test_nobody_waits_past_a_deadline(steered: Any) -> None:
    limiter = RateLimiter(rate=1, burst=1, block=True)
    limiter.acquire()
    with pytest.raises(RateLimitExceeded):
        await Timeout(0.5).call(limiter.acquire_async)
    with context.use(Context(deadline=steered.passed + 0.5)), pytest.raises(RateLimitExceeded):
        await limiter.acquire_async()


async def test_a_jump_of_the_wall_clock_gives_no_tokens(steered: Any) -> None:
    limiter = RateLimiter(rate=10, burst=5)
    assert taken(limiter, 10) == 5
    for hours in (1, -2):
        steered.wall += timedelta(hours=hours)
        assert taken(limiter, 10) == 0
    await steered.move(0.1)
    assert taken(limiter, 10) == 1


def test_each_key_has_its_own_bucket(steered: Any) -> None:
    limiter = RateLimiter(rate=1, burst=2)
    assert [taken(limiter, 5, key=key) for key in ("ada", "bob")] == [2, 2]
    assert taken(limiter, 5) == 2
    with pytest.raises(RateLimitExceeded):
        limiter.acquire(key="ada")


def test_however_many_keys_come_only_so_many_are_kept(steered: Any) -> None:
    limiter = RateLimiter(rate=0.001, burst=2, max_keys=1000)
    for n in range(190_000):
        limiter.try_acquire(key=n)
    tracemalloc.start()
    try:
        for n in range(190_000, 200_000):
            limiter.try_acquire(key=n)
        # All that is kept was made since, so it is all traced.
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()
    assert len(limiter._keys) == 1000
    assert limiter.try_acquire(key=199_999) == 0
    assert limiter.try_acquire(key=199_999) > 0


def test_a_key_that_has_its_tokens_back_is_forgotten(steered: Any) -> None:
    limiter = RateLimiter(rate=10, burst=2)
    for n in range(10_000):
        steered.passed += 0.1
        limiter.try_acquire(key=n)
    assert len(limiter._keys) < 5


async def test_waiting_for_a_key_keeps_its_bucket(steered: Any) -> None:
    limiter = RateLimiter(rate=1, burst=1, block=True, max_keys=1)
    await limiter.acquire_async(key="ada")
    waiting = asyncio.create_task(limiter.acquire_async(key="ada"))
    await asyncio.sleep(0)
    for n in range(100):
        limiter.try_acquire(key=n)
    assert limiter.try_acquire(key="ada") > 0
    await steered.move(1)
    assert await waiting


class Sell(Command[str]):
    customer: str


class Ask(Command[str]):
    pass


@command_handler(Sell)
async def sell(message: Sell) -> str:
    return message.customer


@command_handler(Ask)
async def ask(message: Ask) -> str:
    return "yes"


async def test_as_middleware_it_limits_all_messages_each_type_or_each_customer(steered: Any) -> None:
    def bus(middleware: Any) -> Bus:
        return Bus([sell, ask], middleware=[middleware])

    async def outcomes(used: Bus) -> list[bool]:
        messages = [Sell(customer="ada"), Sell(customer="bob"), Ask(), Sell(customer="ada")]
        return [(await used.dispatch(message)).is_success for message in messages]

    one = {"rate": 1, "burst": 1}
    assert await outcomes(bus(RateLimiter(**one).middleware)) == [True, False, False, False]
    assert await outcomes(bus(RateLimiter(**one).by(type).middleware)) == [True, False, True, False]
    by_customer = RateLimiter(**one).by(lambda message: getattr(message, "customer", None))
    assert await outcomes(bus(by_customer.middleware)) == [True, True, True, False]


async def test_it_decorates_functions_async_or_not(steered: Any) -> None:
    limiter = RateLimiter(rate=1, burst=2)

    @limiter
    def one() -> int:
        return 1

    @limiter.by(lambda user: user)
    async def two(user: str) -> str:
        return user

    assert [one(), one()] == [1, 1]
    with pytest.raises(RateLimitExceeded):
        one()
    assert [await two("ada"), await two("ada"), await two("bob")] == ["ada", "ada", "bob"]
    with pytest.raises(RateLimitExceeded):
        await two("ada")


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"rate": float("inf")}, {"burst": 0}, {"max_keys": 0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        RateLimiter(**wrong)
