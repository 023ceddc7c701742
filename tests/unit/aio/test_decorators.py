"""cancellable, retry, timeout_handler, rate_limited, concurrent_limited: alone, and one above the other."""

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from uno import clock, context, sync
from uno.aio import (
    AsyncLock,
    cancellable,
    concurrent_limited,
    rate_limited,
    retry,
    timeout,
    timeout_handler,
)
from uno.aio.cancelling import Cancellable
from uno.bus.unit import current_unit
from uno.errors import Misconfigured, NotFound, TimedOut
from uno.resilience import BulkheadFull, RateLimitExceeded, deadline

SOON, FOREVER = 0.005, 60.0
Decorate = Callable[[Any], Any]


async def never() -> None:
    await asyncio.Event().wait()


async def begun(call: Any) -> asyncio.Task[Any]:
    task = asyncio.ensure_future(call)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


# ── cancellable ──


class Cleaning:
    """A call that cleans up in steps, and notes how far it has come."""

    def __init__(self, steps: int = 3) -> None:
        self.steps = steps
        self.notes: list[object] = []
        self.go_on = asyncio.Event()

    async def run(self, given: object = None) -> str:
        try:
            await never()
        finally:
            for step in range(self.steps):
                await asyncio.sleep(0)
                self.notes.append(step)
        return "never"

    async def slow(self) -> None:
        try:
            await never()
        finally:
            try:
                await self.go_on.wait()
                self.notes.append("clean")
            except asyncio.CancelledError:
                self.notes.append("interrupted")
                raise


async def test_the_cleanup_of_a_cancelled_call_is_not_disturbed_by_more_cancellations() -> None:
    cleaning = Cleaning(steps=5)
    task = await begun(cancellable(cleaning.run)())
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaning.notes == [0, 1, 2, 3, 4]
    assert task.cancelling() == 5


@pytest.mark.parametrize("rounds", range(12))
async def test_wherever_the_second_cancellation_comes_the_cleanup_is_whole(
    rounds: int,
) -> None:
    notes: list[str] = []
    cleaning = Cleaning()

    async def close(given: object = None) -> None:
        await asyncio.sleep(0)
        notes.append(f"closed {given}")

    task = await begun(cancellable(cleanup=close)(cleaning.run)("order"))
    task.cancel()
    for _ in range(rounds):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaning.notes == [0, 1, 2]
    assert notes == ["closed order"]


async def test_a_call_that_is_not_cancelled_has_no_cleanup() -> None:
    async def close(*_: object) -> None:
        raise AssertionError

    @cancellable(cleanup=close)
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    @cancellable(cleanup=close)
    async def fail() -> None:
        raise NotFound("Order", 5)

    @cancellable(cleanup=close)
    async def given_up() -> None:
        raise asyncio.CancelledError  # something inside was cancelled, not the call

    assert await double(4) == 8
    with pytest.raises(NotFound):
        await fail()
    with pytest.raises(asyncio.CancelledError):
        await given_up()


async def test_a_cleanup_that_takes_too_long_is_interrupted(caplog: pytest.LogCaptureFixture) -> None:
    cleaning = Cleaning()
    task = await begun(cancellable(cleanup_timeout=SOON)(cleaning.slow)())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaning.notes == ["interrupted"]
    assert "the cleanup of a cancelled call took too long" in caplog.text


async def test_a_cleanup_that_cannot_be_interrupted_is_left_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    go_on = asyncio.Event()

    async def stubborn() -> None:
        while not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go_on.wait()

    before = asyncio.all_tasks()
    task = await begun(cancellable(cleanup_timeout=SOON)(stubborn)())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "the cleanup of a cancelled call cannot be ended" in caplog.text
    go_on.set()
    await asyncio.wait(asyncio.all_tasks() - before)


@pytest.mark.parametrize("what", ["a value", "an error"])
async def test_the_cancellation_is_raised_whatever_the_call_gives(what: str, caplog: pytest.LogCaptureFixture) -> None:
    @cancellable
    async def stubborn() -> str:
        try:
            await never()
        except asyncio.CancelledError:
            if what == "an error":
                raise ZeroDivisionError from None
        return "value"

    task = await begun(stubborn())
    task.cancel("why")
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.args == ("why",)
    assert isinstance(caught.value.__cause__, ZeroDivisionError) is (what == "an error")
    assert ("ZeroDivisionError" in caplog.text) is (what == "an error")


