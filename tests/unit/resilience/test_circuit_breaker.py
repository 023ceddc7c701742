"""The circuit breaker: what it counts, whom it lets through, and what nobody can make it forget."""

import asyncio
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from uno.errors import Conflict, Misconfigured, NotFound, TimedOut, Unavailable
from uno.resilience import CircuitBreaker, CircuitBreakerOpen, CircuitState
from uno.result import Failure, Success
from uno.telemetry import signal_counts

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


async def broken(*_: object) -> None:
    raise Unavailable("down")


async def working(value: object = "fine") -> object:
    return value


async def opened(**settings: Any) -> CircuitBreaker:
    breaker = CircuitBreaker("shop", **settings)
    for _ in range(breaker.failure_threshold):
        with pytest.raises(Unavailable):
            await breaker.call(broken)
    assert breaker.state is OPEN
    return breaker


async def test_it_opens_after_so_many_failures_in_a_row_and_then_calls_nothing(steered: Any) -> None:
    breaker = await opened(failure_threshold=3)
    calls: list[int] = []
    with pytest.raises(CircuitBreakerOpen, match="shop is open") as refused:
        await breaker.call(calls.append, 1)
    assert calls == []
    assert refused.value.retry_after == 30
    assert refused.value.breaker == "shop"


async def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = CircuitBreaker(failure_threshold=2)
    for f in (broken, working, broken, working):
        try:
            await breaker.call(f)
        except Unavailable:
            continue
    assert breaker.state is CLOSED


@pytest.mark.parametrize("error", [Unavailable("x"), TimedOut("x"), ZeroDivisionError(), Misconfigured("x"), OSError()])
async def test_what_is_broken_counts(error: Exception) -> None:
    breaker = CircuitBreaker(failure_threshold=1)

    async def fail(_: object) -> Failure:
        raise error

    with pytest.raises(type(error)):
        await breaker.call(fail, 1)
    assert breaker.state is OPEN
    by_result = CircuitBreaker(failure_threshold=1)

    async def give(_: object) -> Failure:
        return Failure(error)

    assert (await by_result.middleware("message", give)) == Failure(error)
    assert by_result.state is OPEN


@pytest.mark.parametrize("error", [NotFound("order", 1), Conflict("sold out")])
async def test_an_answer_is_a_success_also_when_it_is_no(error: Exception) -> None:
    breaker = CircuitBreaker(failure_threshold=1)

    async def refuse(_: object) -> Failure:
        return Failure(error)

    assert (await breaker.middleware("message", refuse)).error is error
    assert breaker.state is CLOSED


async def test_half_open_as_many_successes_close_it_and_one_failure_opens_it(steered: Any) -> None:
    breaker = await opened()
    await steered.move(30)
    assert breaker.state is HALF_OPEN
    await breaker.call(working)
    assert breaker.state is HALF_OPEN
    await breaker.call(working)
    assert breaker.state is CLOSED
    again = await opened()
    await steered.move(30)
    with pytest.raises(Unavailable, match="down"):
        await again.call(broken)
    assert again.state is OPEN


