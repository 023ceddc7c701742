"""What a host puts around its events, as middleware: from the outside in `gated`, `accounted`, `retried`.

Each is made once for an event type, and None where the configuration asks for nothing of it.
"""

import logging
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, TypeAlias

from uno.bus.pipeline import Call, Middleware
from uno.errors import TimedOut
from uno.modules.chain import AnyEvent, blamed
from uno.modules.config import ModuleHostConfig
from uno.modules.errors import EventUnhandled
from uno.modules.metrics import Metrics
from uno.modules.module import Module, label
from uno.redact import one_line
from uno.resilience import CircuitBreakerOpen, RateLimitExceeded, Timeout
from uno.resilience.breaker import Ticket
from uno.resilience.faults import is_fault
from uno.resilience.timeout import FinishedLate
from uno.result import Failure
from uno.telemetry import inject_trace_context
from uno.telemetry.logs import get_logger

log = get_logger("uno.modules")
Progress: TypeAlias = dict[int, AnyEvent]


class Underway:
    """What a host knows of the events it is handling, by their `id`; events and errors are the user's."""

    __slots__ = ("attempts", "tickets")

    def __init__(self) -> None:
        # The breaker's, for the call as a whole.
        self.tickets: dict[int, Ticket] = {}
        # How many have failed, of what is repeated.
        self.attempts: dict[int, int] = {}


def label_of(event: AnyEvent) -> str:
    """How an event is called in logs; its name may come from outside."""
    return one_line(event.name or type(event).__qualname__)


def gated(config: ModuleHostConfig, metrics: Metrics, underway: Underway) -> Middleware | None:
    """Lets in what the rate limiter and then the circuit breaker let in; one function for both, because each costs."""
    limiter, breaker = config.rate_limiter, config.circuit_breaker
    if limiter is None and breaker is None:
        return None

    # A shared limiter has to ask somebody each time.
    at_once = getattr(limiter, "try_acquire", None)
    tickets = underway.tickets

    async def gate(event: Any, call_next: Call) -> Any:
        # A refusal is raised before the event counts as dispatched.
        try:
            if limiter is not None and (at_once is None or at_once()):
                await limiter.acquire_async()
            ticket = None if breaker is None else breaker.enter()
        except RateLimitExceeded:
            metrics.events_rate_limited += 1
            raise
        except CircuitBreakerOpen:
            metrics.events_circuit_broken += 1
            raise
        if breaker is None or ticket is None:
            return await call_next(event)
        key = id(event)
        tickets[key] = ticket
        try:
            found = await call_next(event)
        except BaseException as error:
            breaker.leave(ticket, error)
            raise
        finally:
            tickets.pop(key, None)  # not there if the same object came a second time, meanwhile
        breaker.leave(ticket, found.error if found.__class__ is Failure else None)
        return found

    return gate


def retried(config: ModuleHostConfig, metrics: Metrics, underway: Underway) -> Middleware | None:
    """Calls again what failed, as often as the policy says."""
    policy = config.retry_policy
    if policy is None:
        return None
    breaker, dead = config.circuit_breaker, config.dead_letter_queue

    async def repeat(event: Any, call_next: Call) -> Any:
        before = policy.begin()
        try:
            found = await call_next(event)
        except Exception as error:  # repeated, or raised again by the policy
            failed: Any = error
        else:
            if found.__class__ is not Failure:
                return found
            failed = found

        def afresh() -> Any:
            event.output, event.handled = None, False
            return call_next(event)

        try:
            return await policy.again(failed, before, afresh, decide=partial(decide, id(event)))
        finally:
            del failed  # its traceback holds this frame

    def decide(key: int, error: Exception, attempt: int, *, before: int) -> float | None:
        if dead is not None:
            underway.attempts[key] = attempt + 1
        delay = policy.next_delay(error, attempt, before=before)
        if delay is None:
            return None
        metrics.events_retried += 1
        # The last attempt is the outcome, of which the breaker learns by itself.
        ticket = None if breaker is None else underway.tickets.get(key)
        if breaker is not None and ticket is not None and is_fault(error):
            breaker.attempt_failed(ticket)
        return delay

    return repeat if policy.deadline is None else _in_time(repeat, Timeout(policy.deadline))


