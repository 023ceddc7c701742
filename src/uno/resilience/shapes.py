"""The three shapes of everything in this room, written once.

A `Guard` says in `call(f, *args)` what it does around one call of `f`. From that come

    await guard.call(f, *args)      around one call of an async function
    guard.run(f, *args)             the same around a synchronous one
    @guard                          around every call of a function, async or not
    guard.middleware                around every message: `async def middleware(message, call_next)`
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial, update_wrapper
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from uno import clock, sync
from uno.errors import Misconfigured
from uno.resilience.arguments import COROUTINE, not_a_function
from uno.sync import is_async

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
R = TypeVar("R")
T = TypeVar("T")
CallNext = Callable[[Any], Awaitable[Any]]
_WAITS = "A synchronous call would have to wait, which stops the running event loop: await it instead."


class Guard:
    """What surrounds a call."""

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives; awaited, where it has to be."""
        raise NotImplementedError

    def run(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """The same for a synchronous `f`, without an event loop; waiting blocks the thread."""
        return finish(self.call(f, *args, **kwargs), f)

    def __call__(self, f: Callable[P, R]) -> "Guarded[P, R]":
        """`f` with this around each of its calls."""
        if isinstance(f, classmethod | staticmethod):
            return cast("Guarded[P, R]", type(f)(self(f.__func__)))
        return guarded(self.call if is_async(f) else self.run, f)

    def middleware(self, message: Any, call_next: CallNext) -> Awaitable[Any]:
        """This around each message of a pipeline; a `Failure` counts as the error it holds."""
        return self.call(call_next, message)


# A partial and not a function, because it can be awaited, and because a call of it costs next to nothing.
class _Guarded(partial[Any]):
    def __await__(self) -> Generator[Any, Any, Any]:
        guard = cast(MethodType, self.func).__self__
        return cast(Guard, guard).call(self.args[0]).__await__()

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)


class Guarded(Generic[P, R]):
    """A function with a guard around it; awaited itself, it is called without arguments.

    For type checkers: at run time it is a `functools.partial`, which `inspect` looks through.
    """

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        raise NotImplementedError

    def __await__(self: "Guarded[[], Coroutine[Any, Any, T]]") -> Generator[Any, Any, T]:
        raise NotImplementedError

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> "Guarded[P, R]": ...

    @overload
    def __get__(self: "Guarded[Concatenate[S, Q], R]", instance: S, owner: type | None = None) -> Callable[Q, R]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        raise NotImplementedError


def guarded(call: Callable[..., Any], f: Callable[P, R]) -> Guarded[P, R]:
    """`f`, called by `call`."""
    if type(f) is COROUTINE:
        raise not_a_function(f)
    if inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f):
        raise Misconfigured(f"{f.__qualname__} is a generator: put the guard around the call that makes each item.")
    return cast("Guarded[P, R]", update_wrapper(_Guarded(call, f), f))


def finish(coroutine: Coroutine[Any, Any, T], f: Any = None) -> T:
    """What `coroutine` returns, run in the current context without an event loop; `f` is what it calls.

    Unlike `uno.sync.drive` it tells nobody, so the function that is called may run a loop of its own.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    try:
        coroutine.throw(Misconfigured(text := _why(f)))
    except StopIteration as end:
        value = end.value
        return value
    coroutine.close()
    raise Misconfigured(text)


def _why(f: Any) -> str:
    """Why a synchronous call did not come to its end."""
    if asyncio._get_running_loop() is not None and not is_async(f):
        return _WAITS
    name = getattr(f, "__qualname__", "What was called")
    return f"{name} is async and needs an event loop: await it there, as in `await guard.call(f, ...)`."


async def pause(seconds: float) -> None:
    """`clock.sleep`, which blocks the thread where there is no event loop."""
    if asyncio._get_running_loop() is None and not sync.driving():
        sync.drive(clock.sleep(seconds))
    else:
        await clock.sleep(seconds)
