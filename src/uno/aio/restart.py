"""When a background task that ended is started again, and when that is given up."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from uno import clock
from uno.aio.births import place_of
from uno.errors import Misconfigured, UnoError
from uno.resilience import RetryPolicy
from uno.resilience.arguments import require_counts, require_numbers


class CrashLoop(UnoError):
    """A task ended again and again, so it is not started any more; `restarts` is how often it was."""

    def __init__(self, message: str, *, restarts: int) -> None:
        super().__init__(message)
        self.restarts = restarts


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Starts again what failed, or with `on="always"` what ended, until the process stops.

    It waits up to `base_delay` seconds, the next time up to `exponential_base` times as long, at most
    `max_delay`; what then runs for `within` seconds begins anew. More than `max_restarts` within `within`
    seconds are a crash loop, and the end (None: go on for ever). As supervisors of Erlang/OTP do,
    whose names for the two are intensity and period. What ended well is started `base_delay` seconds later,
    and does not count.
    """

    max_restarts: int | None = 5
    within: float = 300.0
    base_delay: float = 1.0
    max_delay: float = 60.0
    exponential_base: float = 2.0
    jitter: bool = True
    on: Literal["failure", "always"] = "failure"

    def __post_init__(self) -> None:
        require_numbers("a RestartPolicy", within=self.within)
        require_counts("a RestartPolicy", max_restarts=self.max_restarts or 0)
        if not self.within > 0 or (self.max_restarts or 0) < 0:
            raise Misconfigured("within of a RestartPolicy is above 0 seconds, and max_restarts 0 or more, or None.")
        if self.on not in ("failure", "always"):
            raise Misconfigured(f"on of a RestartPolicy is 'failure' or 'always', not {self.on!r}.")
        require_numbers("a RestartPolicy", base_delay=self.base_delay, max_delay=self.max_delay)
        require_numbers("a RestartPolicy", exponential_base=self.exponential_base)
        if min(self.base_delay, self.max_delay) < 0 or self.exponential_base < 1:
            raise Misconfigured(
                "base_delay and max_delay of a RestartPolicy are 0 seconds or more, and exponential_base is 1 or more."
            )

    def delay(self, number: int) -> float:
        """Seconds before the restart with this number (from 0)."""
        retry = RetryPolicy(0, self.base_delay, self.max_delay, self.exponential_base, jitter=self.jitter)
        return retry.calculate_delay(number)


class Restarts:
    """The restarts of one task that calls `work()`: `count` is how often it was started again after a failure.

    `error` is what it ended with the last time, None after a good end.
    """

    # Of those without a limit, remembered for the length of the pause.
    _MOST = 64

    def __init__(self, policy: RestartPolicy, work: Callable[[], object], *, over: bool = False) -> None:
        self.policy = policy
        self._work = work
        # Whether it is not to be started again.
        self.over = over
        self._pausing = self._cut = False
        self.count = 0
        self.error: BaseException | None = None
        self.gave_up = False
        self._recent: deque[float] = deque(maxlen=self._MOST if policy.max_restarts is None else None)

    def next_delay(self, error: BaseException) -> float | None:
        """It has failed: seconds until it is started again, None to give up."""
        self.error = error
        now = clock.monotonic()
        while self._recent and self._recent[0] <= now - self.policy.within:
            self._recent.popleft()
        most = self.policy.max_restarts
        if most is not None and len(self._recent) >= most:
            self.gave_up = True
            return None
        delay = self.policy.delay(len(self._recent))
        self._recent.append(now)
        self.count += 1
        return delay

    @property
    def next_place(self) -> str | None:
        """Where its work begins, between two runs."""
        return place_of(self._work) if self._pausing else None

    async def until_the_next(self) -> None:
        """Wait after a good end."""
        self.error = None
        await self.pause(self.policy.base_delay)

    async def pause(self, seconds: float) -> None:
        """Wait, until `stop()` at most."""
        self._pausing = True
        try:
            await clock.sleep(seconds)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._cut or task is None or task.uncancel():  # somebody else wants it to end
                raise
        finally:
            self._pausing = False

    def stop(self, task: "asyncio.Task[object]") -> None:
        """Do not start it again."""
        self.over = True
        if self._pausing and not task.cancelling():
            self._cut = True
            task.cancel()

    def crash_loop(self, name: str) -> CrashLoop:
        """The error to end with."""
        text = f"The task {name} ended {len(self._recent) + 1} times within {self.policy.within:g} s: it is given up."
        return CrashLoop(text, restarts=self.count)
