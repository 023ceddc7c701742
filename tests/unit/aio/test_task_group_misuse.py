"""TaskGroup used wrongly, and what it leaves behind."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from uno.aio import TaskGroup, cancellable
from uno.aio.group import GroupClosed
from uno.aio.shown import opened
from uno.errors import Misconfigured


async def give(value: Any) -> Any:
    return value


async def fail() -> None:
    raise ValueError("broken")


async def forever() -> None:
    await asyncio.Event().wait()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("settings", [{}, {"max_concurrency": 2}, {"on_error": "collect"}])
async def test_what_is_no_coroutine_is_named(settings: dict[str, Any]) -> None:
    async with TaskGroup(**settings) as group:
        with pytest.raises(Misconfigured, match=r"takes coroutines.*function give"):
            group.create_task(give)  # type: ignore[arg-type]


async def test_a_group_outside_its_block_says_so() -> None:
    group = TaskGroup("early")
    with pytest.raises(RuntimeError, match="'early' is not open yet"):
        group.create_task(give(1))
    async with group:
        pass
    with pytest.raises(GroupClosed, match="'early' has been left"):
        group.create_task(give(1))
    with pytest.raises(Misconfigured, match="entered before"):
        await group.__aenter__()


async def test_a_group_of_another_loop_says_so() -> None:
    async with TaskGroup("far") as group:

        def elsewhere() -> None:
            async def work() -> None:
                group.create_task(give(1))

            with pytest.raises(GroupClosed, match="another event loop"):
                asyncio.run(work())

        await asyncio.to_thread(elsewhere)


async def each_that_ends(group: TaskGroup) -> None:
    async for _ in group.as_completed():
        pass


@pytest.mark.parametrize("wait", [TaskGroup.wait_all, each_that_ends])
@pytest.mark.parametrize("siblings", [0, 2])
async def test_a_task_that_would_wait_for_itself_with_its_group_is_told(
    wait: Callable[[TaskGroup], Coroutine[Any, Any, None]], siblings: int
) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskGroup("round") as group:
            for _ in range(siblings):
                group.create_task(forever())
            group.create_task(wait(group), name="waiter")
    [error] = caught.value.exceptions
    assert isinstance(error, Misconfigured)
    assert str(error) == "The task waiter of the group 'round' would wait for itself here."


async def test_a_task_may_close_its_group_and_ends_with_it() -> None:
    async with TaskGroup() as group:
        tasks = [group.create_task(forever()), group.create_task(group.close())]
    assert all(task.cancelled() for task in tasks)


async def test_a_group_does_not_wait_for_who_waits_for_it() -> None:
    me = asyncio.current_task()
    assert me is not None

    async def adds(task: asyncio.Task[Any]) -> None:
        async with TaskGroup("inner") as group:
            with pytest.raises(Misconfigured, match="'inner' would wait for the task main, which waits for the group"):
                group.add_task(task)

    me.set_name("main")
    await adds(me)
    await cancellable(adds)(me)
    async with TaskGroup("outer") as group:
        group.create_task(adds(me))
        group.create_task(cancellable(adds)(me))


async def test_two_tasks_do_not_wait_for_each_other_in_groups() -> None:
    async def block(others: list[asyncio.Task[Any]]) -> None:
        async with TaskGroup() as group:
            group.add_task(others[0])

    second: list[asyncio.Task[Any]] = []
    first = asyncio.create_task(block(second))
    second.append(asyncio.create_task(block([first])))
    for task in (*second, first):
        with pytest.raises(ExceptionGroup) as caught:
            await task
        assert caught.group_contains(Misconfigured, match="waits for the group")


async def test_results_before_the_end_are_refused() -> None:
    async with TaskGroup() as group:
        group.create_task(forever())
        with pytest.raises(Misconfigured, match="wait_all"):
            _ = group.results
        group.cancel_all()


async def test_what_was_not_kept_is_not_given() -> None:
    async with TaskGroup(keep=False) as group:
        group.create_task(give(1))
    with pytest.raises(Misconfigured, match="keep=False"):
        _ = group.results


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"on_error": "ignore"}, "'cancel' or 'collect'"),
        ({"max_concurrency": 0}, "1 or more"),
        ({"max_concurrency": 1.5}, "whole number"),
        ({"name": 7}, "is text"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(Misconfigured, match=text):
        TaskGroup(**settings)


# ── what it leaves behind ──


async def test_a_group_in_an_async_generator_that_is_closed_waits_for_its_tasks() -> None:
    tasks = []

    async def numbers() -> AsyncIterator[int]:
        async with TaskGroup() as group:
            tasks.append(group.create_task(forever()))
            yield 1

    generator = numbers()
    async for _ in generator:
        break
    await generator.aclose()  # type: ignore[attr-defined]
    assert tasks[0].cancelled()


def test_a_group_whose_loop_has_gone_is_let_go() -> None:
    async def work() -> None:
        async with TaskGroup("lost") as group:
            group.create_task(forever())
            await forever()

    loop = asyncio.new_event_loop()
    coroutine = work()
    task = loop.create_task(coroutine)
    loop.set_exception_handler(lambda _loop, _about: None)
    loop.run_until_complete(settled())
    loop.close()
    coroutine.close()
    assert [group.name for group in opened if group.name == "lost"] == []
    del task, coroutine
    gc.collect()


async def test_a_group_that_ended_well_goes_with_its_last_reference() -> None:
    async with TaskGroup() as group:
        group.create_task(give(1))
    gone = weakref.ref(group)
    gc.disable()
    try:
        del group
        assert gone() is None
    finally:
        gc.enable()


async def test_private_names_of_asyncio_that_the_group_reads_are_there() -> None:
    for kind in (asyncio.Task, asyncio.tasks._PyTask):  # type: ignore[attr-defined]
        task: Any = kind(fail(), loop=asyncio.get_running_loop())
        assert task._must_cancel is False
        await asyncio.wait([task])
        assert task._log_traceback is True
        assert task._exception is task.exception()
        assert task._log_traceback is False
