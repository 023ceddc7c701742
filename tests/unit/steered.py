"""Clocks that tests move; what sleeps wakes in the order of its time."""

import asyncio
from datetime import UTC, datetime, timedelta


class Steered:
    """`sleep` waits until the test moves the time on; without an event loop it moves it itself."""

    def __init__(self) -> None:
        self.passed = 1000.0
        self.wall = datetime(2030, 1, 1, tzinfo=UTC)
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self.wall + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if asyncio._get_running_loop() is None:
            self.passed += seconds
            return
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
            self._sleepers = [entry for entry in self._sleepers if not entry[2].done()]
            await settled()
        self.passed = end


class Skipping(Steered):
    """Nobody waits: who sleeps moves the time."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed += seconds
        await asyncio.sleep(0) if asyncio._get_running_loop() else None


async def settled() -> None:
    """Until every task has gone as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)
