"""Asynchronous code for synchronous callers: written once, driven here.

`drive(coroutine)` runs a coroutine that never has to wait for an event loop to its end, without
one. `clock.sleep` blocks the thread there; anything else that suspends is an error.
"""

from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

from uno import clock
from uno.errors import Misconfigured

T = TypeVar("T")


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """What `coroutine` returns, run in a copy of the current context.

    Raises `Misconfigured` if it awaits something that only an event loop can give.
    """
    return copy_context().run(_run, coroutine)


def driving() -> bool:
    """Whether this code runs inside a `drive`."""
    return clock.blocking.get()


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    clock.blocking.set(True)
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coroutine.close()
    name = getattr(coroutine, "__qualname__", repr(coroutine)).rpartition("<locals>.")[2]
    raise Misconfigured(f"{name} has to wait for an event loop, so it cannot be run synchronously: await it instead.")
