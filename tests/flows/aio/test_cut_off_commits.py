"""A task group that fails tells of the commits in whose middle it has cut tasks off: nothing is done twice."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from uno.aio import TaskGroup, retry
from uno.data.deadlines import run_commit
from uno.errors import OutcomeUnknown, Unavailable
from uno.resilience.commits import CommittedLate, noted


class Store:
    """Commits slowly: a commit goes on until it is interrupted, and then succeeds, or ends with `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.attempts = 0
        self.began = asyncio.Event()

    async def write(self) -> None:
        self.attempts += 1
        task = asyncio.current_task()
        assert task is not None
        await run_commit(self._commit(task))

    async def _commit(self, task: "asyncio.Task[None]") -> None:
        self.began.set()
        while not task.cancelling():
            await asyncio.sleep(0)
        if self.error is not None:
            raise self.error

    async def fail(self) -> None:
        await self.began.wait()
        raise Unavailable("The sibling is away.")


async def in_a_group(store: Store) -> None:
    async with TaskGroup("orders") as group:
        group.create_task(store.write(), name="write")
        group.create_task(store.fail())


async def in_a_group_that_forgets(store: Store) -> None:
    async with TaskGroup(keep=False, max_concurrency=2) as group:
        group.create_task(store.write())
        group.create_task(store.fail())


async def in_the_block(store: Store) -> None:
    async with TaskGroup() as group:
        group.create_task(store.fail())
        await store.write()


async def beside_the_block(store: Store) -> None:
    async with TaskGroup(on_error="collect") as group:
        group.create_task(store.write())
        await store.fail()


async def in_a_group_of_a_group(store: Store) -> None:
    async def inner() -> None:
        async with TaskGroup() as group:
            group.create_task(store.write())

    async with TaskGroup() as group:
        group.create_task(inner())
        group.create_task(store.fail())


async def gathered(store: Store) -> None:
    async def both() -> None:
        await asyncio.gather(store.write(), asyncio.sleep(0))

    async with TaskGroup() as group:
        group.create_task(both())
        group.create_task(store.fail())


async def awaited_by_a_stranger(store: Store) -> None:
    async with TaskGroup() as group:
        written = group.create_task(store.write())
        stranger = asyncio.ensure_future(asyncio.wait_for(written, 60))
        group.create_task(store.fail())
    assert stranger.cancelled()


@pytest.mark.parametrize(
    "work",
    [
        in_a_group,
        in_a_group_that_forgets,
        in_the_block,
        beside_the_block,
        in_a_group_of_a_group,
        gathered,
        awaited_by_a_stranger,
    ],
)
@pytest.mark.parametrize(("error", "kind"), [(None, CommittedLate), (OutcomeUnknown("lost"), OutcomeUnknown)])
async def test_what_a_cancelled_task_has_stored_is_told_and_not_done_again(
    work: Callable[[Store], Awaitable[None]], error: Exception | None, kind: type[Exception]
) -> None:
    store = Store(error)
    with pytest.raises(ExceptionGroup) as caught:
        await retry(3, base_delay=0, retry_exceptions=Exception)(work)(store)
    assert [type(one) for one in caught.value.exceptions] == [Unavailable, kind]
    assert store.attempts == 1


async def test_the_error_names_the_task_and_is_among_those_of_the_group() -> None:
    store = Store()
    group = TaskGroup("orders")
    with pytest.raises(ExceptionGroup):
        async with group:
            group.create_task(store.write(), name="write")
            group.create_task(store.fail())
    told = "The task write of the group 'orders' was cancelled; its commit was under way, and has succeeded."
    assert [str(error) for error in group.errors] == ["The sibling is away.", told]


async def test_what_was_rolled_back_is_done_again() -> None:
    store = Store(ZeroDivisionError())
    with pytest.raises(ExceptionGroup) as caught:
        await retry(3, base_delay=0, retry_exceptions=Exception)(in_a_group)(store)
    assert [type(one) for one in caught.value.exceptions] == [Unavailable]
    assert store.attempts == 3


async def test_a_group_that_is_cancelled_from_outside_passes_on_what_it_cut_off() -> None:
    store = Store()

    async def work() -> None:
        async with TaskGroup() as group:
            group.create_task(store.write())

    task = asyncio.ensure_future(work())
    await store.began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.__cause__ is None
    assert [commit.exception() for commit in noted(caught.value)] == [None]


async def test_a_group_that_is_closed_by_hand_does_not_fail_because_of_a_commit() -> None:
    store = Store()
    async with TaskGroup() as group:
        group.create_task(store.write())
        await store.began.wait()
        await group.close()
    assert [type(error) for error in group.errors] == [CommittedLate]
