"""A limit on how long a call may take."""

from collections.abc import Callable
from functools import partial
from inspect import isawaitable
from types import CoroutineType
from typing import Any

from uno.errors import Misconfigured, TimedOut, UnoError
from uno.resilience.alarm import Alarm
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
    """Gives a call `seconds`, or what the surrounding deadline leaves of them; then `TimedOut`, with the `message`.

    What is awaited is cancelled. Synchronous code cannot be interrupted: it is found to be late
    when it ends. Retries and waiting limiters inside know the deadline and do not wait past it.
    """

    def __init__(self, seconds: float, *, name: str | None = None, message: str | None = None) -> None:
        require_numbers("a Timeout", seconds=seconds)
        if not seconds > 0:
            raise Misconfigured("A Timeout is above 0 seconds.")
        self.seconds = seconds
        self.name = name or "unnamed"
        self.message = message

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives. Raises `TimedOut`."""
        if type(f) is COROUTINE:
            raise not_a_function(f)
        alarm = Alarm(self.seconds)
        try:
            found = f(*args, **kwargs)
            awaited = type(found) is CoroutineType or isawaitable(found)
            if awaited:
                found = await found
        except BaseException as error:
            if alarm.stop(error):
                raise self._late(alarm.interrupted) from error
            raise
        alarm.stop()
        # What failed stays what it is, raised or not.
        if not (awaited and alarm.timed) and alarm.late and type(found) is not Failure:
            raise self._late(partial(FinishedLate, value=found))
        return found

    def _late(self, make: Callable[[str], UnoError]) -> UnoError:
        emit("timeout.expired", timeout=self.name, seconds=self.seconds)
        return make(self.message or f"It took longer than {self.seconds:g} s.")
