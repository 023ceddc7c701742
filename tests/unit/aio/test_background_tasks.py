"""Background tasks: started, seen, started again, given up, ended."""

import asyncio
import contextvars
import gc
import logging
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.unit.steered import Steered, settled

from uno import context
from uno.aio import (
    BackgroundGroup,
    CrashLoop,
    GroupClosed,
    GroupExists,
    RestartPolicy,
    TaskInfo,
    TaskManager,
    as_task,
    cancel_on_exit,
    get_task_manager,
    list_tasks,
    managed_background_task,
    task_tree,
)
from uno.context import Context
from uno.errors import Misconfigured

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


async def forever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise ValueError("broken")


def failing(times: int, then: Any = "well") -> Callable[[], Coroutine[Any, Any, Any]]:
    """An async function that fails so often, and then gives something."""
    left = times

    async def work() -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise ValueError(f"{left} more")
        return then

    return work


def found(name: str) -> TaskInfo:
    return next(info for info in list_tasks() if info.name == name)


# ── the manager ──


async def test_a_task_runs_in_a_named_group_and_is_shown_with_its_place(steered: Steered) -> None:
    async with TaskManager() as manager:
        task = manager.create_task(forever(), name="monitor", group="watching")
        steered.passed += 3
        await settled()
        info = found("monitor")
        assert (info.group, info.state, info.age) == ("watching", "waiting", 3)
        assert info.created_at is not None
        assert info.created_at.endswith("in test_a_task_runs_in_a_named_group_and_is_shown_with_its_place")
        assert manager.tasks == [info]
        [group] = [one for one in task_tree() if one.get("group") == "watching"]
        assert group["age"] == 3
    assert task.cancelled()


async def test_a_task_can_be_awaited() -> None:
    async with TaskManager() as manager:
        assert await manager.create_task(failing(0)()) == "well"
        assert await manager.create_task(failing(0), name="by its function") == "well"


async def test_one_that_fails_ends_no_other_is_logged_and_still_shown(caplog: pytest.LogCaptureFixture) -> None:
    async with TaskManager() as manager:
        other = manager.create_task(forever())
        manager.create_task(fail(), name="unlucky")
        await settled()
        assert not other.done()
        info = found("unlucky")
        assert (info.state, info.error) == ("failed", "ValueError('broken')")
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert (record.__dict__["task"], record.__dict__["signal"]) == ("unlucky", "task.failed")
    assert record.exc_info is not None


async def test_groups_have_one_name_each() -> None:
    async with TaskManager() as manager:
        group = manager.create_group("emails")
        assert manager.get_group("emails") is group
        assert manager.get_group("letters") is None
        with pytest.raises(GroupExists, match="'emails'"):
            manager.create_group("emails")
        with pytest.raises(ValueError, match="'emails'"):
            manager.create_group("emails")
        await group.close()
        assert manager.create_group("emails") is not group


async def test_a_group_as_a_block_waits_for_its_tasks() -> None:
    gate = asyncio.Event()
    async with TaskManager() as manager:
        async with manager.create_group("letters") as group:
            task = group.create_task(gate.wait())
            asyncio.get_running_loop().call_soon(gate.set)
        assert task.result() is True
        assert manager.get_group("letters") is None


async def test_a_group_whose_block_fails_cancels_its_tasks() -> None:
    with pytest.raises(KeyError):
        async with BackgroundGroup("letters") as group:
            task = group.create_task(forever())
            raise KeyError
    assert task.cancelled()


async def test_the_manager_of_a_loop_is_one_until_it_is_shut_down() -> None:
    manager = get_task_manager()
    assert TaskManager.get_instance() is manager
    await manager.shutdown()
    assert manager.is_shutting_down()
    assert get_task_manager() is not manager


def test_each_loop_has_a_manager_that_goes_with_it() -> None:
    async def mine() -> "weakref.ref[TaskManager]":
        manager = get_task_manager()
        manager.create_task(forever())
        await settled()
        return weakref.ref(manager)

    one, other = asyncio.run(mine()), asyncio.run(mine())
    gc.collect()
    assert one() is None
    assert other() is None


def test_without_a_loop_there_is_no_manager() -> None:
    with pytest.raises(Misconfigured, match="async function"):
        get_task_manager()


async def test_a_task_sees_uno_s_context_without_its_deadline_and_nothing_else() -> None:
    seen = []

    async def look() -> None:
        around = context.get()
        seen.append((around and around.tenant, around and around.deadline, variable.get()))

    variable.set("of the request")
    async with TaskManager() as manager:
        with context.use(Context(tenant="acme", deadline=5.0)):
            await manager.create_task(look())
            await manager.create_task(look(), context=contextvars.copy_context())
        await manager.create_task(look())
    assert seen == [("acme", None, "nothing"), ("acme", 5.0, "of the request"), (None, None, "nothing")]


