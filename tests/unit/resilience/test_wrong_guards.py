"""What a guard cannot be made or called with is refused there and then, in a sentence that says what to write."""

import asyncio
import math
from collections.abc import Callable
from typing import Any, cast

import pytest

from uno.errors import Misconfigured
from uno.resilience import (
    Bulkhead,
    CircuitBreaker,
    CircuitState,
    DeadLetterQueue,
    Fallback,
    RateLimiter,
    RetryPolicy,
    SharedRateLimiter,
    Timeout,
)
from uno.resilience.shapes import Guard

NAN: Any = math.nan
URL = "redis://cache:6379/0"
wrong: Any = "wrong"

NUMBERS: dict[str, Callable[[], object]] = {
    "failure_threshold": lambda: CircuitBreaker(failure_threshold=NAN),
    "success_threshold": lambda: CircuitBreaker(success_threshold=NAN),
    "recovery_timeout": lambda: CircuitBreaker(recovery_timeout=NAN),
    "max_concurrent": lambda: Bulkhead(NAN),
    "max_waiting": lambda: Bulkhead(1, NAN),
    "max_size": lambda: DeadLetterQueue(max_size=NAN),
    "rate": lambda: RateLimiter(rate=NAN),
    "burst": lambda: RateLimiter(burst=NAN),
    "max_keys": lambda: RateLimiter(max_keys=NAN),
    "max_retries": lambda: RetryPolicy(max_retries=NAN),
    "base_delay": lambda: RetryPolicy(base_delay=NAN),
    "max_delay": lambda: RetryPolicy(max_delay=NAN),
    "exponential_base": lambda: RetryPolicy(exponential_base=NAN),
    "budget": lambda: RetryPolicy(budget=NAN),
    "seconds": lambda: Timeout(NAN),
    "limit": lambda: SharedRateLimiter(URL, NAN),
    "timeout": lambda: SharedRateLimiter(URL, 1, timeout=NAN),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(Misconfigured, match=f"^{name} of a .* is a number, not nan"):
        NUMBERS[name]()


@pytest.mark.parametrize("power", [400, 5_000])
def test_an_integer_that_no_float_can_hold_is_no_number(power: int) -> None:
    with pytest.raises(Misconfigured, match="^seconds of a Timeout is a number, not (10000|<int>)") as caught:
        Timeout(10**power)
    assert len(str(caught.value)) < 500


COUNTS: dict[str, Callable[[Any], object]] = {
    "failure_threshold": lambda n: CircuitBreaker(failure_threshold=n),
    "success_threshold": lambda n: CircuitBreaker(success_threshold=n),
    "max_concurrent": lambda n: Bulkhead(n),
    "max_waiting": lambda n: Bulkhead(1, n),
    "max_size": lambda n: DeadLetterQueue(max_size=n),
    "max_keys": lambda n: RateLimiter(max_keys=n),
    "max_retries": lambda n: RetryPolicy(max_retries=n),
    "limit": lambda n: SharedRateLimiter(URL, n),
    "seconds": lambda n: SharedRateLimiter(URL, 1, n),
}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [1.5, math.inf])
def test_what_is_counted_is_whole(name: str, value: float) -> None:
    with pytest.raises(Misconfigured, match=f"^{name} of a .* is a whole number, not {value}"):
        COUNTS[name](value)


def test_retries_cannot_take_from_the_calls() -> None:
    with pytest.raises(Misconfigured, match="no negative numbers"):
        RetryPolicy(budget=-1)


def test_a_breaker_may_wait_for_somebody_to_reset_it(skipping: Any) -> None:
    breaker = CircuitBreaker(failure_threshold=1, recovery_timeout=math.inf)
    breaker.record_failure()
    skipping.passed += 1e9
    assert breaker.state is CircuitState.OPEN
    assert not breaker.allow_request()
    breaker.reset()
    assert breaker.allow_request()


MADE: dict[str, tuple[Callable[[], object], str]] = {
    "exceptions": (lambda: Fallback(exceptions=wrong), "exceptions of a Fallback is a class of Exception or a tuple"),
    "one of them": (lambda: Fallback(exceptions=(OSError, wrong)), "and 'wrong' is none"),
    "retryable": (lambda: RetryPolicy(retryable_exceptions=wrong), "retryable_exceptions of a RetryPolicy is a class"),
    "fallback_func": (lambda: Fallback(fallback_func=wrong), "fallback_func of a Fallback is a function, not 'wrong'"),
    "on_retry": (lambda: RetryPolicy(on_retry=wrong), "on_retry of a RetryPolicy is a function"),
    "on_add": (lambda: DeadLetterQueue(on_add=wrong), "on_add of a DeadLetterQueue is a function"),
    "key": (lambda: RateLimiter().by(wrong), "key of by() is a function, not 'wrong'"),
    "url": (lambda: SharedRateLimiter("http://ada:hunter2@x", 1), "as in redis://cache:6379/0"),
}


@pytest.mark.parametrize("name", MADE)
def test_what_could_never_work_is_refused_when_it_is_made(name: str) -> None:
    make, sentence = MADE[name]
    with pytest.raises(Misconfigured) as raised:
        make()
    assert sentence in str(raised.value)
    assert "hunter2" not in str(raised.value)


async def test_exceptions_may_be_a_list(skipping: Any) -> None:
    several: Any = [ValueError, OSError]
    calls: list[int] = []

    async def fail() -> None:
        calls.append(1)
        raise OSError("down")

    assert await Fallback("instead", exceptions=several).call(fail) == "instead"
    with pytest.raises(OSError, match="down"):
        await RetryPolicy(1, retryable_exceptions=several).call(fail)
    assert len(calls) == 3


GUARDS: list[Guard] = [
    CircuitBreaker(failure_threshold=1),
    Bulkhead(),
    DeadLetterQueue(),
    Fallback(),
    RateLimiter(),
    RateLimiter().by(type),
    RetryPolicy(),
    SharedRateLimiter(URL, 1),
    Timeout(5),
]


async def work(n: int = 1) -> int:
    await asyncio.sleep(0)
    return n


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: type(guard).__name__)
async def test_who_calls_the_function_already_is_told_to_pass_it(guard: Any) -> None:
    for take in (guard.call, guard):
        called: Any = work()
        with pytest.raises(Misconfigured, match=r"not its call: `guard\.call\(work, \.\.\.\)`"):
            await take(called)
        assert called.cr_frame is None  # closed


def test_a_call_that_could_not_be_made_says_nothing_about_what_was_called() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    with pytest.raises(Misconfigured):
        breaker.run(cast(Any, work()))
    assert breaker.state is CircuitState.CLOSED


def test_without_a_loop_an_async_function_is_to_be_awaited() -> None:
    for guard in (CircuitBreaker("x"), Timeout(5), Bulkhead()):
        with pytest.raises(Misconfigured, match="work is async and needs an event loop") as raised:
            guard.run(work, 2)
        assert "await guard.call" in str(raised.value)
        assert "stops the running event loop" not in str(raised.value)


async def test_inside_a_loop_as_well() -> None:
    with pytest.raises(Misconfigured, match="work is async"):
        Timeout(5).run(work)


def test_what_is_made_by_a_class_may_be_async_without_the_class_being_so() -> None:
    class Greeter:
        async def __call__(self) -> str:
            return "hello"

    assert isinstance(CircuitBreaker()(Greeter)(), Greeter)
