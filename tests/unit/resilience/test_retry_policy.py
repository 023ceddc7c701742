"""Retries: what is repeated, when, how often, and what never is."""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

import pytest

from uno import context
from uno.bus import Bus, command_handler
from uno.context import Context
from uno.errors import Conflict, Forbidden, Misconfigured, NotFound, OutcomeUnknown, TimedOut, Unavailable
from uno.messages import Command
from uno.resilience import CircuitBreaker, CircuitBreakerOpen, CircuitState, RetryPolicy
from uno.result import Failure, Success
from uno.telemetry.signals import signal_counts


class Failing:
    """Fails `times` times with `error`, then works."""

    def __init__(self, error: BaseException, times: int = 1_000_000) -> None:
        self.error = error
        self.times = times
        self.calls = 0

    def sync(self, *_: object) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "done"

    async def run(self, *_: object) -> str:
        return self.sync()

    async def result(self, *_: object) -> Success[str] | Failure:
        try:
            return Success(self.sync())
        except Exception as error:
            return Failure(error)


async def failed(call: Callable[..., Any]) -> BaseException:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - whatever comes is looked at
        await call()
    return raised.value


@pytest.mark.parametrize("error", [Unavailable("x"), TimedOut("x"), ZeroDivisionError(), OSError()])
async def test_what_is_broken_is_tried_again_and_the_last_error_raised(skipping: Any, error: Exception) -> None:
    one = Failing(error)
    assert await failed(RetryPolicy(max_retries=3)(one.run)) is error
    assert one.calls == 4
    assert len(skipping.slept) == 3


@pytest.mark.parametrize(
    "error",
    [
        NotFound("order", 1),
        Conflict("sold out"),
        Forbidden("no"),
        Misconfigured("no till"),
        OutcomeUnknown("lost during the commit"),
        asyncio.CancelledError(),
        concurrent.futures.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(),
    ],
)
async def test_what_is_no_fault_or_may_have_happened_is_not_tried_again(skipping: Any, error: BaseException) -> None:
    one = Failing(error)
    assert await failed(lambda: RetryPolicy().call(one.run)) is error
    assert one.calls == 1


async def test_what_works_the_second_time_has_worked(skipping: Any) -> None:
    one, two, three = (Failing(Unavailable("x"), times=2) for _ in range(3))
    policy = RetryPolicy()
    assert await policy(one.run)() == "done"
    assert await policy.middleware("message", two.result) == Success("done")
    assert await policy.call(three.sync) == "done"
    assert one.calls == two.calls == three.calls == 3


def test_a_synchronous_function_is_tried_again_without_an_event_loop(skipping: Any) -> None:
    one = Failing(OSError("down"), times=2)
    assert RetryPolicy(jitter=False)(one.sync)() == "done"
    assert skipping.slept == [1.0, 2.0]


async def test_inside_an_event_loop_a_synchronous_one_cannot_wait_and_says_what_failed() -> None:
    one = Failing(OSError("down"))
    with pytest.raises(Misconfigured, match="await") as raised:
        RetryPolicy()(one.sync)()
    assert str(raised.value.__cause__) == "down"


async def test_a_failure_that_stays_is_given_back(skipping: Any) -> None:
    one, no = Failing(Unavailable("x")), Failing(NotFound("order", 1))
    assert (await RetryPolicy(2).middleware("message", one.result)).error is one.error
    assert (await RetryPolicy(2).middleware("message", no.result)).error is no.error
    assert [one.calls, no.calls] == [3, 1]


def test_delays_double_up_to_the_limit_and_jitter_stays_below_them() -> None:
    plain = RetryPolicy(base_delay=1, max_delay=60, exponential_base=2, jitter=False)
    assert [plain.calculate_delay(n) for n in (0, 1, 2, 5, 6, 10_000)] == [1, 2, 4, 32, 60, 60]
    jittered = RetryPolicy(base_delay=1, max_delay=60)
    delays = [jittered.calculate_delay(3) for _ in range(1000)]
    assert all(0 <= d < 8 for d in delays)
    assert min(delays) < 2
    assert max(delays) > 6


def test_only_named_kinds_are_tried_again() -> None:
    policy = RetryPolicy(max_retries=2, retryable_exceptions=(OSError, Conflict))
    assert policy.should_retry(OSError(), 1)
    assert policy.should_retry(Conflict("x"), 0)
    assert not policy.should_retry(OSError(), 2)
    assert not policy.should_retry(ValueError(), 0)
    assert not policy.should_retry(asyncio.CancelledError(), 0)