async def test_a_task_whose_manager_nobody_holds_runs_on() -> None:
    TaskManager().create_task(forever(), name="unheld")
    await settled()
    gc.collect()
    assert found("unheld").state == "waiting"
    task = next(task for task in asyncio.all_tasks() if task.get_name() == "unheld")
    task.cancel()
    await asyncio.wait([task])


# ── shutting down ──


async def test_shutdown_lets_tasks_clean_up_and_tells_which_do_not_end(caplog: pytest.LogCaptureFixture) -> None:
    release, cleaned = asyncio.Event(), []

    async def tidy() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    manager = TaskManager()
    manager.create_task(tidy(), group="one")
    manager.create_task(stubborn(), name="stubborn", group="other")
    await settled()
    [stuck] = await manager.shutdown(grace=0.01)
    assert cleaned == [True]
    assert (stuck.name, stuck.group, stuck.state) == ("stubborn", "other", "cancelling")
    assert stuck.waits_at is not None
    assert stuck.waits_at.endswith("stubborn")
    assert [record.__dict__["signal"] for record in caplog.records] == ["task.stuck"]
    release.set()
    await settled()


async def test_after_shutdown_nothing_is_taken() -> None:
    manager = TaskManager()
    group = manager.create_group("kept")
    await manager.shutdown()
    for refused in (manager.create_task, group.create_task):
        with pytest.raises(GroupClosed):
            refused(forever())
    with pytest.raises(RuntimeError):
        manager.create_group("new")
    assert await manager.shutdown() == []


async def test_a_task_may_shut_down_the_manager_it_runs_in() -> None:
    manager = TaskManager()
    other = manager.create_task(forever())
    assert await manager.create_task(manager.shutdown()) == []
    assert other.cancelled()


# ── started again ──

POLICY = RestartPolicy(max_restarts=3, within=100, base_delay=1, jitter=False)


async def test_what_fails_is_started_again_later_each_time(steered: Steered, caplog: pytest.LogCaptureFixture) -> None:
    async with TaskManager() as manager:
        task = manager.create_task(failing(3), name="flaky", restart=POLICY)
        await settled()
        info = found("flaky")
        assert (info.state, info.restarts, info.error) == ("restarting", 1, "ValueError('2 more')")
        await steered.move(10)
        assert task.result() == "well"
    assert steered.slept == [1, 2, 4]
    assert [record.__dict__["signal"] for record in caplog.records] == ["task.restarted"] * 3


async def test_a_crash_loop_is_given_up_with_the_last_error(steered: Steered, caplog: pytest.LogCaptureFixture) -> None:
    async with TaskManager() as manager:
        task = manager.create_task(failing(9), name="hopeless", restart=POLICY)
        await steered.move(50)
        error = task.exception()
        assert isinstance(error, CrashLoop)
        assert "hopeless ended 4 times within 100 s" in str(error)
        assert repr(error.__cause__) == "ValueError('5 more')"
        assert error.restarts == 3
        assert (found("hopeless").state, found("hopeless").restarts) == ("gave up", 3)
    assert caplog.records[-1].__dict__["signal"] == "task.gave_up"


async def test_what_ran_well_for_a_while_begins_anew(steered: Steered) -> None:
    async def daily() -> None:
        await steered.sleep(150)
        raise ValueError

    async with TaskManager() as manager:
        task = manager.create_task(daily, restart=POLICY)
        await steered.move(3000)
        assert not task.done()
    assert set(steered.slept) == {1, 150}


async def test_what_ends_well_is_started_again_only_if_it_is_said(steered: Steered) -> None:
    calls = []

    async def short() -> None:
        calls.append(True)

    policy = RestartPolicy(max_restarts=None, base_delay=1, max_delay=1, jitter=False, on="always")
    async with TaskManager() as manager:
        task = manager.create_task(short, restart=policy)
        await steered.move(9.5)
        assert len(calls) == 10
    assert task.cancelled()


async def test_a_program_that_is_wrong_is_not_started_again(steered: Steered) -> None:
    async def wrong() -> None:
        raise Misconfigured("wrong")

    async with TaskManager() as manager:
        task = manager.create_task(wrong, restart=POLICY)
        await settled()
        assert isinstance(task.exception(), Misconfigured)
    assert steered.slept == []


async def test_what_fails_while_it_is_cancelled_is_not_started_again(steered: Steered) -> None:
    async def clumsy() -> None:
        try:
            await forever()
        finally:
            raise ValueError

    manager = TaskManager()
    task = manager.create_task(clumsy, restart=POLICY)
    await settled()
    assert await manager.shutdown() == []
    assert isinstance(task.exception(), ValueError)
    assert steered.slept == []


