"""What waits for a task that it has cancelled, and for how long."""

import asyncio
import contextlib
from typing import Any

import pytest

from uno.aio import (
    RestartPolicy,
    TaskManager,
    as_task,
    cancel_on_exit,
    cancellable,
    ending,
    get_async_manager,
    get_task_manager,
)
from uno.errors import Misconfigured


async def forever() -> None:
    await asyncio.Event().wait()


async def settled() -> None:
    """Until every task has gone as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_hears_that_it_is_to_end_by_ending_well_is_not_started_again() -> None:
    calls: list[int] = []

    async def polite() -> None:
        calls.append(1)
        with contextlib.suppress(asyncio.CancelledError):
            await forever()

    manager = TaskManager()
    manager.create_task(polite, restart=RestartPolicy(1, on="always", base_delay=0))
    await settled()
    assert await manager.shutdown(grace=0.1) == []
    assert calls == [1]


@pytest.mark.parametrize("when", ["in the block", "at its end"])
async def test_who_is_cancelled_does_not_wait_for_ever_for_a_task_that_swallowed_a_cancellation(
    when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ending, "PATIENCE", 0.01)

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await forever()
        await forever()

    async def block() -> None:
        async with cancel_on_exit(asyncio.create_task(deaf(), name="deaf")):
            await (forever() if when == "in the block" else settled())

    task = asyncio.create_task(block())
    while when == "at its end" and "does not end" not in caplog.text:
        await settled()
    await settled()
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    [told, *_] = caplog.records
    assert told.__dict__["task"] == "deaf"
    assert told.__dict__["place"].endswith("forever")


async def test_no_task_waits_for_itself() -> None:
    async def wait_for(task: Any) -> None:
        async with cancel_on_exit(task):
            raise AssertionError

    with pytest.raises(Misconfigured, match="would wait for itself"):
        await wait_for(asyncio.current_task())
    with pytest.raises(Misconfigured, match="would wait for itself"):
        await cancellable(wait_for)(asyncio.current_task())


async def test_what_is_begun_while_the_manager_stops_ends_before_it_has_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story: list[str] = []

    @as_task("flushing")
    async def flush(what: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            story.append(f"-{what}")

    class Flushed:
        async def close(self) -> None:
            story.append("closing")
            flush("of the resource")

    async def work(left: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            flush(f"of task {left}")
            if left:
                get_task_manager().create_task(work(left - 1))
                await settled()

    async with get_async_manager().running(grace=0) as manager:
        await manager.register_resource(Flushed(), "flushed")
        manager.create_task(work(2))
        await settled()
    assert story[-2:] == ["closing", "-of the resource"]
    assert set(story[:-2]) == {"-of task 2", "-of task 1", "-of task 0"}
    assert get_task_manager().running() == []
    assert "does not end" not in caplog.text
