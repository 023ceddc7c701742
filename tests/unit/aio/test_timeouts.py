"""`timeout`: a limit on a block, and the deadline of all that is called in it."""

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from uno import clock, context, sync
from uno.aio import AsyncLock, retry, timeout, timeout_handler
from uno.errors import Misconfigured, OutcomeUnknown, TimedOut
from uno.resilience import RateLimiter, RateLimitExceeded, Timeout, deadline
from uno.resilience.alarm import committing
from uno.resilience.commits import CommittedLate

SOON, FOREVER = 0.005, 60.0


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def never() -> None:
    await asyncio.Event().wait()


async def test_a_block_that_takes_too_long_is_timed_out_with_the_message() -> None:
    with pytest.raises(TimeoutError, match="The import took too long") as caught:
        async with timeout(SOON, "The import took too long") as limit:
            await never()
    assert isinstance(caught.value, TimedOut)
    assert limit.expired
    assert cancelling() == 0
    assert deadline.current.get() is None


async def test_a_block_in_time_is_left_alone() -> None:
    async with timeout(FOREVER) as limit:
        assert limit.remaining is not None
        assert 0 < limit.remaining <= FOREVER
        assert deadline.ambient() is not None
    assert not limit.expired
    assert deadline.ambient() is None


async def test_no_seconds_are_no_limit() -> None:
    async with timeout(None) as limit:
        assert deadline.ambient() is None
        assert limit.remaining is None
        await asyncio.sleep(0)
    async with timeout(float("inf")) as limit:
        assert limit.remaining is None


@pytest.mark.parametrize("seconds", [0, -1, 0.0])
async def test_no_time_at_all_ends_with_the_first_wait(seconds: float) -> None:
    with pytest.raises(TimedOut):
        async with timeout(seconds):
            await never()


async def test_errors_of_the_block_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError):
        async with timeout(FOREVER):
            raise ZeroDivisionError
    with pytest.raises(TimedOut, match="somebody else's"):
        async with timeout(FOREVER, "mine"):
            raise TimedOut("somebody else's")


async def test_a_cancellation_is_never_taken_for_a_timeout() -> None:
    async def work() -> None:
        async with timeout(FOREVER):
            await never()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1


async def test_a_cancellation_in_the_moment_of_the_timeout_wins() -> None:
    async def work() -> None:
        async with timeout(0):
            await never()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_was_counted_before_does_not_matter() -> None:
    async def work() -> int:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        # Swallowed, and not uncancelled, as a failed group leaves one behind.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        with pytest.raises(TimedOut):
            async with timeout(SOON):
                await never()
        return task.cancelling()

    assert await asyncio.create_task(work()) == 1


async def _until_it_rings() -> None:
    """Clean up for longer than there is time."""
    before = cancelling()
    try:
        await never()
    finally:
        while cancelling() == before:
            await asyncio.sleep(0)


async def _in_a_block() -> None:
    async with timeout(SOON):
        await _until_it_rings()


KINDS = [asyncio.Task, asyncio.tasks._PyTask]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limited", [_in_a_block, timeout_handler(SOON)(_until_it_rings)])
@pytest.mark.parametrize("when", ["before", "inside"])
async def test_a_cancellation_is_not_swallowed_by_a_later_timeout(kind: Any, limited: Any, when: str) -> None:
    async def work() -> None:
        if when == "before":  # still to come when the timeout begins
            task.cancel()
        await limited()

    task = kind(work(), loop=asyncio.get_running_loop())
    await asyncio.sleep(0)
    if when == "inside":
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert task.cancelling() == 1


async def test_a_limit_that_was_kept_cancels_nobody_later() -> None:
    later = asyncio.Event()
    for limit in (timeout(SOON), timeout(0)):
        async with limit:
            pass
    await timeout_handler(SOON)(asyncio.sleep)(0)
    asyncio.get_running_loop().call_later(2 * SOON, later.set)
    await later.wait()
    assert cancelling() == 0


async def test_the_outer_limit_holds_inside_and_has_its_own_message() -> None:
    with pytest.raises(TimedOut, match="outer"):
        async with timeout(SOON, "outer"), timeout(FOREVER, "inner") as inner:
            assert inner.remaining is not None
            assert inner.remaining <= SOON
            await never()
    with pytest.raises(TimedOut, match="inner"):
        async with timeout(FOREVER, "outer"), timeout(SOON, "inner"):
            await never()
    assert cancelling() == 0


async def test_the_deadline_of_the_message_holds_too() -> None:
    with context.use(context.Context(deadline=clock.monotonic() + SOON)), pytest.raises(TimedOut):
        async with timeout(FOREVER):
            await never()


async def test_what_is_called_inside_knows_the_deadline() -> None:
    limiter = RateLimiter(rate=0.001, burst=1, block=True)
    await limiter.acquire_async()
    async with timeout(1.0):
        with pytest.raises(RateLimitExceeded):
            await limiter.acquire_async()

    calls: list[int] = []

    @retry(max_attempts=3, base_delay=FOREVER, max_delay=FOREVER, jitter=False)
    async def fail() -> None:
        calls.append(1)
        raise ConnectionError

    async with timeout(1.0):
        with pytest.raises(ConnectionError):
            await fail()
    assert len(calls) == 1