@pytest.mark.parametrize("threshold", [1, 2, 7])
async def test_of_500_calls_at_the_edge_only_the_probes_run(steered: Any, threshold: int) -> None:
    breaker = await opened(success_threshold=threshold)
    await steered.move(30)
    release, ran = asyncio.Event(), 0

    async def held() -> str:
        nonlocal ran
        ran += 1
        await release.wait()
        return "done"

    calls = [asyncio.create_task(breaker.call(held)) for _ in range(500)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ran == threshold
    release.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert Counter(type(o).__name__ for o in outcomes) == {"str": threshold, "CircuitBreakerOpen": 500 - threshold}
    assert breaker.state is CLOSED
    assert await breaker.call(working, 1) == 1


async def test_at_the_edge_threads_get_no_more_probes_than_tasks(steered: Any) -> None:
    slow = await opened(failure_threshold=1, success_threshold=3)
    steered.passed += 30
    gate, release, outcomes = threading.Barrier(20), threading.Event(), Counter[str]()

    @slow
    def held() -> None:
        release.wait(10)

    def call() -> None:
        gate.wait()
        try:
            held()
            outcomes["ran"] += 1
        except CircuitBreakerOpen:
            outcomes["refused"] += 1

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    while outcomes["refused"] < 17:
        await asyncio.sleep(0.01)
    release.set()
    for thread in threads:
        thread.join()
    assert outcomes == {"ran": 3, "refused": 17}
    assert slow.state is CLOSED


async def test_a_probe_that_takes_too_long_has_failed_and_its_result_is_ignored(steered: Any) -> None:
    breaker = await opened(success_threshold=1)
    await steered.move(30)
    release = asyncio.Event()
    probe = asyncio.create_task(breaker.call(release.wait))
    await steered.move(31)
    assert breaker.state is OPEN
    release.set()
    await probe
    assert breaker.state is OPEN
    await steered.move(30)
    assert await breaker.call(working) == "fine"
    assert breaker.state is CLOSED


async def test_a_cancelled_probe_frees_its_place_without_a_verdict(steered: Any) -> None:
    breaker = await opened(success_threshold=1)
    await steered.move(30)
    probe = asyncio.create_task(breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    with pytest.raises(CircuitBreakerOpen):
        await breaker.call(working)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert breaker.state is HALF_OPEN
    await breaker.call(working)
    assert breaker.state is CLOSED


async def test_cancelled_calls_never_open_it() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    calls = [asyncio.create_task(breaker.call(asyncio.Event().wait)) for _ in range(10)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert breaker.state is CLOSED


def test_a_function_that_leaves_the_program_says_nothing_about_it() -> None:
    breaker = CircuitBreaker(failure_threshold=1)

    @breaker
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        leave()
    assert breaker.state is CLOSED


async def test_the_result_of_a_call_from_before_it_opened_is_ignored(steered: Any) -> None:
    breaker = CircuitBreaker(failure_threshold=1, success_threshold=1)
    late = asyncio.Event()

    async def fail_late() -> None:
        await late.wait()
        raise Unavailable("late")

    old = asyncio.create_task(breaker.call(fail_late))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await breaker.call(broken)
    await steered.move(30)
    await breaker.call(working)
    assert breaker.state is CLOSED
    late.set()
    with pytest.raises(Unavailable, match="late"):
        await old
    assert breaker.state is CLOSED


async def test_a_jump_of_the_wall_clock_changes_nothing(steered: Any) -> None:
    breaker = await opened()
    for hours in (1, -2):
        steered.wall += timedelta(hours=hours)
        assert breaker.state is OPEN
    await steered.move(29.9)
    assert breaker.state is OPEN
    steered.wall -= timedelta(hours=1)
    await steered.move(0.1)
    assert breaker.state is HALF_OPEN


async def test_it_decorates_functions_and_methods_async_or_not() -> None:
    breaker = CircuitBreaker("shop", failure_threshold=2)

    class Shop:
        @breaker
        async def sell(self, what: str) -> str:
            return f"sold {what}"

        @breaker
        def count(self, n: int) -> int:
            return n + 1

    assert await Shop().sell("tea") == "sold tea"
    assert Shop().count(1) == 2
    assert asyncio.iscoroutinefunction(Shop().sell)
    assert not asyncio.iscoroutinefunction(Shop().count)
    assert Shop.sell.__name__ == "sell"

    @breaker
    def fail() -> None:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail()
    with pytest.raises(CircuitBreakerOpen):
        fail()
    with pytest.raises(CircuitBreakerOpen):
        await Shop().sell("tea")


async def test_it_decorates_class_methods_and_static_ones_above_and_below() -> None:
    breaker = CircuitBreaker("shop", failure_threshold=1)

    class Shop:
        name = "shop"

        @breaker
        @classmethod
        async def sell(cls, what: str) -> str:
            return f"{cls.name}: {what}"

        @classmethod
        @breaker
        def closed(cls) -> str:
            return f"{cls.name}: closed"

        @breaker
        @staticmethod
        def count(n: int) -> int:
            return n + 1

        @staticmethod
        @breaker
        async def fail() -> None:
            raise ZeroDivisionError

    class Branch(Shop):
        name = "branch"

    assert [await kind.sell("tea") for kind in (Shop, Branch, Branch())] == ["shop: tea", "branch: tea", "branch: tea"]
    assert [kind.closed() for kind in (Shop, Branch, Branch())] == ["shop: closed", "branch: closed", "branch: closed"]
    assert [kind.count(1) for kind in (Shop, Branch, Branch())] == [2, 2, 2]
    assert asyncio.iscoroutinefunction(Shop.sell)
    assert asyncio.iscoroutinefunction(Branch().fail)
    with pytest.raises(ZeroDivisionError):
        await Branch().fail()
    for call in (Shop.closed, lambda: Shop.count(1)):
        with pytest.raises(CircuitBreakerOpen):
            call()
    with pytest.raises(CircuitBreakerOpen):
        await Shop.sell("tea")


async def test_what_it_wraps_can_be_called_and_awaited() -> None:
    breaker = CircuitBreaker("api")

    async def fetch() -> dict[str, str]:
        return {"status": "success"}

    assert await breaker(fetch) == {"status": "success"}
    assert await breaker(fetch)() == {"status": "success"}
    assert await breaker(lambda: fetch()) == {"status": "success"}
    assert await breaker.call(fetch) == {"status": "success"}
    assert await breaker.call(lambda n: n + 1, 1) == 2


def test_by_hand_it_works_as_in_the_seed(steered: Any) -> None:
    breaker = CircuitBreaker(failure_threshold=2, recovery_timeout=30, success_threshold=2)
    assert breaker.allow_request()
    breaker.record_failure()
    breaker.record_failure()
    assert breaker.state is OPEN
    assert not breaker.allow_request()
    steered.passed += 30
    assert breaker.allow_request()
    assert breaker.allow_request()
    assert not breaker.allow_request()
    breaker.record_success()
    assert breaker.state is HALF_OPEN
    breaker.record_success()
    assert breaker.state is CLOSED
    breaker.record_failure()
    breaker.record_failure()
    breaker.reset()
    assert breaker.state is CLOSED
    assert breaker.allow_request()


async def test_state_changes_are_told_once_each(steered: Any) -> None:
    before = signal_counts()
    breaker = await opened(success_threshold=1)
    await steered.move(30)
    await breaker.call(working)
    after = signal_counts()
    names = ("breaker.opened", "breaker.half_opened", "breaker.closed")
    assert [after.get(n, 0) - before.get(n, 0) for n in names] == [1, 1, 1]


async def test_in_a_pipeline_a_success_passes_through() -> None:
    async def handler(message: str) -> Success[str]:
        return Success(message.upper())

    assert await CircuitBreaker().middleware("tea", handler) == Success("TEA")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"name": 5}, {"failure_threshold": 0}, {"success_threshold": 0}),
        *({"recovery_timeout": seconds} for seconds in (0, -1, float("nan"))),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        CircuitBreaker(**wrong)


def test_a_generator_cannot_be_guarded() -> None:
    def numbers() -> Any:
        yield 1

    with pytest.raises(Misconfigured, match="generator"):
        CircuitBreaker()(numbers)
