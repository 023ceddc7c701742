"""Things of one name have one set of settings: who asks for it with others is told."""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypedDict

from uno.errors import Misconfigured

_NOTHING = object()


class BreakerSettings(TypedDict, total=False):
    """Those of a `CircuitBreaker`; the time is seconds."""

    failure_threshold: int
    recovery_timeout: float
    success_threshold: int


class LimiterSettings(TypedDict, total=False):
    """Those of a `RateLimiter`; `rate` is calls a second."""

    rate: float
    burst: float
    block: bool
    max_keys: int


class BulkheadSettings(TypedDict, total=False):
    """Those of a `Bulkhead`."""

    max_concurrent: int
    max_waiting: int


def require_same(name: str, there: object, settings: Mapping[str, Any]) -> None:
    """Raises `Misconfigured` where `there` was made with other `settings`, which are attributes of it."""
    for setting, wanted in settings.items():
        has = getattr(there, setting, _NOTHING)
        kind = type(there).__name__
        if has is _NOTHING:
            raise Misconfigured(f"A {kind} has no setting {setting!r}.")
        if not same(has, wanted):
            raise Misconfigured(
                f"The {kind} {name!r} has {setting}={shown(has)}, and is asked for with {shown(wanted)} here: all who "
                "share a name share its settings. Leave the setting out here, or take another name."
            )


def same(one: Any, other: Any) -> bool:
    """Equal; of functions made by one line of code, whether they enclose the same."""
    if one == other:
        return True
    if isinstance(one, partial) and isinstance(other, partial):
        return same(one.func, other.func) and one.args == other.args and one.keywords == other.keywords
    code = getattr(one, "__code__", None)
    return code is not None and code is getattr(other, "__code__", None) and _enclosed(one) == _enclosed(other)


def _enclosed(function: Any) -> tuple[Any, ...]:
    cells = getattr(function, "__closure__", None) or ()
    return (getattr(function, "__defaults__", None), *(cell.cell_contents for cell in cells))


def shown(value: Any) -> str:
    return getattr(value, "__qualname__", None) or repr(value)