async def test_a_cancellation_nobody_asked_for_is_a_failure(steered: Steered) -> None:
    inner: list[asyncio.Task[None]] = []

    async def work() -> str:
        if inner:
            return "well"
        inner.append(asyncio.create_task(forever()))
        asyncio.get_running_loop().call_soon(inner[0].cancel)
        await inner[0]
        return "never"

    async with TaskManager() as manager:
        task = manager.create_task(work, restart=POLICY)
        await steered.move(5)
        assert task.result() == "well"


async def test_a_coroutine_cannot_be_started_again() -> None:
    async with TaskManager() as manager:
        with pytest.raises(Misconfigured, match=r"pass the function, as in `create_task\(fail, restart"):
            manager.create_task(fail(), restart=POLICY)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"max_restarts": -1}, "0 or more"),
        ({"max_restarts": 1.5}, "whole number"),
        ({"within": 0}, "above 0"),
        ({"on": "sometimes"}, "'failure' or 'always'"),
        ({"base_delay": -1}, "base_delay and max_delay of a RestartPolicy are 0"),
    ],
)
def test_wrong_policies_are_named(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(Misconfigured, match=text):
        RestartPolicy(**settings)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda manager: manager.create_task(7), "not 7"),
        (lambda manager: manager.create_task(lambda: 7), "async function"),
        (lambda manager: manager.create_task(fail, restart=True), "RestartPolicy, not True"),
        (lambda manager: manager.create_task(fail(), restart=5), "RestartPolicy, not 5"),
        (lambda manager: manager.create_group(""), "is text"),
    ],
)
async def test_wrong_work_is_named(call: Callable[[TaskManager], Any], text: str) -> None:
    async with TaskManager() as manager:
        with pytest.raises(Misconfigured, match=text):
            call(manager)


# ── as_task, cancel_on_exit, managed_background_task ──


async def test_calls_of_a_decorated_function_are_background_tasks() -> None:
    @as_task("adding")
    async def add(one: int, other: int = 1) -> int:
        return one + other

    @as_task
    async def plain() -> str:
        return "plain"

    task = add(1, other=2)
    assert task.get_name() == "adding"
    assert task in get_task_manager().get_group("background").tasks  # type: ignore[union-attr]
    assert await task == 3
    assert plain().get_name() == "plain"
    await get_task_manager().shutdown()


async def test_a_decorated_function_is_shown_where_it_was_called() -> None:
    @as_task(restart=POLICY)
    async def monitor() -> None:
        await forever()

    monitor()
    info = found("monitor")
    assert info.created_at is not None
    assert info.created_at.endswith("test_a_decorated_function_is_shown_where_it_was_called")
    await get_task_manager().shutdown()


def test_only_async_functions_are_tasks() -> None:
    with pytest.raises(Misconfigured, match="async functions"):
        as_task("sync")(lambda: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(Misconfigured, match="takes the name"):
        as_task(7)  # type: ignore[call-overload]


def test_a_decorated_function_outside_a_loop_says_so() -> None:
    with pytest.raises(Misconfigured, match="no event loop"):
        as_task("early")(fail)()


async def test_a_task_is_cancelled_at_the_end_of_the_block_and_has_cleaned_up() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async with cancel_on_exit(asyncio.create_task(work())) as task:
        await settled()
    assert task.cancelled()
    assert cleaned == [True]


async def test_the_error_of_the_task_is_raised_at_the_end_of_the_block_unless_seen() -> None:
    with pytest.raises(ValueError, match="broken"):
        async with cancel_on_exit(asyncio.create_task(fail())):
            await settled()
    async with cancel_on_exit(asyncio.create_task(fail())) as task:
        await asyncio.wait([task])
        assert task.exception() is not None


async def test_who_is_cancelled_while_the_task_cleans_up_waits_for_it_and_is_cancelled() -> None:
    gate, cleaned = asyncio.Event(), []

    async def slow() -> None:
        try:
            await forever()
        finally:
            await gate.wait()
            cleaned.append(True)

    async def block() -> None:
        async with cancel_on_exit(asyncio.create_task(slow())):
            await settled()

    task = asyncio.create_task(block())
    await settled()
    await settled()
    for _ in range(3):
        task.cancel()
        await settled()
    assert not task.done()
    gate.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert cleaned == [True]


async def test_what_is_no_task_cannot_be_cancelled_on_exit() -> None:
    with pytest.raises(Misconfigured, match="create_task"):
        async with cancel_on_exit(forever):  # type: ignore[arg-type]
            pass


async def test_a_managed_task_lives_as_long_as_the_block(steered: Steered) -> None:
    work = failing(1, then=None)

    async def flaky() -> None:
        await work()
        await forever()

    async with managed_background_task("monitoring", flaky, restart_on_failure=True) as task:
        await steered.move(2)
        assert found("monitoring").restarts == 1
    assert task.cancelled()
    assert "monitoring" not in {info.name for info in list_tasks()}
    await get_task_manager().shutdown()
