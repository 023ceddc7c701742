"""`@handles`: methods that take the input of an event and return its output."""

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from uno.errors import Misconfigured
from uno.modules.event import Event, is_event
from uno.result import Failure, Success

In = TypeVar("In")
Out = TypeVar("Out")
In_con = TypeVar("In_con", contravariant=True)
S = TypeVar("S")
P = ParamSpec("P")
_MARK = "__uno_event__"
_Given: TypeAlias = Out | Success[Out] | Failure
_Sync: TypeAlias = Callable[Concatenate[S, In, P], _Given[Out]]
_Async: TypeAlias = Callable[Concatenate[S, In, P], Coroutine[Any, Any, _Given[Out]]]


@dataclass(frozen=True, slots=True)
class Handled:
    """The method called `method` handles `event`."""

    event: type[Event[Any, Any]]
    method: str
    inline: bool = False


class _Accepts(Protocol, Generic[In, Out]):
    """A decorator for methods from the input to the output of an event."""

    @overload
    def __call__(self, method: _Async[S, In, P, Out], /) -> _Async[S, In, P, Out]: ...

    @overload
    def __call__(self, method: _Sync[S, In, P, Out], /) -> _Sync[S, In, P, Out]: ...


def handles(event: type[Event[In, Out]], *, inline: bool = False) -> _Accepts[In, Out]:
    """Mark the method of a module that handles `event`: it takes the input and returns the output.

    It may be a coroutine function, and give back a `Success` or `Failure`. In an `App` it may ask
    for more parameters, which are injected. `inline=True`: it is synchronous and never blocks, so
    it runs on the event loop instead of in a thread.
    """

    if not is_event(event):
        raise Misconfigured(f"@handles takes the class of an event, as in @handles(GreetEvent), not {event!r}.")

    def mark(method: Any) -> Any:
        setattr(method, _MARK, (*getattr(method, _MARK, ()), (event, inline)))
        return method

    return mark


def handled_by(cls: type) -> tuple[Handled, ...]:
    """The marked methods of a class and its bases; one that is overridden without a mark does not count."""
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    return tuple(
        Handled(event, name, inline) for name in names for event, inline in _marks(inspect.getattr_static(cls, name))
    )


def overridden(cls: type, event: type[Event[Any, Any]]) -> tuple[str, type] | None:
    """The method marked for `event` that a subclass overrides without a mark, and the class that marked it."""
    marked = ((name, base) for base in cls.__mro__ for name, found in vars(base).items() if _is_for(event, found))
    return next(marked, None)


def _is_for(event: type[Event[Any, Any]], found: Any) -> bool:
    return any(marked is event for marked, _ in _marks(found))


def _marks(found: Any) -> dict[tuple[type[Event[Any, Any]], bool], None]:
    """Those of a method, and of the function in a static or class method, where the decorator may be above or below."""
    if not inspect.isroutine(found):
        return {}
    inner = getattr(found, "__func__", None)
    return dict.fromkeys((*getattr(found, _MARK, ()), *getattr(inner, _MARK, ())))