async def test_an_error_that_says_when_to_come_again_is_believed(skipping: Any) -> None:
    asks = Failing(Unavailable("x", retry_after=7), times=1)
    assert await RetryPolicy(base_delay=0.1).call(asks.run) == "done"
    assert skipping.slept == [7]
    too_long = Failing(Unavailable("x", retry_after=7))
    assert await failed(RetryPolicy(max_delay=5)(too_long.run)) is too_long.error
    assert too_long.calls == 1
    silent = Failing(Unavailable("x"), times=1)
    await RetryPolicy(base_delay=0.1).call(silent.run)
    assert skipping.slept[1] < 0.1


@pytest.mark.parametrize("said", ["soon", float("nan"), -5, None, True])
async def test_nonsense_about_when_to_come_again_is_not_believed(skipping: Any, said: object) -> None:
    class Odd(Exception):
        retry_after = said

    assert await RetryPolicy(base_delay=0.1).call(Failing(Odd(), times=1).run) == "done"
    assert skipping.slept[0] < 0.1


async def test_one_deadline_covers_all_attempts(skipping: Any) -> None:
    one = Failing(OSError())
    policy = RetryPolicy(max_retries=100, base_delay=1, exponential_base=1, jitter=False, deadline=3.5, budget=None)
    assert isinstance(await failed(policy(one.run)), OSError)
    assert one.calls == 4
    two = Failing(OSError())
    endless = RetryPolicy(max_retries=100, base_delay=1, exponential_base=1, jitter=False, budget=None)
    with context.use(Context(deadline=skipping.passed + 2.5)):
        assert isinstance(await failed(endless(two.run)), OSError)
    assert two.calls == 3


async def test_an_attempt_that_hangs_is_cut_at_the_deadline() -> None:
    assert isinstance(await failed(RetryPolicy(deadline=0.05)(asyncio.Event().wait)), TimedOut)


@pytest.mark.parametrize("depth", [2, 3])
async def test_policies_inside_each_other_do_not_multiply(skipping: Any, depth: int) -> None:
    one = Failing(Unavailable("x"))
    f: Any = one.run
    for _ in range(depth):
        f = RetryPolicy(max_retries=3)(f)
    assert await failed(f) is one.error
    assert one.calls == 4


async def test_nor_do_they_when_the_error_changes_on_the_way_or_is_a_failure(skipping: Any) -> None:
    one, two = Failing(Unavailable("x")), Failing(Unavailable("x"))
    inner, outer = RetryPolicy(max_retries=3), RetryPolicy(max_retries=3)

    async def translated() -> None:
        try:
            await inner.call(one.run)
        except Unavailable as error:
            raise RuntimeError("wrapped") from error

    assert isinstance(await failed(outer(translated)), RuntimeError)
    await outer.middleware("message", lambda message: inner.middleware(message, two.result))
    assert one.calls == two.calls == 4


async def test_an_error_object_that_is_raised_again_later_is_retried_again(skipping: Any) -> None:
    one = Failing(Unavailable("x"))
    for n in (1, 2):
        await failed(RetryPolicy(max_retries=2)(one.run))
        assert one.calls == 3 * n


@pytest.mark.parametrize("offered", [100, 110, 1000])
async def test_a_downstream_that_always_fails_gets_at_most_a_tenth_more(skipping: Any, offered: int) -> None:
    policy, one = RetryPolicy(max_retries=3), Failing(Unavailable("x"))
    started, interval = skipping.passed, 10 / offered
    for n in range(offered):
        skipping.passed = max(skipping.passed, started + n * interval)
        await failed(policy(one.run))
    assert offered < one.calls <= 1.1 * offered


@pytest.mark.parametrize(("offered", "received"), [(1, 4), (5, 15), (20, 30), (50, 60), (99, 109), (100, 110)])
async def test_of_fewer_than_a_hundred_calls_ten_retries_come_in_advance(
    skipping: Any, offered: int, received: int
) -> None:
    policy, one = RetryPolicy(max_retries=3), Failing(Unavailable("x"))
    for _ in range(offered):
        await failed(policy(one.run))
    assert one.calls == received


