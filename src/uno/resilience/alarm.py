"""The one timer behind `Timeout` and `uno.aio.timeout`, which also sets the deadline for what is called inside."""

import asyncio
import math
from typing import Any, cast

from uno import clock
from uno.errors import Misconfigured, TimedOut, UnoError
from uno.resilience import cancels, commits, deadline

# Those under way that were begun before it rang.
Commits = dict[commits.Commit, None]


class Alarm(deadline.Limit):
    """From when it is made it cancels the task after `seconds`, or when the surrounding deadline comes before; once.

    It is what `asyncio.timeout` does, in less time: it counts the cancellations that are older than itself, and takes
    back its own. Where nothing can be interrupted, in a drive, it has no timer, only `end`.
    """

    outer: "Alarm | None"

    __slots__ = ("_commits", "_counted", "_handle", "_task", "_token", "rang", "timed")

    def __init__(self, seconds: float) -> None:
        # The clock by hand, here and in RateLimiter: this is on the way of every call.
        now = clock.current.monotonic()
        end, nearest = now + seconds, deadline.ambient()
        if nearest is not None and nearest < end:
            end = nearest
        self.end = end
        self.outer = None if nearest is None else _around()
        self.rang = False
        self._commits: Commits | None = None
        loop = asyncio._get_running_loop()
        if loop is None or (clock.driver.get() is not None and clock.driven()):
            # Whether it can interrupt what is awaited.
            self.timed = False
            self._task = None
        else:
            self.timed = True
            self._task = task = asyncio.current_task(loop)
            if task is None:
                raise Misconfigured("A timeout interrupts the task that it is in, and this is no task but a callback.")
            self._counted = task.cancelling() - cancels.is_to_come(task)
            # Not call_later(), which takes half as long again.
            self._handle = loop.call_at(loop.time() + end - now, self._ring)
        self._token = deadline.current.set(self)

    @property
    def over(self) -> bool:
        """Whether it interrupts nobody any more."""
        return self._task is None

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
        try:
            deadline.current.reset(self._token)
        except ValueError:  # a generator that another task closes: this limit stays where the generator was asked
            self.end = _end_of(self._token.old_value)
        task, self._task = self._task, None
        if task is None:
            return False
        self._handle.cancel()
        if not self.rang:
            return False
        return task.uncancel() <= self._counted and isinstance(error, asyncio.CancelledError)

    def watch(self, commit: commits.Commit) -> None:
        """It is under way: who is interrupted meanwhile is told how it ends."""
        if self._commits is None:
            self._commits = {}
        self._commits[commit] = None
        commit.add_done_callback(self._ended)

    def _ended(self, commit: commits.Commit) -> None:
        if not self.rang and self._commits is not None:
            del self._commits[commit]

    def interrupted(self, message: str) -> UnoError:
        """The error for who is told that it took too long: it says so where something is stored, or may be."""
        return commits.interrupted(self._commits, message) if self._commits else TimedOut(message)


def has_rung() -> bool:
    """Whether the limit in which this is has interrupted it."""
    limit = deadline.current.get()
    return isinstance(limit, Alarm) and limit.rang


def _end_of(before: Any) -> float:
    return before.end if isinstance(before, deadline.Limit) else math.inf


def committing(commit: commits.Commit) -> None:
    """A task that commits begins here: the alarms around it, also around the tasks that began this one, know of it."""
    alarm = _around()
    while alarm is not None:
        if not alarm.rang:
            alarm.watch(commit)
        alarm = alarm.outer


def _around() -> Alarm | None:
    """The nearest that may interrupt somebody yet."""
    found = alarm = _ringing(deadline.current.get())
    while alarm is not None:
        # What is over is let go: tasks may begin one another for ever, each in a limit of its own.
        alarm.outer = _ringing(alarm.outer)
        alarm = alarm.outer
    return found


def _ringing(limit: deadline.Limit | None) -> Alarm | None:
    while limit is not None and limit.over:
        limit = limit.outer
    return cast(Alarm | None, limit)  # all others are over
