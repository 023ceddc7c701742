"""When a call has to be over: the ambient deadline of `Timeout`, of `uno.aio.timeout` and of the context."""

from contextvars import ContextVar

from uno import clock, context

# On `clock.monotonic()`, in seconds; set by Timeout, the nearest in time wins.
current: ContextVar[float | None] = context.left_behind(ContextVar("uno.resilience.deadline", default=None), None)


def ambient() -> float | None:
    """The moment on `clock.monotonic()` by which this has to be over, if there is one."""
    inner = current.get()
    surrounding = context.get()
    outer = None if surrounding is None else surrounding.deadline
    if inner is None or (outer is not None and outer < inner):
        return outer
    return inner


def remaining() -> float | None:
    """Seconds until then; None without a deadline."""
    end = ambient()
    return None if end is None else max(0.0, end - clock.monotonic())
