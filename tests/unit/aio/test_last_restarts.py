"""What is done again and again, and ends with the process."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from tests.unit.steered import Steered, settled

from uno.aio import AsyncManager, RestartPolicy, TaskManager, retry

ALWAYS = RestartPolicy(on="always", base_delay=60, max_restarts=2)


async def test_what_ends_well_is_done_again_base_delay_later_and_is_no_crash_loop(
    steered: Steered, caplog: pytest.LogCaptureFixture
) -> None:
    times: list[float] = []

    async def poll() -> None:
        times.append(steered.passed - 1000)

    async with TaskManager() as manager:
        task = manager.create_task(poll, restart=ALWAYS)
        await steered.move(270)
        assert times == [0, 60, 120, 180, 240]
        assert [(info.state, info.restarts, info.error) for info in manager.tasks] == [("waiting", 0, None)]
        assert caplog.records == []
    assert task.cancelled()


class Poll:
    """Work that is an object."""

    async def __call__(self) -> None:
        return


async def failing(error: str) -> None:
    raise ValueError(error)


@retry(max_attempts=1)
async def decorated() -> None:
    return


@pytest.mark.parametrize(
    ("work", "state", "place"),
    [
        (decorated, "waiting", "in decorated"),
        (Poll(), "waiting", "in Poll.__call__"),
        (partial(failing, "no"), "restarting", "in failing"),
        (partial(asyncio.sleep, 0), "waiting", "in sleep"),
    ],
)
async def test_what_waits_for_its_next_run_is_shown_at_its_work(
    steered: Steered, work: Callable[[], Coroutine[Any, Any, None]], state: str, place: str
) -> None:
    async with TaskManager() as manager:
        manager.create_task(work, restart=ALWAYS)
        await settled()
        [info] = manager.tasks
        assert info.waits_at is not None
        assert (info.state, info.waits_at.partition(" ")[2]) == (state, place)


async def test_only_failures_count_as_restarts(steered: Steered) -> None:
    runs: list[int] = []

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) == 2:
            raise ValueError("once")

    async with TaskManager() as manager:
        manager.create_task(work, restart=RestartPolicy(on="always", base_delay=1, jitter=False))
        counts = []
        for _ in range(4):
            await settled()
            counts += [(info.state, info.restarts) for info in manager.tasks]
            await steered.move(1)
    assert counts == [("waiting", 0), ("restarting", 1), ("waiting", 1), ("waiting", 1)]


async def test_nothing_is_started_again_once_the_process_stops() -> None:
    manager, runs = AsyncManager(), []

    async def loop() -> str:
        runs.append(True)
        await manager.wait_for_shutdown()
        return "done"

    async def failing_loop() -> None:
        await loop()
        raise ValueError

    async with manager.running():
        task = manager.create_task(loop, restart=ALWAYS)
        failing = manager.create_task(failing_loop, restart=RestartPolicy())
        await settled()
        manager.request_shutdown()
        later = manager.create_task(loop, restart=ALWAYS)
        await asyncio.wait([task, failing, later])
        assert (task.result(), later.result()) == ("done", "done")
        assert isinstance(failing.exception(), ValueError)
    assert len(runs) == 3


async def test_who_waits_to_be_started_again_ends_at_once_as_it_did(
    steered: Steered, caplog: pytest.LogCaptureFixture
) -> None:
    async def poll() -> str:
        return "done"

    async def fail() -> None:
        raise ValueError("broken")

    async with TaskManager() as tasks:
        good, bad = tasks.create_task(poll, restart=ALWAYS), tasks.create_task(fail, restart=ALWAYS)
        await settled()
        assert [info.state for info in tasks.tasks] == ["waiting", "restarting"]
        tasks.finish()
        tasks.finish()
        await settled()
        assert good.result() == "done"
        assert good.cancelling() == 0
        assert isinstance(bad.exception(), ValueError)
    assert caplog.records[-1].levelno == logging.ERROR


async def test_who_is_cancelled_while_it_waits_to_be_started_again_is_cancelled(steered: Steered) -> None:
    async def poll() -> None:
        return None

    async with TaskManager() as tasks:
        before, after = (tasks.create_task(poll, restart=ALWAYS) for _ in range(2))
        await settled()
        before.cancel()
        tasks.finish()
        after.cancel()
        await settled()
        assert before.cancelled()
        assert after.cancelled()
