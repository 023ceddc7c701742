"""What waits for a task that it has cancelled, and for how long."""

import asyncio
import contextlib
from typing import Any

import pytest
from tests.unit.aio.conftest import settled

from uno.aio import cancel_on_exit, cancellable, ending, managed_background_task
from uno.errors import Misconfigured


async def forever() -> None:
    await asyncio.Event().wait()


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
        async with managed_background_task("deaf", deaf):
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
