"""`timeout`: a limit on how long a block may take."""

import math
from types import TracebackType
from typing import Self

from uno import clock
from uno.errors import Misconfigured, TimedOut
from uno.resilience.alarm import Alarm
from uno.resilience.arguments import require_numbers
from uno.telemetry.signals import emit

# Seconds by which a timer of the database, set for the same moment, may be the first.
_EARLY = 0.005


class timeout:
    """`async with timeout(5.0, "The import took too long"):` raises `TimedOut`, a `TimeoutError`, with that message.

    `seconds` from entering the block, None for no limit; a limit that surrounds it and comes first holds, too. It is
    the deadline of all that is called inside: of SQL, retries, locks and limiters, which do not wait past it. The task
    is cancelled where it waits; whoever else cancels it meanwhile is not overheard. It can be entered once.
    """

    __slots__ = ("_alarm", "_entered", "message", "seconds")

    def __init__(self, seconds: float | None, message: str = "Operation timed out") -> None:
        if seconds is not None:
            require_numbers("timeout()", seconds=seconds)
        if not isinstance(message, str):
            raise Misconfigured(f"The message of timeout() is a sentence, not {message!r}.")
        self.seconds = seconds
        self.message = message
        self._alarm: Alarm | None = None
        self._entered = False

    @property
    def remaining(self) -> float | None:
        """Seconds that are left, not below 0; None where there is no limit, or the block has not begun."""
        return None if self._alarm is None else max(0.0, self._alarm.end - clock.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the block was interrupted."""
        return self._alarm is not None and self._alarm.rang

    async def __aenter__(self) -> Self:
        if self._entered:
            raise Misconfigured("A timeout is for one block; write `async with timeout(…):` for each.")
        self._entered = True
        if self.seconds is not None and self.seconds < math.inf:
            self._alarm = Alarm(self.seconds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        alarm = self._alarm
        if alarm is None:
            return
        ended = alarm.stop(error)
        # What looked at the deadline itself, or was done in a drive, where nothing can be interrupted.
        if ended or _is_plain(kind, alarm) or (error is None and not alarm.timed and alarm.late):
            emit("timeout.expired", timeout=self.message, seconds=self.seconds)
            raise alarm.interrupted(self.message) from error


def _is_plain(kind: type[BaseException] | None, alarm: Alarm) -> bool:
    """Whether it is the timeout of something inside, which had the same deadline."""
    return kind in (TimedOut, TimeoutError) and clock.monotonic() >= alarm.end - _EARLY
