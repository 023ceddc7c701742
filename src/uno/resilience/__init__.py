"""What keeps a part that fails from taking the rest along: breakers, limits, retries, fallbacks.

Each is a guard: `await guard.call(f, *args)`, `@guard` on a function, `guard.middleware` around messages.
"""

from typing import TYPE_CHECKING

from uno.extras import Extra, front_door
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

_LIMITS = Extra("resilience", "A shared rate limiter needs limits", ("limits", "redis"), "uno.resilience.shared")

if not TYPE_CHECKING:  # a checker that saw this would believe every name exists
    __all__, __getattr__, __dir__ = front_door(__name__, __all__, {"SharedRateLimiter": _LIMITS})
