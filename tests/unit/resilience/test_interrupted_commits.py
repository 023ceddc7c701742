"""Who is interrupted while something inside commits learns how that ended; nobody learns of the commits of others."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine

import pytest

from uno import context
from uno.aio import TaskGroup, cancellable, retry, timeout, timeout_handler
from uno.aio.background import BackgroundGroup
from uno.errors import OutcomeUnknown, TimedOut
from uno.resilience import deadline
from uno.resilience.alarm import Alarm, committing
from uno.resilience.commits import CommittedLate

SOON, FOREVER = 0.01, 60.0
Work = Callable[[], Coroutine[None, None, None]]


async def never() -> None:
    await asyncio.Event().wait()


def commit(error: Exception | None = None, *, ends: asyncio.Event | None = None) -> Work:
    """Writes something: it ends when its caller is interrupted, or with `ends`."""

    async def call() -> None:
        told = ends or asyncio.Event()
        task = asyncio.create_task(_end(told, error))
        committing(task)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if ends is None:
                told.set()
            await asyncio.wait([task])
            raise

    return call


async def _end(told: asyncio.Event, error: Exception | None) -> None:
    await told.wait()
    if error is not None:
        raise error


async def in_a_group(*work: Work) -> None:
    async with TaskGroup() as group:
        for one in work:
            group.create_task(one())


async def in_asyncios_group(*work: Work) -> None:
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one())


async def gathered(*work: Work) -> None:
    await asyncio.gather(*(one() for one in work))


async def cancellable_call(*work: Work) -> None:
    await cancellable(in_a_group)(*work)


BETWEEN = [in_a_group, in_asyncios_group, gathered, cancellable_call]


@pytest.mark.parametrize("between", BETWEEN)
async def test_a_commit_of_a_task_inside_is_told_whatever_stands_between(
    between: Callable[..., Coroutine[None, None, None]],
) -> None:
    attempts: list[int] = []

    @retry(max_attempts=3, base_delay=0)
    @timeout_handler(SOON, "The order is late.")
    async def store(*work: Work) -> None:
        attempts.append(1)
        await between(*work)

    with pytest.raises(CommittedLate, match="^The order is late; its commit was under way, and has succeeded.$"):
        await store(commit(), never)
    with pytest.raises(OutcomeUnknown, match="lost"):
        await store(commit(OutcomeUnknown("lost")), commit())
    with pytest.raises(CommittedLate, match="of 2 commits that were under way 1 succeeded"):
        await store(commit(ZeroDivisionError()), commit())
    assert len(attempts) == 3
    with pytest.raises(TimedOut, match="late.$") as caught:
        await store(commit(ZeroDivisionError()), never)
    assert type(caught.value) is TimedOut
    assert len(attempts) == 6


async def test_what_is_shielded_and_still_commits_is_not_known() -> None:
    goes_on = asyncio.Event()
    shielded: list[asyncio.Task[None]] = []
    with pytest.raises(OutcomeUnknown, match="late; a commit is still under way"):
        async with timeout(SOON, "late"):
            shielded.append(asyncio.create_task(commit(ends=goes_on)()))
            await asyncio.shield(shielded[0])
    goes_on.set()
    await asyncio.wait(shielded)


async def test_what_was_committed_before_or_after_is_not_told() -> None:
    before = asyncio.Event()
    before.set()
    with pytest.raises(TimedOut) as caught:
        async with timeout(SOON, "late"):
            await commit(ends=before)()
            try:
                await never()
            finally:
                await commit(ends=before)()
    assert type(caught.value) is TimedOut


async def test_a_sibling_is_not_told_of_a_commit_that_is_not_inside_its_own_limit() -> None:
    goes_on, ended = asyncio.Event(), asyncio.Event()
    errors: list[Exception] = []

    async def late() -> None:
        try:
            async with timeout(SOON, "late"):
                await never()
        except TimedOut as error:
            errors.append(error)
        goes_on.set()
        await ended.wait()

    async def store() -> None:
        await commit(ends=goes_on)()
        ended.set()

    async with timeout(FOREVER):
        await in_a_group(late, store)
    assert [type(error) for error in errors] == [TimedOut]


async def test_the_commits_of_background_tasks_and_of_shared_work_are_their_own() -> None:
    background, ends = BackgroundGroup("others"), asyncio.Event()
    with pytest.raises(TimedOut) as caught:
        async with timeout(SOON, "late"):
            background.create_task(commit(ends=ends))
            shared = asyncio.create_task(commit(ends=ends)(), context=context.detached())
            await never()
    assert type(caught.value) is TimedOut
    ends.set()
    await background.wait_all()
    await shared


async def test_a_task_with_a_limit_of_its_own_tells_its_group_and_the_retry_around_that() -> None:
    attempts: list[int] = []

    @retry(max_attempts=3, base_delay=0)
    async def store() -> None:
        attempts.append(1)
        await in_a_group(timeout_handler(SOON, "late")(commit()))

    with pytest.raises(ExceptionGroup) as caught:
        await store()
    assert [type(error) for error in caught.value.exceptions] == [CommittedLate]
    assert attempts == [1]


async def test_tasks_that_begin_one_another_for_ever_do_not_keep_the_limits_of_those_before() -> None:
    alarms: list[weakref.ref[asyncio.Task[None]]] = []
    last: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def step(number: int) -> None:
        async with timeout(FOREVER):
            if number:
                task = asyncio.create_task(step(number - 1))
                alarms.append(weakref.ref(task))
                del task
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            else:
                around = deadline.current.get()
                depth = 0
                while isinstance(around, Alarm):
                    around, depth = around.outer, depth + 1
                last.set_result(None) if depth < 5 else last.set_exception(AssertionError(depth))

    await step(50)
    await last
    gc.collect()
    assert sum(one() is not None for one in alarms) < 5
