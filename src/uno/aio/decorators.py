"""What is put around a function: each is a guard of `uno.resilience`, made for this function and named after it.

Their order has a meaning, and every order works: what stands above another one surrounds it.
"""

import math
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from uno import sync
from uno.aio.cancelling import Cancellable, Cleanup
from uno.errors import Misconfigured
from uno.resilience import Bulkhead, RateLimiter, RetryPolicy, Timeout
from uno.resilience.arguments import exceptions_of, require_counts, require_numbers
from uno.resilience.shapes import Guard, Guarded

P = ParamSpec("P")
R = TypeVar("R")


class Decorator:
    """Put it around a function: `decorator(f)`. Around several, each has a guard of its own."""

    __slots__ = ("_guard",)

    def __init__(self, guard: Callable[[str], Guard]) -> None:
        self._guard = guard
        guard("unnamed")  # so that wrong arguments are refused where they are written

    def __call__(self, f: Callable[P, R]) -> Guarded[P, R]:
        return self._guard(getattr(f, "__qualname__", "unnamed").rpartition("<locals>.")[2])(f)


@overload
def cancellable(cleanup: Callable[P, R], /) -> Guarded[P, R]: ...


@overload
def cancellable(*, cleanup: Cleanup | None = None, cleanup_timeout: float = 10.0) -> Decorator: ...


def cancellable(
    f: Callable[..., Any] | None = None, /, *, cleanup: Cleanup | None = None, cleanup_timeout: float = 10.0
) -> Any:
    """What a cancelled call does in `finally`, and then `cleanup(*args, **kwargs)`, is not disturbed.

    Together they have `cleanup_timeout` seconds, and no other deadline; then they are cancelled. Whoever cancels the
    call again meanwhile waits. The cancellation itself is always raised. For async functions only. A timeout further
    out may thus take longer by `cleanup_timeout`; one further inside is no cancellation of the call.
    """
    decorator = _OfAsync(lambda name: Cancellable(cleanup, cleanup_timeout, name=name))
    return decorator if f is None else decorator(f)


class _OfAsync(Decorator):
    __slots__ = ()

    def __call__(self, f: Callable[P, R]) -> Guarded[P, R]:
        given: Any = f
        inner = given.__func__ if isinstance(given, classmethod | staticmethod) else given
        if not sync.is_async(inner):
            raise Misconfigured(f"@cancellable is for async functions: nobody can cancel a call of {f!r}.")
        return super().__call__(f)


@overload
def retry(max_attempts: Callable[P, R], /) -> Guarded[P, R]: ...


@overload
def retry(
    max_attempts: int = 3,
    retry_exceptions: type[Exception] | tuple[type[Exception], ...] = Exception,
    base_delay: float = 0.1,
    max_delay: float = 10.0,
    backoff_factor: float = 2.0,
    *,
    jitter: bool = True,
    budget: float | None = 0.1,
    on_retry: Callable[[Exception, int, float], object] | None = None,
) -> Decorator: ...


def retry(
    max_attempts: Any = 3,
    retry_exceptions: type[Exception] | tuple[type[Exception], ...] = Exception,
    base_delay: float = 0.1,
    max_delay: float = 10.0,
    backoff_factor: float = 2.0,
    *,
    jitter: bool = True,
    budget: float | None = 0.1,
    on_retry: Callable[[Exception, int, float], object] | None = None,
) -> Any:
    """Calls again what failed, `max_attempts` times in all, and raises the last error. A `RetryPolicy`.

    Of `retry_exceptions` those that say that something is broken: `Unavailable`, `TimedOut` and bugs, other errors of
    uno only where they are named; never a cancellation, nor what another retry inside has given up. The delay
    (seconds) is random, up to `base_delay`, and `backoff_factor` times as much each time, up to `max_delay`; nobody
    waits past a deadline. Above a `timeout_handler` each attempt has its time, below it all have it together.
    """
    if not isinstance(max_attempts, int) and callable(max_attempts):
        return retry()(max_attempts)
    require_counts("retry()", max_attempts=max_attempts)
    if max_attempts < 1:
        raise Misconfigured(f"max_attempts of retry() is 1 or more, the first one included, not {max_attempts!r}.")
    require_numbers("retry()", base_delay=base_delay, max_delay=max_delay, backoff_factor=backoff_factor)
    if min(base_delay, max_delay) < 0 or backoff_factor < 1:
        raise Misconfigured(
            "base_delay and max_delay of retry() are 0 seconds or more, and backoff_factor is 1 or more."
        )
    kinds = exceptions_of("retry()", "retry_exceptions", retry_exceptions)

    def guard(name: str) -> Guard:
        return RetryPolicy(
            int(max_attempts) - 1,
            base_delay,
            max_delay,
            backoff_factor,
            kinds,
            jitter=jitter,
            budget=budget,
            name=name,
            on_retry=on_retry,
        )

    return Decorator(guard)


def timeout_handler(timeout_seconds: float, timeout_message: str = "Operation timed out") -> Decorator:
    """Gives each call `timeout_seconds`, or what the deadline around it leaves; then `TimedOut`, with the message.

    Above a `rate_limited` or `concurrent_limited` the time spent waiting there counts, below it does not. A `Timeout`.
    """
    if callable(timeout_seconds):
        raise Misconfigured("@timeout_handler needs the seconds of a call: `@timeout_handler(5.0)`.")
    require_numbers("timeout_handler()", timeout_seconds=timeout_seconds)
    if not timeout_seconds > 0:
        raise Misconfigured(f"timeout_seconds of timeout_handler() is above 0, not {timeout_seconds!r}.")
    if not isinstance(timeout_message, str):
        raise Misconfigured(f"timeout_message of timeout_handler() is a sentence, not {timeout_message!r}.")
    return Decorator(lambda name: Timeout(timeout_seconds, name=name, message=timeout_message))


def rate_limited(operations_per_second: float, burst_limit: float | None = None, *, block: bool = True) -> Decorator:
    """Lets `operations_per_second` calls begin, and `burst_limit` at once after a pause, by default those of a second.

    The others wait, first come first served, or with `block=False` get `RateLimitExceeded`; nobody waits past the
    deadline. Below a `retry` each attempt counts, above it the whole does. A `RateLimiter`.
    """
    if callable(operations_per_second):
        raise Misconfigured("@rate_limited needs a rate: `@rate_limited(operations_per_second=10)`.")
    require_numbers("rate_limited()", operations_per_second=operations_per_second)
    burst = max(1.0, operations_per_second) if burst_limit is None else burst_limit
    require_numbers("rate_limited()", burst_limit=burst)
    if not 0 < operations_per_second < math.inf or burst < 1:
        raise Misconfigured(
            "operations_per_second of rate_limited() is above 0, and burst_limit 1 or more, "
            f"not {operations_per_second!r} and {burst!r}."
        )
    return Decorator(lambda name: RateLimiter(operations_per_second, burst, block, name=name))


def concurrent_limited(max_concurrent: int, *, max_waiting: int | None = None) -> Decorator:
    """Lets `max_concurrent` calls run at a time; the others wait, first come first served.

    Beyond `max_waiting`, None for any number, they get `BulkheadFull`; nobody waits past the deadline. Above a
    `retry` a call keeps its place between attempts, below it does not. A `Bulkhead`.
    """
    if callable(max_concurrent):
        raise Misconfigured("@concurrent_limited needs a number of calls: `@concurrent_limited(max_concurrent=5)`.")
    most = sys.maxsize if max_waiting is None else max_waiting
    return Decorator(lambda name: Bulkhead(max_concurrent, most, name=name))
