"""Who waits for something, since when, and for how long."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from uno import clock, sync
from uno.errors import Misconfigured, TimedOut
from uno.resilience import deadline
from uno.resilience.alarm import Alarm
from uno.resilience.arguments import require_numbers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Waiter:
    """The task of this name has waited for so many `seconds`."""

    task: str
    seconds: float


class Line:
    """Those who wait, the first in front."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: dict[object, tuple[str, float]] = {}

    def __len__(self) -> int:
        return len(self._since)

    @property
    def waiters(self) -> tuple[Waiter, ...]:
        now = clock.monotonic()
        return tuple(Waiter(name, now - since) for name, since in self._since.values())

    async def wait(self, wait: Callable[[], Awaitable[T]], seconds: float | None, late: Callable[[], str]) -> T:
        """What `wait()` gives, seen by others. Raises `TimedOut(late())` after `seconds`, or at the deadline."""
        mark = object()
        self._since[mark] = name_of(sync.runner()), clock.monotonic()
        try:
            if seconds is None and deadline.ambient() is None:
                return await wait()
            return await limited(wait, late, math.inf if seconds is None else seconds)
        finally:
            del self._since[mark]


async def limited(wait: Callable[[], Awaitable[T]], late: Callable[[], str], seconds: float = math.inf) -> T:
    """What `wait()` gives. Raises `TimedOut(late())` after `seconds`, or at the deadline."""
    alarm = Alarm(seconds)
    try:
        found = await wait()
    except BaseException as error:
        if alarm.stop(error):
            raise TimedOut(late()) from error
        raise
    alarm.stop()
    return found


def check_seconds(owner: str, seconds: float | None) -> None:
    """Raises `Misconfigured` for what nobody can wait for."""
    if seconds is None:
        return
    require_numbers(owner, timeout=seconds)
    if seconds < 0:
        raise Misconfigured(f"timeout of {owner} is 0 or more seconds, not {seconds!r}.")


def task_of(shown: str) -> asyncio.Task[Any]:
    """The task that runs, or that waits for the one that runs for it. Raises `Misconfigured` in a callback."""
    found = sync.holder()
    if not isinstance(found, asyncio.Task):
        raise Misconfigured(f"{shown} belongs to a task, and this is none; use it in a coroutine that is awaited.")
    return found


def name_of(runner: Any) -> str:
    """The name of a task or thread."""
    return runner.get_name() if isinstance(runner, asyncio.Task) else str(getattr(runner, "name", runner))
