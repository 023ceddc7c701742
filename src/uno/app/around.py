"""Whether something can stand around messages: `async def middleware(message, call_next)`."""

import inspect
from typing import Any

from uno.bus import Middleware, per_message
from uno.bus.handler import name_of
from uno.errors import Misconfigured, Problem

_FORM = "it has the form `async def middleware(message, call_next)`"


def middleware_problem(given: Any, where: str) -> Problem | None:
    """What is wrong with a middleware of `where`, if anything."""
    text = _wrong_factory(given.factory) if isinstance(given, per_message) else _wrong(given)
    return Problem("wrong middleware", where, text) if text else None


def checked(given: Middleware) -> Middleware:
    """`given`; what a `per_message` makes is looked at when pipelines are composed."""
    if not isinstance(given, per_message):
        return given
    factory = given.factory

    def make(message: type[Any]) -> Middleware | None:
        made = factory(message)
        wrong = "" if made is None else _wrong(made)
        if wrong:
            raise Misconfigured(f"{name_of(factory)} made this for {name_of(message)}: {wrong}")
        return made

    return per_message(make)


def _wrong_factory(factory: Any) -> str:
    if takes(factory, 1):
        return ""
    return f"per_message takes a function of the class of a message, not {_shown(factory)}."


def _wrong(given: Any) -> str:
    if inspect.isclass(given):
        return f"{_shown(given)} is a class; make one of it: {_shown(given)}(...)."
    if takes(given, 2):
        return ""
    # A guard is callable, too: with the function that it decorates.
    if callable(getattr(given, "middleware", None)):
        return f"{_shown(given)} is no middleware itself; put `.middleware` behind it."
    return f"{_shown(given)} is no middleware; {_FORM}."


def _shown(given: Any) -> str:
    # Not the repr of an object: it may be long, and say nothing.
    return name_of(given if hasattr(given, "__qualname__") else type(given))


def takes(given: Any, arguments: int) -> bool:
    """Whether it can be called with so many; what says nothing of its arguments may be."""
    if not callable(given):
        return False
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(arguments))
    except TypeError:
        return False
    return True
