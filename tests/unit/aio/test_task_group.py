"""TaskGroup: how it ends, and what is to be seen of its tasks."""

import asyncio
import contextlib
import logging
from typing import Any

import anyio
import pytest

from uno.aio import TaskGroup
from uno.aio.group import GroupClosed


async def give(value: Any, after: asyncio.Event | None = None) -> Any:
    if after is not None:
        await after.wait()
    return value


async def fail(error: BaseException | None = None, after: asyncio.Event | None = None) -> None:
    if after is not None:
        await after.wait()
    raise error or ValueError("broken")


async def forever() -> None:
    await asyncio.Event().wait()


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# ── how it ends ──


async def test_the_block_ends_after_its_tasks_and_results_are_in_order() -> None:
    gate = asyncio.Event()
    async with TaskGroup("fetching") as group:
        slow = group.create_task(give("slow", gate), name="slow")
        group.create_task(give("quick"))
        await settled()
        gate.set()
    assert slow.result() == "slow"
    assert slow.get_name() == "slow"
    assert group.results == ["slow", "quick"]
    assert not group.has_errors


async def test_the_first_error_cancels_the_others_and_the_block_and_is_raised_as_it_was() -> None:
    error = ValueError("broken")
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskGroup("orders") as group:
            other = group.create_task(forever())
            group.create_task(fail(error), name="charging")
            await forever()
    assert caught.value.exceptions == (error,)
    assert "orders: charging" in str(caught.value)
    assert group.errors == (error,)
    assert other.cancelled()
    assert cancelling() == 0


async def test_an_error_while_the_block_is_left_leaves_no_cancellation_behind() -> None:
    gate = asyncio.Event()
    try:
        async with TaskGroup() as group:
            group.create_task(fail(after=gate))
            group.create_task(forever())
            asyncio.get_running_loop().call_soon(gate.set)
    except* ValueError:
        pass
    assert cancelling() == 0
    await asyncio.sleep(0)


async def test_an_error_of_the_block_cancels_the_tasks_and_is_raised_in_a_group() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskGroup(on_error="collect") as group:
            task = group.create_task(forever())
            raise KeyError("mine")
    assert [repr(error) for error in caught.value.exceptions] == ["KeyError('mine')"]
    assert "the block itself" in str(caught.value)
    assert task.cancelled()
    assert [repr(error) for error in group.errors] == ["KeyError('mine')"]


async def test_many_failed_tasks_are_named_up_to_three() -> None:
    with pytest.raises(ExceptionGroup, match="first, second, third and 2 more"):
        async with TaskGroup(on_error="collect") as group:
            for name in ("first", "second", "third", "fourth", "fifth"):
                group.create_task(fail(), name=name)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
async def test_who_wants_to_end_the_process_is_not_put_in_a_group(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        async with TaskGroup() as group:
            task = group.create_task(forever())
            raise error
    assert caught.value is error
    assert task.cancelled()


# ── collecting ──


async def test_collecting_each_task_is_awaited_and_its_error_caught() -> None:
    results, errors = [], []
    async with TaskGroup(name="data_processing", on_error="collect") as group:
        tasks = [group.create_task(fail() if n == 1 else give(n)) for n in range(3)]
        for task in tasks:
            try:
                results.append(await task)
            except Exception as error:
                errors.append(error)
    assert results == [0, 2]
    assert list(group.errors) == errors
    assert group.results == [0, errors[0], 2]


async def test_collecting_errors_nobody_caught_are_raised_when_all_have_ended() -> None:
    gate, lost = asyncio.Event(), KeyError("lost")
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskGroup(on_error="collect") as group:
            seen = group.create_task(fail())
            group.create_task(fail(lost))
            last = group.create_task(give("last", gate))
            with pytest.raises(ValueError, match="broken"):
                await seen
            gate.set()
    assert caught.value.exceptions == (lost,)
    assert last.result() == "last"
    assert len(group.errors) == 2


async def test_to_look_at_the_errors_of_a_group_is_not_to_catch_them() -> None:
    with pytest.raises(ExceptionGroup):
        async with TaskGroup(on_error="collect") as group:
            task = group.create_task(fail())
            await group.wait_all()
            assert group.has_errors
            assert isinstance(group.results[0], ValueError)
            # Who cancels what has failed has not seen its error either.
            task.cancel()
            group.cancel_all()


async def test_an_error_that_is_caught_and_raised_by_the_block_is_raised_once() -> None:
    error = ValueError("broken")
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskGroup(on_error="collect") as group:
            await group.create_task(fail(error))
    assert caught.value.exceptions == (error,)


async def test_a_group_that_keeps_nothing_forgets_errors_that_were_caught() -> None:
    async with TaskGroup(on_error="collect", keep=False) as group:
        for _ in range(1000):
            with pytest.raises(ValueError, match="broken"):
                await group.create_task(fail())
        assert len(group.errors) <= 64
        assert group.tasks == ()


async def test_a_group_that_keeps_nothing_loses_no_error() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskGroup(on_error="collect", keep=False) as group:
            for _ in range(1000):
                group.create_task(fail())
    assert len(caught.value.exceptions) == 1000


# ── cancelled from outside ──


async def cancelled(task: "asyncio.Task[Any]") -> bool:
    await asyncio.wait([task])
    return task.cancelled()


async def test_a_cancellation_goes_through_the_group_to_its_tasks() -> None:
    inner: list[asyncio.Task[Any]] = []

    async def work() -> None:
        async with TaskGroup() as group:
            inner.append(group.create_task(forever()))
            await forever()

    task = asyncio.create_task(work())
    await settled()
    task.cancel()
    assert await cancelled(task)
    assert inner[0].cancelled()


@pytest.mark.parametrize("mode", ["cancel", "collect"])
async def test_a_cancellation_while_the_block_is_left_cancels_the_tasks(mode: Any) -> None:
    async def work() -> None:
        async with TaskGroup(on_error=mode) as group:
            group.create_task(forever())

    task = asyncio.create_task(work())
    await settled()
    task.cancel()
    assert await cancelled(task)


@pytest.mark.parametrize("mode", ["cancel", "collect"])
async def test_a_task_that_fails_while_the_group_is_cancelled_hides_no_cancellation(
    mode: Any, caplog: pytest.LogCaptureFixture
) -> None:
    error, groups = ValueError("while cleaning up"), []

    async def clumsy() -> None:
        try:
            await forever()
        finally:
            raise error

    async def work() -> None:
        async with TaskGroup("clumsy", on_error=mode) as group:
            groups.append(group)
            group.create_task(clumsy())

    task = asyncio.create_task(work())
    await settled()
    task.cancel()
    with caplog.at_level(logging.WARNING), pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert groups[0].errors == (error,)
    assert [record.__dict__["group"] for record in caplog.records] == ["clumsy"]


async def test_a_failure_and_a_cancellation_in_the_same_moment_are_a_cancellation() -> None:
    gate = asyncio.Event()

    async def work() -> None:
        async with TaskGroup() as group:
            group.create_task(fail(after=gate))
            await forever()

    task = asyncio.create_task(work())
    await settled()
    gate.set()
    await asyncio.sleep(0)
    task.cancel()
    assert await cancelled(task)
    assert task.cancelling() == 1


async def test_a_timeout_around_a_group_is_a_timeout_whatever_its_tasks_do() -> None:
    async def clumsy() -> None:
        try:
            await forever()
        finally:
            raise ValueError("while cleaning up")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001), TaskGroup() as group:
            group.create_task(clumsy())
    assert cancelling() == 0
    await asyncio.sleep(0)


