"""Tasks that begin in the grace period have the rest of it."""

import asyncio

import pytest

from uno.aio import AsyncManager, get_async_manager, get_task_manager
from uno.errors import Misconfigured


async def never() -> None:
    await asyncio.Event().wait()


async def test_a_task_that_begins_while_the_others_end_has_the_rest_of_the_grace_period() -> None:
    manager = AsyncManager()
    written = asyncio.Event()
    flushed = False

    async def flush() -> None:
        nonlocal flushed
        await written.wait()
        flushed = True

    async def consume() -> None:
        await manager.wait_for_shutdown()
        manager.create_task(flush(), name="flush")

    async with manager.running():
        consuming = manager.create_task(consume(), name="consume")
        consuming.add_done_callback(lambda _: asyncio.get_running_loop().call_soon(written.set))
    assert flushed


async def test_one_that_begins_late_and_does_not_end_in_time_is_named_too(caplog: pytest.LogCaptureFixture) -> None:
    manager = AsyncManager(grace=0.01)

    async def consume() -> None:
        await manager.wait_for_shutdown()
        manager.create_task(never(), name="flush")

    async with manager.running():
        manager.create_task(consume(), name="consume")
    record = next(r for r in caplog.records if getattr(r, "signal", "") == "tasks.cancelled")
    assert [text.split(";")[0] for text in vars(record)["tasks"]] == ["flush"]


async def test_what_a_resource_begins_while_it_closes_has_ended_when_the_manager_has_stopped() -> None:
    tasks: list[asyncio.Task[None]] = []
    async with get_async_manager().running(grace=0) as manager:
        closing = lambda: tasks.append(get_task_manager().create_task(never))  # noqa: E731
        await manager.register_resource(object(), "client", close=closing)
    assert [task.cancelled() for task in tasks] == [True]


async def test_a_shutdown_hook_begins_no_task_for_which_nobody_waits() -> None:
    manager = AsyncManager()
    await manager.start()
    manager.add_shutdown_hook(lambda: manager.create_task(never, name="late"))
    with pytest.raises(Misconfigured, match="takes no more tasks"):
        await manager.shutdown()
