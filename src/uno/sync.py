"""Asynchronous code for synchronous callers: written once, driven here.

`drive(coroutine)` runs a coroutine that never has to wait for an event loop to its end, without
one. `clock.sleep` blocks the thread there; anything else that suspends is an error.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any, NoReturn, TypeVar

from uno import clock
from uno.errors import Misconfigured

T = TypeVar("T")


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """What `coroutine` returns, run in a copy of the current context.

    Raises `Misconfigured` if it awaits something that only an event loop can give.
    """
    return copy_context().run(_run, coroutine)


def driver(call: Callable[[Any], Awaitable[T]]) -> Callable[[Any], T]:
    """A function that drives `call(argument)`; to be run in a copied context: `copy_context().run(f, argument)`.

    Made once for a `call`, it is quicker than `drive`.
    """
    mark, running_loop, none = clock.driver.set, asyncio._get_running_loop, clock.NO_LOOP

    def enter(argument: Any) -> T:
        mark(running_loop() or none)
        coroutine: Any = call(argument)
        try:
            coroutine.send(None)
        except StopIteration as end:
            value: T = end.value
            return value
        _refuse(coroutine)

    return enter


def is_async(f: Any) -> bool:
    """Whether a call of `f` itself gives something to await; what `f` wraps does not count."""
    return inspect.iscoroutinefunction(f) or inspect.iscoroutinefunction(getattr(type(f), "__call__", None))  # noqa: B004


def driving() -> bool:
    """Whether this code runs inside a drive."""
    return clock.driven()


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    clock.driver.set(asyncio._get_running_loop() or clock.NO_LOOP)
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    _refuse(coroutine)


def _refuse(coroutine: Coroutine[Any, Any, Any]) -> NoReturn:
    coroutine.close()
    name = getattr(coroutine, "__qualname__", repr(coroutine)).rpartition("<locals>.")[2]
    raise Misconfigured(f"{name} has to wait for an event loop, so it cannot be run synchronously: await it instead.")