async def test_a_scope_of_anyio_around_a_group_ends_it() -> None:
    with anyio.move_on_after(0.001) as scope:
        async with TaskGroup() as group:
            task = group.create_task(forever())
    assert scope.cancelled_caught
    assert task.cancelled()
    assert cancelling() == 0


async def test_a_cancellation_that_was_to_come_when_the_group_was_entered_comes_through() -> None:
    async def work() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        async with TaskGroup() as group:
            group.create_task(fail())
            await asyncio.sleep(0)

    assert await cancelled(asyncio.create_task(work()))


async def test_cleaning_up_after_a_cancellation_is_not_cancelled_again_by_a_group_that_fails() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await forever()
        finally:
            with contextlib.suppress(ExceptionGroup):
                async with TaskGroup() as group:
                    group.create_task(fail())
                    await forever()
            await asyncio.sleep(0)
            cleaned.append(True)

    task = asyncio.create_task(work())
    await settled()
    task.cancel()
    assert await cancelled(task)
    assert cleaned == [True]


async def test_one_cancelled_task_cancels_nothing_else() -> None:
    async with TaskGroup() as group:
        group.create_task(forever()).cancel()
        group.create_task(give(1))
    assert isinstance(group.results[0], asyncio.CancelledError)
    assert group.results[1] == 1


async def test_cancel_all_ends_the_tasks_and_not_the_block() -> None:
    async with TaskGroup() as group:
        tasks = [group.create_task(forever()) for _ in range(3)]
        group.cancel_all()
        await group.wait_all()
        assert all(task.cancelled() for task in tasks)
        group.create_task(give("more"))
    assert group.results[-1] == "more"


async def test_a_closed_group_takes_no_more_tasks() -> None:
    async with TaskGroup("closed") as group:
        task = group.create_task(forever())
        await group.close()
        assert task.cancelled()
        with pytest.raises(GroupClosed, match="'closed'"):
            group.create_task(give(1))


# ── places, order ──


async def test_no_more_than_so_many_run_at_a_time_in_the_order_of_their_making() -> None:
    running, most, order = 0, 0, []

    async def work(number: int) -> int:
        nonlocal running, most
        order.append(number)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number

    async with TaskGroup(max_concurrency=3) as group:
        for number in range(20):
            group.create_task(work(number))
    assert most == 3
    assert order == group.results == list(range(20))


async def test_who_is_cancelled_in_the_queue_leaves_nothing_behind() -> None:
    with pytest.raises(ExceptionGroup):
        async with TaskGroup(max_concurrency=1) as group:
            group.create_task(fail())
            for _ in range(5):
                group.create_task(forever())
    assert [type(result) for result in group.results] == [ValueError, *[asyncio.CancelledError] * 5]


async def test_tasks_come_in_the_order_in_which_they_end() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    found = []
    async with TaskGroup() as group:
        for number, gate in enumerate(gates):
            group.create_task(give(number, gate))
        gates[1].set()
        async for task in group.as_completed():
            found.append(task.result())
            if len(found) == 1:
                group.create_task(give("new"))
                gates[2].set()
            if len(found) == 3:
                gates[0].set()
    assert found[0] == 1
    assert found[3] == 0
    assert set(found) == {0, 1, 2, "new"}


async def test_a_task_that_runs_already_can_be_added() -> None:
    task = asyncio.create_task(give("added"))
    async with TaskGroup() as group:
        assert group.add_task(task) is task
        group.add_task(task)
    assert group.results == ["added"]


async def test_a_task_may_make_tasks_while_the_block_is_left() -> None:
    async def parent(group: TaskGroup) -> None:
        await asyncio.sleep(0)
        group.create_task(give("child"))

    async with TaskGroup() as group:
        group.create_task(parent(group))
    assert group.results == [None, "child"]
