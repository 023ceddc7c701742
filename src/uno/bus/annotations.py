"""Where two annotations contradict each other. What is not certain is no contradiction."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from numbers import Number
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from uno.result import Failure, Success


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function; empty where one cannot be read, which is reported with its parameter."""
    try:
        return get_type_hints(function)
    except (NameError, TypeError):
        return {}


def contradicts(said: Any, promised: Any) -> bool:
    """Whether both are classes, and nothing can be of both; a `Result`, an `Awaitable`, `| None` count for nothing."""
    here, there = set(_classes(said)), set(_classes(promised))
    if len(here) != 1 or len(there) != 1:
        return False
    first, second = here.pop(), there.pop()
    try:
        return not (issubclass(first, second) or issubclass(second, first) or _are_numbers(first, second))
    except TypeError:  # a protocol or a typed dictionary, which says nothing of classes
        return False


def _are_numbers(first: type, second: type) -> bool:
    # An int is a float to type checkers, and in JSON.
    return issubclass(first, Number) and issubclass(second, Number)


def _classes(hint: Any) -> Iterator[type]:
    """The classes of what is given; `object` for what is none."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        for one in arguments:
            if one not in (NoneType, Failure):
                yield from _classes(one)
    elif origin in (Annotated, Success):
        yield from _classes(arguments[0])
    elif origin in (Awaitable, Coroutine):
        yield from _classes(arguments[-1])
    else:
        certain = inspect.isclass(hint) and not arguments and hint not in (Any, Success, Failure)
        yield hint if certain else object
