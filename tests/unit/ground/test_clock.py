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
