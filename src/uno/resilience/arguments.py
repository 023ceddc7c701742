"""What guards are made with and called with, looked at before anything happens."""

import math
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from uno.errors import Misconfigured
from uno.redact import said

# What a call is not made of: to type checkers nobody can pass one for a function.
COROUTINE: Any = CoroutineType


def require_numbers(owner: str, **given: Any) -> None:
    """Raises `Misconfigured` for what cannot be compared with a number."""
    for name, value in given.items():
        if not _is_number(value):
            raise Misconfigured(f"{name} of {owner} is a number, not {said(value)}.")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:  # an integer that no float can hold
        return False


def require_counts(owner: str, **given: Any) -> None:
    """Raises `Misconfigured` for what nobody can count to."""
    require_numbers(owner, **given)
    for name, value in given.items():
        if value % 1 != 0:
            raise Misconfigured(f"{name} of {owner} is a whole number, not {value!r}.")


def exceptions_of(owner: str, name: str, given: Any) -> tuple[type[Exception], ...]:
    """What `except` takes, of one class or several; raises `Misconfigured` for what is no class of Exception."""
    found: tuple[Any, ...] = tuple(given) if isinstance(given, tuple | list) else (given,)
    for kind in found:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise Misconfigured(f"{name} of {owner} is a class of Exception or a tuple of them, and {kind!r} is none.")
    return found


def not_a_function(coroutine: Any) -> Misconfigured:
    """For who writes `guard.call(f(1))`: the guard itself has to make the call."""
    name = coroutine.__qualname__
    coroutine.close()
    return Misconfigured(f"Pass the function and its arguments, not its call: `guard.call({name}, ...)`.")


def require_function(owner: str, name: str, given: Callable[..., Any] | None) -> None:
    """Raises `Misconfigured` for what cannot be called."""
    if given is not None and not callable(given):
        raise Misconfigured(f"{name} of {owner} is a function, not {given!r}.")
