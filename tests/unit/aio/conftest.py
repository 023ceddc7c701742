"""A clock that tests move; what sleeps wakes in the order of its time."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from uno import clock


class Steered:
    """`sleep` waits until the test moves the time on."""

    def __init__(self) -> None:
        self.passed = 1000.0
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.passed + seconds, len(self.slept), woken))
        await woken

    async def move(self, seconds: float) -> None:
        """Let `seconds` pass, waking on the way whoever has slept enough."""
        end = self.passed + seconds
        await settled()
        while due := [entry for entry in self._sleepers if entry[0] <= end and not entry[2].done()]:
            when, _, woken = min(due)
            self.passed = max(self.passed, when)
            woken.set_result(None)
            await settled()
        self.passed = end


async def settled() -> None:
    """Until every task has gone as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def time() -> Iterator[Steered]:
    with clock.use(Steered()) as steered:
        assert isinstance(steered, Steered)
        yield steered
