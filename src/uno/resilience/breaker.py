"""The circuit breaker: stops calling what is broken, and finds out when it works again.

States and names after M. Nygard, "Release It!", chapter 5. Times are on `clock.monotonic()`.
"""

import threading
from collections.abc import Callable
from enum import StrEnum
from inspect import isawaitable
from types import CoroutineType
from typing import Any

from uno import clock
from uno.errors import Misconfigured, Unavailable
from uno.resilience.arguments import COROUTINE, not_a_function, require_counts, require_numbers
from uno.resilience.faults import is_fault, is_verdict
from uno.resilience.shapes import Guard
from uno.result import Failure
from uno.telemetry.signals import emit

# Who waits for exactly `retry_after` must not come too early by a rounding error; in seconds.
_ROUNDING = 1e-6


class CircuitState(StrEnum):
    """CLOSED lets everything through, OPEN nothing, HALF_OPEN a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreakerOpen(Unavailable):
    """The call was not made; after `retry_after` seconds it may be."""

    def __init__(
        self,
        message: str = "The circuit breaker is open.",
        *,
        retry_after: float | None = None,
        breaker: str | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.breaker = breaker


class Ticket:
    """The permission for one call, to be given back with its outcome.

    A ticket stands for the generation in which its call began: what is given back later than the
    state it was issued in says nothing about the present, and is ignored.
    """

    __slots__ = ()


class CircuitBreaker(Guard):
    """Opens after `failure_threshold` failures in a row.

    `recovery_timeout` seconds later it lets through `success_threshold` calls at a time; as many
    successes close it, one failure opens it again. A probe that takes longer than
    `recovery_timeout` counts as failed; with `math.inf` only `reset()` closes it. Counted are
    `Unavailable`, `TimedOut` and bugs, raised or in a `Failure`; a cancelled call says nothing.
    Thread-safe.

    By hand: `ticket = breaker.enter()`, which raises `CircuitBreakerOpen`, then once
    `breaker.leave(ticket, error)`, with None as the error of a success.
    """

    def __init__(
        self,
        name: str | None = None,
        failure_threshold: int = 5,
        recovery_timeout: float = 30.0,
        success_threshold: int = 2,
    ) -> None:
        if not (name is None or isinstance(name, str)):
            raise Misconfigured(f"The first argument of CircuitBreaker is its name; write failure_threshold={name!r}.")
        require_counts("a CircuitBreaker", failure_threshold=failure_threshold, success_threshold=success_threshold)
        require_numbers("a CircuitBreaker", recovery_timeout=recovery_timeout)
        if failure_threshold < 1 or success_threshold < 1 or not recovery_timeout > 0:
            raise Misconfigured("The thresholds of a CircuitBreaker are 1 or more, and its recovery_timeout above 0.")
        self.name = name or "unnamed"
        self.failure_threshold = failure_threshold
        self.recovery_timeout = recovery_timeout
        self.success_threshold = success_threshold
        self._lock = threading.Lock()
        self._state = CircuitState.CLOSED
        # The one ticket of all calls while closed, None in the other states.
        self._pass: Ticket | None = Ticket()
        # Failures in a row while closed, successes while half open.
        self._count = 0
        self._opened = 0.0
        # When the probe with this ticket began, the oldest first.
        self._probes: dict[Ticket, float] = {}
        # What has to be told once the lock is free.
        self._news: list[str] = []

    # ── around a call ──

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives. Raises `CircuitBreakerOpen` instead of calling."""
        if type(f) is COROUTINE:
            raise not_a_function(f)
        ticket = self._pass or self._probe()
        try:
            found = f(*args, **kwargs)
            if type(found) is CoroutineType or isawaitable(found):
                found = await found
        except BaseException as error:
            self.leave(ticket, error)
            raise
        if type(found) is Failure:
            self.leave(ticket, found.error)
        elif self._count or ticket is not self._pass:
            self.leave(ticket)
        return found

    def enter(self) -> Ticket:
        """The permission for a call. Raises `CircuitBreakerOpen`."""
        return self._pass or self._probe()

    def leave(self, ticket: Ticket, error: BaseException | None = None) -> None:
        """The outcome of the call that `ticket` was given for."""
        if error is None and not self._count and ticket is self._pass:
            return  # a success after successes changes nothing
        if error is not None and not is_verdict(error):
            self._forget(ticket)
            return
        failed = error is not None and is_fault(error)
        with self._lock:
            self._advance()
            if ticket is self._pass:
                self._count_closed(failed)
            elif self._probes.pop(ticket, None) is not None:
                self._count_probe(failed)
        self._tell()

    def attempt_failed(self, ticket: Ticket) -> None:
        """An attempt of the call with this `ticket` has failed; the call goes on, and has still to leave."""
        with self._lock:
            self._advance()
            if ticket is self._pass:
                self._count_closed(failed=True)
            elif ticket in self._probes:
                self._count_probe(failed=True)
        self._tell()

    def _forget(self, ticket: Ticket) -> None:
        with self._lock:
            self._advance()
            self._probes.pop(ticket, None)
        self._tell()

    def _probe(self) -> Ticket:
        with self._lock:
            self._advance()
            ticket = self._pass or self._new_probe()
            wait, state = 0.0 if ticket else self._remaining(), self._state
        self._tell()
        if ticket is None:
            emit("breaker.refused", breaker=self.name)
            text = f"The circuit breaker {self.name} is {state.value}; try again in {wait:.1f} s."
            raise CircuitBreakerOpen(text, retry_after=wait, breaker=self.name)
        return ticket

    def _new_probe(self) -> Ticket | None:
        if self._state is not CircuitState.HALF_OPEN or len(self._probes) >= self.success_threshold:
            return None
        ticket = Ticket()
        self._probes[ticket] = clock.monotonic()
        return ticket

    def _remaining(self) -> float:
        """Seconds until a call may be let through; a probe may make room much sooner than it has to."""
        since = self._opened if self._state is CircuitState.OPEN else next(iter(self._probes.values()))
        left = max(0.001, since + self.recovery_timeout - clock.monotonic())
        return left if self._state is CircuitState.OPEN else min(left, 1.0)

    # ── the seed's way: without a ticket ──

    @property
    def state(self) -> CircuitState:
        """The state now: an open breaker is half open once its time has come."""
        with self._lock:
            self._advance()
            state = self._state
        self._tell()
        return state

    def allow_request(self) -> bool:
        """Whether a call may be made; half open, the answer yes takes a place among the probes."""
        try:
            self.enter()
        except CircuitBreakerOpen:
            return False
        return True

    def record_success(self) -> None:
        """A call succeeded; half open, it is the oldest probe."""
        self._record(failed=False)

    def record_failure(self) -> None:
        """A call failed; half open, it is the oldest probe."""
        self._record(failed=True)

    def reset(self) -> None:
        """Close it; the outcomes of calls that are under way are ignored."""
        with self._lock:
            self._become(CircuitState.CLOSED)
        self._tell()

    def _record(self, *, failed: bool) -> None:
        with self._lock:
            self._advance()
            if self._state is CircuitState.CLOSED:
                self._count_closed(failed)
            elif self._state is CircuitState.HALF_OPEN:
                if self._probes:
                    del self._probes[next(iter(self._probes))]
                self._count_probe(failed)
        self._tell()

    # ── the states; all of this under the lock ──

    def _advance(self) -> None:
        """Make up for what time alone has changed since somebody last looked."""
        if self._pass is not None:
            return
        now = clock.monotonic() + _ROUNDING
        if self._state is CircuitState.HALF_OPEN and self._probes:
            expired = next(iter(self._probes.values())) + self.recovery_timeout
            if expired <= now:
                self._open(expired)
        if self._state is CircuitState.OPEN and self._opened + self.recovery_timeout <= now:
            self._become(CircuitState.HALF_OPEN)

    def _count_closed(self, failed: bool) -> None:
        self._count = self._count + 1 if failed else 0
        if self._count >= self.failure_threshold:
            self._open(clock.monotonic())

    def _count_probe(self, failed: bool) -> None:
        if failed:
            self._open(clock.monotonic())
            return
        self._count += 1
        if self._count >= self.success_threshold:
            self._become(CircuitState.CLOSED)

    def _open(self, when: float) -> None:
        self._opened = when
        self._become(CircuitState.OPEN)

    def _become(self, state: CircuitState) -> None:
        if state is not self._state:
            self._news.append(_NEWS[state])
        self._state = state
        self._pass = Ticket() if state is CircuitState.CLOSED else None
        self._count = 0
        self._probes = {}

    def _tell(self) -> None:
        """Outside the lock: whoever hears it may look at the breaker."""
        while self._news:
            try:
                name = self._news.pop(0)
            except IndexError:  # another thread told it
                return
            emit(name, breaker=self.name)

    def __repr__(self) -> str:
        return f"CircuitBreaker({self.name!r}, {self._state.value})"


_NEWS = {
    CircuitState.OPEN: "breaker.opened",
    CircuitState.HALF_OPEN: "breaker.half_opened",
    CircuitState.CLOSED: "breaker.closed",
}
