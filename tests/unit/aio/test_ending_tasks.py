"""What waits for a task that it has cancelled, and for how long."""

import asyncio
import contextlib
from typing import Any

import pytest

from uno.aio import RestartPolicy, TaskManager, cancel_on_exit, cancellable, ending
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
