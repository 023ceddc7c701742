"""The time, and a clock of one's own."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
import uvloop

from uno import clock


class Steered:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds


def test_now_is_aware_and_in_utc() -> None:
    assert clock.now().utcoffset() == timedelta(0)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_monotonic_never_goes_back() -> None:
    readings = [clock.monotonic() for _ in range(1000)]
    assert readings == sorted(readings)


async def test_another_clock_is_used_inside_the_block_only() -> None:
    with clock.use(Steered()) as steered:
        await clock.sleep(3600)
        assert clock.now() == datetime(2030, 1, 1, 1, tzinfo=UTC)
        assert clock.monotonic() == steered.monotonic() == 3600
    assert clock.now() < datetime(2030, 1, 1, tzinfo=UTC)


def test_blocks_nest_and_an_error_gives_the_clock_back() -> None:
    outer, inner = Steered(), Steered()
    inner.passed = 5
    with clock.use(outer):
        with pytest.raises(ValueError, match="inside"), clock.use(inner):
            assert clock.monotonic() == 5
            raise ValueError("inside")
        assert clock.monotonic() == 0


async def test_the_system_clock_really_waits() -> None:
    started = time.monotonic()
    await clock.sleep(0.02)
    assert time.monotonic() - started >= 0.015


def test_nobody_wakes_up_too_early_in_uvloop() -> None:
    async def nap() -> float:
        end = clock.monotonic() + 0.0123
        await clock.sleep(0.0123)
        return end - clock.monotonic()

    async def naps() -> list[float]:
        return await asyncio.gather(*(nap() for _ in range(50)))

    assert max(uvloop.run(naps())) <= 0


async def fail() -> None:
    await asyncio.sleep(0)
    raise OSError("down")


async def test_a_timeout_after_a_group_of_tasks_that_failed_is_a_timeout() -> None:
    """Such a group leaves a cancellation counted, which Python 3.11.2's own timeout takes for a new one."""
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with clock.timeout(0.01):
                await asyncio.Event().wait()


@pytest.mark.parametrize("miscounts", [True, False])
async def test_a_timeout_can_be_looked_at_and_moved(miscounts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_MISCOUNTS", miscounts)
    async with clock.timeout(None) as limit:
        assert (limit.when(), limit.expired()) == (None, False)
    with pytest.raises(TimeoutError):
        async with clock.timeout(60) as limit:
            assert "Timeout" in repr(limit)
            limit.reschedule(asyncio.get_running_loop().time())
            await asyncio.Event().wait()
    assert limit.expired()
    with pytest.raises(KeyError):
        async with clock.timeout(60):
            raise KeyError


async def test_a_cancellation_beside_a_timeout_stays_one() -> None:
    started = asyncio.Event()

    async def wait() -> None:
        async with clock.timeout(0):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await started.wait()  # the timeout has cancelled by now, and the task has not heard of it yet
    task.cancel()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