async def test_an_outage_writes_one_warning_and_counts_the_rest(
    skipping: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> int:
        return sum(getattr(r, "signal", "") == "retry.budget_spent" for r in caplog.records)

    policy, works, before = RetryPolicy(), Failing(OSError(), times=0), signal_counts().get("retry.budget_spent", 0)
    for outage in (1, 2):
        for _ in range(300):
            await failed(policy(Failing(OSError()).run))
        assert warnings() == outage
        for _ in range(200):
            await policy.call(works.run)
    assert signal_counts()["retry.budget_spent"] > before + 500


async def test_also_when_it_worked_before_and_when_all_fail_at_once(skipping: Any) -> None:
    policy, works, one = RetryPolicy(max_retries=3), Failing(OSError(), times=0), Failing(Unavailable("x"))
    for _ in range(5000):
        await policy.call(works.run)
    for _ in range(5):
        one.calls = 0
        await asyncio.gather(*(policy.call(one.run) for _ in range(1000)), return_exceptions=True)
        assert one.calls <= 1100
    assert one.calls > 1000


async def test_when_it_works_again_there_are_retries_again(skipping: Any) -> None:
    policy, works = RetryPolicy(max_retries=3), Failing(OSError(), times=0)
    for _ in range(50):
        await failed(policy(Failing(OSError()).run))
    spent = Failing(OSError())
    await failed(policy(spent.run))
    assert spent.calls == 1
    for _ in range(200):
        await policy.call(works.run)
    again = Failing(OSError(), times=3)
    assert await policy.call(again.run) == "done"


async def test_the_budget_can_be_switched_off(skipping: Any) -> None:
    policy, one = RetryPolicy(max_retries=3, budget=None), Failing(OSError())
    for _ in range(100):
        await failed(policy(one.run))
    assert one.calls == 400


async def test_by_hand_the_first_attempt_is_the_callers_own_and_so_is_what_is_decided(skipping: Any) -> None:
    policy, one, asked = RetryPolicy(jitter=False), Failing(OSError("down"), times=2), []

    def decide(error: Exception, attempt: int, *, before: int) -> float | None:
        asked.append((str(error), attempt))
        return policy.next_delay(error, attempt, before=before)

    before = policy.begin()
    first = await failed(one.run)
    assert isinstance(first, OSError)
    assert await policy.again(first, before, one.run, decide=decide) == "done"
    assert asked == [("down", 0), ("down", 1)]
    assert skipping.slept == [1.0, 2.0]
    no = NotFound("order", 1)
    assert await failed(lambda: policy.again(no, policy.begin(), one.run)) is no
    assert await policy.again(Failure(no), policy.begin(), one.run) == Failure(no)
    assert one.calls == 3


async def test_a_cancelled_wait_ends_the_retries(steered: Any) -> None:
    one = Failing(OSError())
    running = asyncio.create_task(RetryPolicy().call(one.run))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert one.calls == 1


async def test_a_listener_hears_each_retry_and_its_errors_change_nothing(
    skipping: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[tuple[type, int]] = []

    def listen(error: Exception, attempt: int, delay: float) -> None:
        heard.append((type(error), attempt))
        raise ValueError("listener is broken")

    assert await RetryPolicy(on_retry=listen).call(Failing(OSError(), times=2).run) == "done"
    assert heard == [(OSError, 1), (OSError, 2)]
    assert "listener is broken" in caplog.text


async def test_around_an_open_breaker_it_waits_until_the_breaker_lets_it_through(skipping: Any) -> None:
    breaker = CircuitBreaker("shop", failure_threshold=1, recovery_timeout=20, success_threshold=1)
    one = Failing(OSError(), times=1)
    assert await RetryPolicy(base_delay=0.1).call(breaker(one.run)) == "done"
    assert one.calls == 2
    assert breaker.state is CircuitState.CLOSED
    assert len(skipping.slept) == 2
    assert sum(skipping.slept) == pytest.approx(20)
    shut = CircuitBreaker(failure_threshold=1, recovery_timeout=100)
    shut.record_failure()
    assert isinstance(await failed(RetryPolicy()(shut(one.run))), CircuitBreakerOpen)


class Pay(Command[str]):
    pass


async def test_as_middleware_it_repeats_the_message(skipping: Any) -> None:
    one = Failing(Unavailable("x"), times=2)

    @command_handler(Pay)
    async def pay(message: Pay) -> str:
        return one.sync()

    bus = Bus([pay], middleware=[RetryPolicy().middleware])
    assert await bus.dispatch(Pay()) == Success("done")
    assert one.calls == 3


async def test_the_system_clock_really_waits_between_attempts() -> None:
    started = time.monotonic()
    await RetryPolicy(base_delay=0.02, jitter=False).call(Failing(OSError(), times=1).run)
    assert time.monotonic() - started >= 0.015


@pytest.mark.parametrize(
    "wrong", [{"max_retries": -1}, {"base_delay": -1}, {"exponential_base": 0.5}, {"retryable_exceptions": (int,)}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        RetryPolicy(**wrong)
