"""Which errors say that something is broken, and which only say no."""

import concurrent.futures
import math

from uno.errors import Misconfigured, TimedOut, Unavailable, UnoError, attribute

# They tell that somebody gave up, not that something is broken.
_CANCELLED = concurrent.futures.CancelledError


def is_fault(error: BaseException) -> bool:
    """Whether `error` is `Unavailable`, `TimedOut` or a bug: what breakers and retries count.

    A bug is every exception from outside uno's tree, and `Misconfigured`. An answer such as
    `NotFound` is none: whoever gave it works. Of a group one is enough.
    """
    error = _innermost(error)
    if isinstance(error, ExceptionGroup):
        return any(map(is_fault, error.exceptions))
    if isinstance(error, UnoError):
        return isinstance(error, Unavailable | TimedOut | Misconfigured)
    return isinstance(error, Exception) and not isinstance(error, _CANCELLED)


def is_verdict(error: BaseException) -> bool:
    """Whether `error` says anything about what was called; a cancelled call does not."""
    return isinstance(error, Exception) and not isinstance(error, _CANCELLED)


def told_to_wait(error: BaseException) -> float:
    """The seconds that `error` asks to wait before the next attempt; 0 where it does not say."""
    if isinstance(error, ExceptionGroup):
        return max(map(told_to_wait, error.exceptions))
    if isinstance(error, Unavailable) and "retry_after" not in vars(error):
        return 0.0  # the class's own guess
    said = attribute(error, "retry_after")
    if isinstance(said, bool) or not isinstance(said, int | float) or said != said:
        return 0.0
    try:
        return max(0.0, float(said))
    except OverflowError:
        return math.inf


def _innermost(error: BaseException) -> BaseException:
    """What a module host makes of a handler's error is of that error's kind."""
    seen = {id(error)}
    while isinstance(inner := attribute(error, "original_error"), Exception) and id(inner) not in seen:
        seen.add(id(inner))
        error = inner
    return error
