"""A limit on how long a call may take."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from uno import clock, sync
from uno.errors import Misconfigured, TimedOut
from uno.resilience import deadline
from uno.resilience.arguments import COROUTINE, not_a_function, require_numbers
from uno.resilience.shapes import Guard
from uno.result import Failure
from uno.telemetry.signals import emit


class FinishedLate(TimedOut):
    """It was done, as nothing could interrupt it, and gave `value`; a retry does not do it again."""

    def __init__(self, message: str, value: Any = None) -> None:
        super().__init__(message)
        self.value = value


class Timeout(Guard):
    """Gives a call `seconds`, or what the surrounding deadline leaves of them; then `TimedOut`.

    What is awaited is cancelled. Synchronous code cannot be interrupted: it is found to be late
    when it ends. Retries and waiting limiters inside know the deadline and do not wait past it.
    """

    def __init__(self, seconds: float, *, name: str | None = None) -> None:
        require_numbers("a Timeout", seconds=seconds)
        if not seconds > 0:
            raise Misconfigured("A Timeout is above 0 seconds.")
        self.seconds = seconds
        self.name = name or "unnamed"

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives. Raises `TimedOut`."""
        if type(f) is COROUTINE:
            raise not_a_function(f)
        left = deadline.remaining()
        seconds = self.seconds if left is None else min(self.seconds, left)
        end = clock.monotonic() + seconds
        token = deadline.current.set(end)
        try:
            found = f(*args, **kwargs)
            if isawaitable(found):
                if asyncio._get_running_loop() is not None and not sync.driving():
                    return await self._timed(max(0.0, end - clock.monotonic()), found)
                found = await found
        finally:
            deadline.current.reset(token)
        # What failed stays what it is, raised or not.
        if clock.monotonic() > end and type(found) is not Failure:
            raise self._late(FinishedLate, found)
        return found

    async def _timed(self, seconds: float, found: Awaitable[Any]) -> Any:
        limit = clock.timeout(seconds)
        try:
            async with limit:
                return await found
        except TimeoutError as error:
            if limit.expired():
                raise self._late(TimedOut) from error
            raise  # somebody else's

    def _late(self, kind: Callable[..., TimedOut], *value: Any) -> TimedOut:
        emit("timeout.expired", timeout=self.name, seconds=self.seconds)
        return kind(f"It took longer than {self.seconds:g} s.", *value)
