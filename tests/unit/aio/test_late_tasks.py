"""Tasks that begin in the grace period have the rest of it."""

import asyncio

import pytest

from uno.aio import AsyncManager


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