def _in_time(middleware: Middleware, timeout: Timeout) -> Middleware:
    async def limit(event: Any, call_next: Call) -> Any:
        try:
            return await timeout.call(middleware, event, call_next)
        except FinishedLate as late:
            return late.value  # it may be stored by now, and must not be done again
        except TimedOut as error:  # an error of the handler, not a refusal of the host
            event.output, event.handled = None, False
            return Failure(error)

    return limit


def tracked(progress: Progress, numbers: "count[int]") -> Middleware:
    """Knows which events are being handled."""

    async def track(event: Any, call_next: Call) -> Any:
        number = next(numbers)
        progress[number] = event
        try:
            if log.isEnabledFor(logging.DEBUG):
                log.debug("Dispatching event %s", label_of(event))
            return await call_next(event)
        finally:
            # No call of a function here: it would fail where the handler has used up the stack.
            del progress[number]

    return track


class Account:
    """What becomes of the events of one type: counts, hooks, dead letters."""

    def __init__(
        self, config: ModuleHostConfig, metrics: Metrics, only: Module | None, attempts: dict[int, int]
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._only = only
        self._attempts = attempts

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to know."""
        c = self._config
        told = (c.on_error, c.on_event_start, c.on_event_end, c.dead_letter_queue)
        return c.enable_metrics or c.enable_tracing or any(one is not None for one in told)

    def middleware(self, progress: Progress, numbers: "count[int]") -> Middleware:
        """`tracked` and all of this in one function, because each costs."""
        config, metrics = self._config, self._metrics
        attempts = self._attempts
        tracing, on_start, on_end = config.enable_tracing, config.on_event_start, config.on_event_end

        # The counts are exact with threads, too: Python switches between them at calls and jumps only.
        async def account(event: Any, call_next: Call) -> Any:
            metrics.events_dispatched += 1
            number = next(numbers)
            progress[number] = event
            try:
                if log.isEnabledFor(logging.DEBUG):
                    log.debug("Dispatching event %s", label_of(event))
                if tracing:
                    inject_trace_context(event)
                if on_start is not None:
                    called("on_event_start", on_start, event)
                found = await call_next(event)
                if found.__class__ is Failure:
                    self._refused(event, found.error)
                else:
                    metrics.events_handled += 1
                return found
            except Exception as error:  # raised again; also for counts, dead letters and `on_error`
                self.failed(event, error)
                raise
            except BaseException:  # cancelled or told to exit: nothing to repeat, but not handled either
                metrics.events_failed += 1
                raise
            finally:
                # First, and without a call of a function: that would fail where the handler has used up the stack.
                del progress[number]
                if attempts:
                    attempts.pop(id(event), None)
                if on_end is not None:
                    called("on_event_end", on_end, event, event.handled)

        return account

    def _refused(self, event: AnyEvent, error: Exception) -> None:
        if isinstance(error, EventUnhandled):
            self._metrics.events_unhandled += 1
        else:
            self.failed(event, error)

    def failed(self, event: AnyEvent, error: Exception) -> None:
        """Count it, keep it as a dead letter, tell the hook."""
        self._metrics.events_failed += 1
        queue = self._config.dead_letter_queue
        if queue is not None:
            module = blamed(error, self._only)
            name = "" if module is None else label(module)
            queue.add(event, error, module_name=name, attempts=self._attempts.get(id(event), 1))
            self._metrics.events_dead_lettered += 1
        if self._config.on_error is not None:
            called("on_error", self._config.on_error, error, event)


def called(name: str, hook: Callable[..., Any], *arguments: Any) -> None:
    """Call a hook of the user's."""
    try:
        hook(*arguments)
    except Exception:  # a hook must not break the event it watches; the log shows it
        log.exception("The hook %s failed", name)