async def test_a_cleanup_has_its_own_deadline() -> None:
    lefts: list[float | None] = []

    async def close() -> None:
        lefts.append(deadline.remaining())

    @cancellable(cleanup=close, cleanup_timeout=FOREVER)
    async def work() -> None:
        try:
            await never()
        finally:
            lefts.append(deadline.remaining())

    with context.use(context.Context(deadline=clock.monotonic() + FOREVER / 10)), pytest.raises(TimedOut):
        async with timeout(SOON):
            await work()
    assert all(left is not None and FOREVER / 2 < left <= FOREVER for left in lefts)
    assert len(lefts) == 2


async def test_a_cancellable_call_has_the_locks_and_the_unit_of_work_of_its_caller() -> None:
    lock, runner = AsyncLock(), sync.runner()

    @cancellable
    async def inner() -> None:
        assert sync.runner() is runner
        await lock.acquire(timeout=SOON)
        lock.release()

    @cancellable
    async def outer() -> object:
        assert asyncio.current_task() is not runner
        await inner()
        return current_unit.get()

    async with lock:
        assert await outer() is current_unit.get()
        assert lock.locked()


async def test_a_loop_that_cancels_all_its_tasks_disturbs_no_cleanup() -> None:
    cleaning, tasks = Cleaning(), []

    async def main() -> None:
        tasks.append(asyncio.create_task(cancellable(cleaning.run)()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    await asyncio.to_thread(asyncio.run, main())
    assert cleaning.notes == [0, 1, 2]


async def test_a_call_that_was_cancelled_itself_is_not_cancelled_once_more_through_its_caller() -> None:
    cleaning, before = Cleaning(), asyncio.all_tasks()
    task = await begun(cancellable(cleaning.run)())
    [inner] = asyncio.all_tasks() - before - {task}
    inner.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert cleaning.notes == [0, 1, 2]


def test_in_a_drive_nobody_cancels() -> None:
    @cancellable
    async def answer() -> int:
        return 42

    async def main() -> int:
        return await answer()

    assert sync.drive(main()) == 42


# ── the others ──


async def test_a_call_is_repeated_up_to_its_attempts_and_the_last_error_raised() -> None:
    calls: list[int] = []

    @retry(max_attempts=3, base_delay=0)
    async def fail(n: int) -> None:
        calls.append(n)
        raise OSError(len(calls))

    with pytest.raises(OSError, match="3"):
        await fail(7)
    assert calls == [7, 7, 7]


async def test_only_the_named_errors_are_repeated() -> None:
    calls: list[int] = []

    @retry(3, (OSError, NotFound), base_delay=0)
    async def fail(error: Exception) -> None:
        calls.append(1)
        raise error

    for error, attempts in ((OSError(), 3), (ZeroDivisionError(), 1), (NotFound("Order", 5), 3)):
        calls.clear()
        with pytest.raises(type(error)):
            await fail(error)
        assert len(calls) == attempts


async def test_a_cancellation_is_not_repeated() -> None:
    calls: list[int] = []

    @retry
    async def wait() -> None:
        calls.append(1)
        await never()

    task = await begun(wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls == [1]


async def test_a_call_that_takes_too_long_has_the_message_of_its_handler() -> None:
    @timeout_handler(SOON)
    async def slow() -> None:
        await never()

    @timeout_handler(timeout_seconds=SOON, timeout_message="The bank is slow")
    async def bank() -> None:
        await never()

    with pytest.raises(TimeoutError, match="Operation timed out"):
        await slow()
    with pytest.raises(TimedOut, match="The bank is slow"):
        await bank()


async def test_a_burst_is_let_through_and_the_rest_waits_or_is_refused() -> None:
    @rate_limited(operations_per_second=2, burst_limit=3, block=False)
    async def call() -> int:
        return 1

    assert [await call() for _ in range(3)] == [1, 1, 1]
    with pytest.raises(RateLimitExceeded, match="call"):
        await call()

    @rate_limited(operations_per_second=0.001)
    async def rare() -> int:
        return 1

    assert await rare() == 1
    async with timeout(SOON):
        with pytest.raises(RateLimitExceeded):
            await rare()


async def test_as_many_run_at_a_time_as_may_and_the_rest_waits() -> None:
    inside: list[int] = []

    @concurrent_limited(max_concurrent=2)
    async def work() -> None:
        inside.append(1)
        assert len(inside) <= 2
        await asyncio.sleep(0)
        inside.pop()

    await asyncio.gather(*(work() for _ in range(10)))

    @concurrent_limited(1, max_waiting=0)
    async def alone() -> None:
        await never()

    task = await begun(alone())
    with pytest.raises(BulkheadFull, match="alone"):
        await alone()
    task.cancel()


async def test_each_function_has_a_limit_of_its_own() -> None:
    once = rate_limited(0.001, block=False)

    @once
    async def first() -> int:
        return 1

    @once
    async def second() -> int:
        return 2

    assert [await first(), await second()] == [1, 2]


# ── together ──

ALL: list[Decorate] = [
    cancellable,
    retry(max_attempts=3, base_delay=0),
    timeout_handler(timeout_seconds=FOREVER),
    rate_limited(operations_per_second=1000),
    concurrent_limited(max_concurrent=5),
]


@pytest.mark.parametrize("order", list(permutations(range(5))))
async def test_in_any_order_a_call_succeeds_fails_and_is_cancelled(order: tuple[int, ...]) -> None:
    calls: list[str] = []

    async def work(how: str) -> str:
        """Works."""
        calls.append(how)
        if how == "fail":
            raise ConnectionError
        if how == "wait":
            await never()
        return how

    decorated: Any = work
    for n in order:
        decorated = ALL[n](decorated)
    assert decorated.__doc__ == "Works."
    assert list(inspect.signature(decorated).parameters) == ["how"]
    assert await decorated("well") == "well"
    with pytest.raises(ConnectionError):
        await decorated("fail")
    assert calls.count("fail") == 3
    task = await begun(decorated("wait"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls.count("wait") == 1
    assert task.cancelling() == 1


async def test_above_a_timeout_each_attempt_has_its_time_below_it_all_have_it_together() -> None:
    calls: list[int] = []

    async def slow() -> None:
        calls.append(1)
        await never()

    again, limited = retry(max_attempts=3, base_delay=0), timeout_handler(SOON)
    with pytest.raises(TimedOut):
        await again(limited(slow))()
    assert len(calls) == 3
    calls.clear()
    with pytest.raises(TimedOut):
        await limited(again(slow))()
    assert len(calls) == 1


async def test_methods_and_synchronous_functions_are_decorated_too() -> None:
    class Client:
        @cancellable
        @retry(max_attempts=2, base_delay=0)
        @timeout_handler(FOREVER)
        async def get(self, n: int) -> int:
            return n

        @staticmethod
        @cancellable
        async def ask() -> str:
            return "asked"

        @cancellable
        @classmethod
        async def make(cls) -> str:
            return cls.__name__

    @retry(max_attempts=2, base_delay=0)
    def plain() -> int:
        return 5

    assert await Client().get(3) == 3
    assert await Client.ask() == "asked"
    assert await Client.make() == "Client"
    assert plain() == 5


def _sync() -> None: ...


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: cancellable(_sync), "for async functions"),
        (lambda: cancellable(cleanup=_sync), "is an async function"),
        (lambda: cancellable(cleanup=5), "is a function, not 5"),
        (lambda: cancellable(cleanup_timeout=0), "above 0 seconds"),
        (lambda: cancellable(cleanup_timeout=float("inf")), "not for ever"),
        (lambda: retry(max_attempts=0), r"max_attempts of retry\(\) is 1 or more"),
        (lambda: retry("3"), r"max_attempts of retry\(\) is a number"),
        (lambda: retry(3, 5), "class of Exception"),
        (lambda: retry(base_delay=-1), "0 seconds or more"),
        (lambda: timeout_handler(never), "needs the seconds"),
        (lambda: timeout_handler(0), "above 0"),
        (lambda: timeout_handler(1, 5), "is a sentence"),
        (lambda: rate_limited(never), "needs a rate"),
        (lambda: rate_limited(0), "above 0"),
        (lambda: concurrent_limited(0), "1 or more"),
        (lambda: concurrent_limited(never), "needs a number"),
    ],
)
def test_wrong_arguments_are_refused_where_they_are_written(wrong: Callable[[], object], text: str) -> None:
    with pytest.raises(Misconfigured, match=text):
        wrong()


async def test_a_coroutine_in_place_of_the_function_is_refused() -> None:
    with pytest.raises(Misconfigured, match="Pass the function"):
        await Cancellable().call(never())  # type: ignore[arg-type]
