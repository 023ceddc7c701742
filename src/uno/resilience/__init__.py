"""What keeps a part that fails from taking the rest along: breakers, limits, retries, fallbacks.

Each is a guard: `await guard.call(f, *args)`, `@guard` on a function, `guard.middleware` around messages.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from uno.errors import Misconfigured
from uno.resilience.breaker import CircuitBreaker, CircuitBreakerOpen, CircuitState
from uno.resilience.bulkhead import Bulkhead, BulkheadFull
from uno.resilience.dead import DeadLetterEntry, DeadLetterQueue
from uno.resilience.fallback import Fallback
from uno.resilience.limit import RateLimiter, RateLimitExceeded
from uno.resilience.retry import RetryPolicy
from uno.resilience.timeout import Timeout

if TYPE_CHECKING:
    from uno.resilience.shared import SharedRateLimiter

__all__ = [
    "Bulkhead",
    "BulkheadFull",
    "CircuitBreaker",
    "CircuitBreakerOpen",
    "CircuitState",
    "DeadLetterEntry",
    "DeadLetterQueue",
    "Fallback",
    "RateLimitExceeded",
    "RateLimiter",
    "RetryPolicy",
    "SharedRateLimiter",
    "Timeout",
]


def __getattr__(name: str) -> Any:
    if name != "SharedRateLimiter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("limits") is None or find_spec("redis") is None:
        raise Misconfigured("A shared rate limiter needs limits: run `python -m pip install 'uno[resilience]'`.")
    found = globals()[name] = import_module("uno.resilience.shared").SharedRateLimiter
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