async def test_a_timeout_that_something_inside_reports_at_the_deadline_has_the_message() -> None:
    with pytest.raises(TimedOut, match="mine") as caught:
        async with timeout(SOON, "mine"):
            end = deadline.ambient()
            assert end is not None
            while clock.monotonic() < end:
                pass
            raise TimedOut("The database did not answer.")
    assert "database" in str(caught.value.__cause__)


async def test_a_child_task_is_interrupted_with_its_group() -> None:
    ended = []

    async def child() -> None:
        try:
            await never()
        finally:
            ended.append(1)

    with pytest.raises(TimedOut):
        async with timeout(SOON), asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(child())
    assert ended == [1, 1]
    assert cancelling() == 0


async def test_a_timeout_is_for_one_block() -> None:
    limit = timeout(FOREVER)
    async with limit:
        pass
    with pytest.raises(Misconfigured, match="for one block"):
        async with limit:
            pass


@pytest.mark.parametrize(
    ("arguments", "text"), [(("5",), "is a number"), ((5, 5), "is a sentence"), ((True,), "number")]
)
def test_wrong_arguments_are_refused(arguments: Any, text: str) -> None:
    with pytest.raises(Misconfigured, match=text):
        timeout(*arguments)


@pytest.mark.parametrize("around", [None, 2 * FOREVER])
async def test_a_generator_closed_by_another_task_leaves_no_limit_to_who_asked_it(around: float | None) -> None:
    async def items() -> Any:
        async with timeout(FOREVER):
            yield 1

    async def ask() -> None:
        async with timeout(around):
            before = deadline.ambient()
            generator = items()
            assert await anext(generator) == 1
            await asyncio.create_task(generator.aclose())
            assert deadline.ambient() == before

    await asyncio.create_task(ask())


def test_in_a_drive_the_deadline_is_looked_at() -> None:
    async def quick() -> str:
        async with timeout(FOREVER):
            return "done"

    async def slow() -> None:
        async with timeout(SOON, "too slow"):
            await clock.sleep(3 * SOON)

    assert sync.drive(quick()) == "done"
    with pytest.raises(TimedOut, match="too slow"):
        sync.drive(slow())


async def test_a_timeout_outside_of_a_task_is_refused() -> None:
    found: list[BaseException] = []

    def callback() -> None:
        try:
            Timeout(1).call(never).send(None)
        except BaseException as error:
            found.append(error)

    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert isinstance(found[0], Misconfigured)
    assert "no task but a callback" in str(found[0])


async def _commit_with(error: BaseException | None, interrupted: asyncio.Event | None = None) -> None:
    """What a commit does that is interrupted, and goes on."""
    told = interrupted or asyncio.Event()

    async def commit() -> None:
        await told.wait()
        if error is not None:
            raise error

    task = asyncio.create_task(commit())
    committing(task)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        told.set()
        await asyncio.wait([task])
        raise


async def test_a_timeout_during_a_commit_says_how_that_ended_and_is_not_repeated() -> None:
    attempts: list[int] = []

    @retry(max_attempts=3, base_delay=0)
    async def store(error: BaseException | None) -> None:
        attempts.append(1)
        async with timeout(SOON, "The order took too long."):
            await _commit_with(error)

    with pytest.raises(
        TimedOut, match="The order took too long; its commit was under way, and has succeeded"
    ) as caught:
        await store(None)
    assert isinstance(caught.value, CommittedLate)
    with pytest.raises(OutcomeUnknown, match="lost"):
        await store(OutcomeUnknown("lost"))
    assert len(attempts) == 2
    with pytest.raises(TimedOut, match="too long"):
        await store(ZeroDivisionError())
    assert len(attempts) == 5


@given(st.lists(st.sampled_from(["timeout", "asyncio", "guard", "lock", "group"]), max_size=6), st.integers(0, 6))
def test_however_limits_are_nested_the_task_is_as_it_was(layers: list[str], at: int) -> None:
    async def inside(left: list[str], depth: int) -> None:
        if not left:
            await never()
        seconds = 0.001 if depth == at else FOREVER
        match left[0]:
            case "timeout":
                async with timeout(seconds):
                    await inside(left[1:], depth + 1)
            case "asyncio":
                async with asyncio.timeout(seconds):
                    await inside(left[1:], depth + 1)
            case "guard":
                await Timeout(seconds).call(inside, left[1:], depth + 1)
            case "lock":
                async with AsyncLock("nested"):
                    await inside(left[1:], depth + 1)
            case "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0))
                    await inside(left[1:], depth + 1)

    async def main() -> None:
        # A TaskGroup makes a group of what its block raises.
        with pytest.raises((TimeoutError, ExceptionGroup)):
            async with timeout(0.02):
                await inside(layers, 0)
        assert cancelling() == 0
        assert deadline.ambient() is None
        assert not AsyncLock("nested").locked()

    asyncio.run(main())
