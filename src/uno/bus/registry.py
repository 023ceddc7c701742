"""Decorators that say which message a function or class handles. They only mark; nothing is registered."""

import inspect
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, cast, overload

from uno.bus.pipeline import Call, Middleware
from uno.errors import Misconfigured
from uno.messages import Command, DomainEvent, Message, Query
from uno.result import Failure, Success

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")
_Async: TypeAlias = Callable[P, Coroutine[Any, Any, R]]
# A request is an event of a module: typed, with an input and an output.
Kind = Literal["command", "query", "event", "request"]

_MARK = "__uno_handles__"


@dataclass(frozen=True, slots=True)
class Handles:
    """A mark: `handler` handles `message`. `around` makes of the compiled handler what the pipeline calls.

    `owner` is the name of the module that it is a method of, if it is one; `promised` what a request gets,
    and `takes` the class of what its handler is given instead of the message.
    """

    handler: Any
    kind: Kind
    message: type[Any]
    durable: bool = False
    name: str = ""
    middleware: tuple[Middleware, ...] = ()
    around: Callable[[Call], Call] | None = field(default=None, compare=False)
    owner: str = field(default="", compare=False)
    promised: Any = field(default=None, compare=False)
    takes: Any = field(default=None, compare=False)

    @property
    def taken(self) -> Any:
        """The class of the first argument of the handler."""
        return self.message if self.takes is None else self.takes


class _Accepts(Protocol[R]):
    """A decorator for handlers that give back an `R`; it keeps what it decorates."""

    @overload
    def __call__(self, handler: type[C], /) -> type[C]: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, handler: _Async[P, R], /) -> _Async[P, R]: ...

    @overload
    def __call__(self, handler: _Async[P, Success[R] | Failure], /) -> _Async[P, Success[R] | Failure]: ...

    @overload
    def __call__(self, handler: _Async[P, R | Success[R] | Failure], /) -> _Async[P, R | Success[R] | Failure]: ...


def handles_of(target: object) -> tuple[Handles, ...]:
    """The marks on a function or class, outermost decorator last."""
    # Not getattr: a subclass of a handler class does not handle its parent's message.
    marks = vars(target).get(_MARK, ()) if hasattr(target, "__dict__") else ()
    # What another decorator made of a marked handler carries its marks: that is what has to be called.
    return tuple(mark if mark.handler is target else replace(mark, handler=target) for mark in marks)


def _mark(kind: Kind, message: type[Message], middleware: Iterable[Middleware], **options: Any) -> Callable[[Any], Any]:
    given: Any = message
    if not (inspect.isclass(given) and issubclass(given, Message)):
        shown = getattr(given, "__qualname__", None) or repr(given)
        raise Misconfigured(f"@{kind}_handler takes the class of a message, as in @{kind}_handler(DoIt), not {shown}.")

    def mark(handler: Any) -> Any:
        return mark_with(handler, Handles(handler, kind, message, middleware=tuple(middleware), **options))

    return mark


def mark_with(handler: Any, entry: Handles) -> Any:
    """Put another mark on a handler, and give it back."""
    setattr(handler, _MARK, (*handles_of(handler), entry))
    return handler


def command_handler(message: type[Command[R]], *, middleware: Sequence[Middleware] = ()) -> _Accepts[R]:
    """Mark the one handler of a command: an async function, or a class with `async def handle`."""
    return _mark("command", message, middleware)


def query_handler(message: type[Query[R]], *, middleware: Sequence[Middleware] = ()) -> _Accepts[R]:
    """Mark the one handler of a query: an async function, or a class with `async def handle`."""
    return _mark("query", message, middleware)


def event_handler(
    message: type[DomainEvent],
    *,
    durable: bool = False,
    name: str | None = None,
    middleware: Sequence[Middleware] = (),
) -> Callable[[C], C]:
    """Mark a subscriber of an event and of its subclasses.

    In process after the commit, at most once; `durable=True` is delivered by the worker at least
    once, with effects in uno's database exactly once. `name` is the stable stored name of a
    durable subscriber, by default `module.function`.
    """

    def mark(handler: C) -> C:
        stored = name or f"{getattr(handler, '__module__', '?')}.{getattr(handler, '__qualname__', '?')}"
        return cast(C, _mark("event", message, middleware, durable=durable, name=stored)(handler))

    return mark
