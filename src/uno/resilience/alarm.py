"""The one timer behind `Timeout` and `uno.aio.timeout`, which also sets the deadline for what is called inside."""

import asyncio

from uno import clock
from uno.errors import Misconfigured, OutcomeUnknown, TimedOut, UnoError
from uno.resilience import cancels, deadline

# On a cancellation: how that ended which could not be interrupted.
_OUTCOME = "__uno_outcome__"


class CommittedLate(TimedOut):
    """It was interrupted while it committed, and what it wrote is stored: a retry must not do it again."""


def committed(cancelled: asyncio.CancelledError, error: BaseException | None) -> None:
    """A commit was waited for in spite of this cancellation, and ended with `error`, or well."""
    if error is None or isinstance(error, OutcomeUnknown):
        vars(cancelled)[_OUTCOME] = error


def interrupted(cancelled: BaseException | None, message: str) -> UnoError:
    """The error for who is told that it took too long: it says so where something is stored, or may be."""
    known = {} if cancelled is None else vars(cancelled)
    if _OUTCOME not in known:
        return TimedOut(message)
    unknown: OutcomeUnknown | None = known[_OUTCOME]
    return unknown or CommittedLate(f"{message.removesuffix('.')}; its commit was under way, and has succeeded.")


class Alarm:
    """From when it is made it cancels the task after `seconds`, or when the surrounding deadline comes before; once.

    It is what `asyncio.timeout` does, in less time: it counts the cancellations that are older than itself, and takes
    back its own. Where nothing can be interrupted, in a drive, it has no timer, only `end`.
    """

    __slots__ = ("_counted", "_handle", "_task", "_token", "end", "rang")

    def __init__(self, seconds: float) -> None:
        # The clock by hand, here and in RateLimiter: this is on the way of every call.
        now = clock._clock.monotonic()
        end, outer = now + seconds, deadline.ambient()
        if outer is not None and outer < end:
            end = outer
        # On `clock.monotonic()`.
        self.end = end
        self.rang = False
        loop = asyncio._get_running_loop()
        if loop is None or (clock.driver.get() is not None and clock.driven()):
            self._task = None
        else:
            self._task = task = asyncio.current_task(loop)
            if task is None:
                raise Misconfigured("A timeout interrupts the task that it is in, and this is no task but a callback.")
            self._counted = task.cancelling() - cancels.is_to_come(task)
            # Not call_later(), which takes half as long again.
            self._handle = loop.call_at(loop.time() + end - now, self._ring)
        self._token = deadline.current.set(end)

    @property
    def timed(self) -> bool:
        """Whether it can interrupt what is awaited."""
        return self._task is not None

    @property
    def late(self) -> bool:
        """Whether the moment has passed."""
        return clock.monotonic() > self.end

    def _ring(self) -> None:
        self.rang = True
        if self._task is not None:
            self._task.cancel()

    def stop(self, error: BaseException | None = None) -> bool:
        """End it; whether `error` is the cancellation that it has made, and nobody else wants the task cancelled."""
        try:  # noqa: SIM105 - suppress() would take longer than all the rest
            deadline.current.reset(self._token)
        except ValueError:  # a generator that another task closes has no deadline in this one
            pass
        if self._task is None:
            return False
        self._handle.cancel()
        if not self.rang:
            return False
        return self._task.uncancel() <= self._counted and isinstance(error, asyncio.CancelledError)
