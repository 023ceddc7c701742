"""A limit on how long a call may take."""

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from uno import clock, sync
from uno.errors import Misconfigured, TimedOut
from uno.resilience import deadline
from uno.resilience.arguments import COROUTINE, not_a_function, require_numbers
from uno.resilience.shapes import Guard
from uno.result import Failure
from uno.telemetry.signals import emit


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
            if asyncio._get_running_loop() is None or sync.driving():
                found = await _awaited(f(*args, **kwargs))
            else:
                found = await self._timed(seconds, f, args, kwargs)
        finally:
            deadline.current.reset(token)
        # What failed stays what it is, raised or not.
        if clock.monotonic() > end and type(found) is not Failure:
            raise self._late()
        return found

    async def _timed(self, seconds: float, f: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await _awaited(f(*args, **kwargs))
        except TimeoutError as error:
            if limit.expired():
                raise self._late() from error
            raise  # somebody else's

    def _late(self) -> TimedOut:
        emit("timeout.expired", timeout=self.name, seconds=self.seconds)
        return TimedOut(f"It took longer than {self.seconds:g} s.")


async def _awaited(found: Any) -> Any:
    return await found if isawaitable(found) else found
