"""When a call has to be over: the ambient deadline of `Timeout`, of `uno.aio.timeout` and of the context."""

import math
from contextvars import ContextVar

from uno import clock, context


class Limit:
    """A moment `end` on `clock.monotonic()`, in seconds; `outer` is a limit around it that may still interrupt it."""

    __slots__ = ("end", "outer")

    def __init__(self, end: float, outer: "Limit | None" = None) -> None:
        self.end = end
        self.outer = outer

    @property
    def over(self) -> bool:
        """Whether it interrupts nobody any more."""
        return True


# Set by timeouts; the nearest in time wins. Tasks that are made inside have it, too.
current: ContextVar[Limit | None] = context.left_behind(ContextVar("uno.resilience.deadline", default=None), None)


def ambient() -> float | None:
    """The moment on `clock.monotonic()` by which this has to be over, if there is one."""
    limit, surrounding = current.get(), context.get()
    outer = None if surrounding is None else surrounding.deadline
    if limit is None or (outer is not None and outer < limit.end):
        return outer
    return limit.end if limit.end < math.inf else None


def remaining() -> float | None:
    """Seconds until then; None without a deadline."""
    end = ambient()
    return None if end is None else max(0.0, end - clock.monotonic())
