"""Hooks: functions that run when entities of a class are written, in the transaction that writes them.

    @hooks.before_insert(Order)
    async def number(order: Order) -> None: ...

A hook takes the entity, may be sync or async, and uses `Repository(Other)` of the unit of work that
writes. Hooks of a class are those of its subclasses too. By `order`, then base classes first, then as
they were registered. An error, or a `Failure` that is returned, undoes everything.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from itertools import count
from typing import Any, Literal, Protocol, TypeVar

from uno.errors import Misconfigured

F = TypeVar("F", bound=Callable[..., Any])
Moment = Literal[
    "before_insert", "after_insert", "before_update", "after_update",
    "before_delete", "after_delete", "before_restore", "after_restore",
]  # fmt: skip


class Decorator(Protocol):
    """Gives the function back unchanged."""

    def __call__(self, function: F, /) -> F: ...


@dataclass(frozen=True, slots=True)
class Hook:
    """One function at one moment of a class; `waits` says that it is async."""

    moment: Moment
    function: Callable[[Any], Any]
    waits: bool
    order: int
    sequence: int

    @property
    def name(self) -> str:
        return _name(self.function)


Hooks = Mapping[Moment, Sequence[Hook]]
# By class; empty as long as nobody has hooks, which is the one thing a commit asks.
registered: dict[type, list[Hook]] = {}
_resolved: dict[type, Hooks] = {}
_sequence = count()


def before_insert(cls: type, *, order: int = 0) -> Decorator:
    """Before a new entity is written; it may still be changed."""
    return _decorator("before_insert", cls, order)


def after_insert(cls: type, *, order: int = 0) -> Decorator:
    """After a new entity was written; what the database generates is there."""
    return _decorator("after_insert", cls, order)


def before_update(cls: type, *, order: int = 0) -> Decorator:
    """Before changes are written; it may still be changed, without another run of these hooks."""
    return _decorator("before_update", cls, order)


def after_update(cls: type, *, order: int = 0) -> Decorator:
    """After changes were written."""
    return _decorator("after_update", cls, order)


def before_delete(cls: type, *, order: int = 0) -> Decorator:
    """Before an entity is deleted, for good or softly."""
    return _decorator("before_delete", cls, order)


def after_delete(cls: type, *, order: int = 0) -> Decorator:
    """After an entity was deleted, for good or softly."""
    return _decorator("after_delete", cls, order)


def before_restore(cls: type, *, order: int = 0) -> Decorator:
    """Before an entity that was softly deleted comes back."""
    return _decorator("before_restore", cls, order)


def after_restore(cls: type, *, order: int = 0) -> Decorator:
    """After an entity that was softly deleted came back."""
    return _decorator("after_restore", cls, order)


def of(cls: type) -> Hooks:
    """The hooks of a class and its bases, in the order in which they run; falsy where there are none."""
    found = _resolved.get(cls)
    return _resolve(cls) if found is None else found


def remove(function: Callable[..., Any]) -> None:
    """Take a function back, from all classes and moments; `Misconfigured` where it is no hook."""
    if not any(hook.function == function for found in registered.values() for hook in found):
        raise Misconfigured(f"{_name(function)} is no hook.")
    for cls, found in list(registered.items()):
        found[:] = [hook for hook in found if hook.function != function]
        if not found:
            del registered[cls]
    _resolved.clear()


def _decorator(moment: Moment, cls: type, order: int) -> Decorator:
    if not isinstance(cls, type):
        raise Misconfigured(f"hooks.{moment} takes a class; write @hooks.{moment}(Order), not {_name(cls)}.")
    if not isinstance(order, int):
        raise Misconfigured(f"The order of a hook is an int, not {order!r}.")

    def register(function: F) -> F:
        _check(moment, cls, function)
        waits = iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)
        found = registered.setdefault(cls, [])
        found.append(Hook(moment, function, waits, order, next(_sequence)))
        _resolved.clear()
        return function

    return register


def _check(moment: Moment, cls: type, function: Any) -> None:
    if not callable(function) or isinstance(function, type):
        raise Misconfigured(f"hooks.{moment}({cls.__qualname__}) takes a function, not {_name(function)}.")
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise Misconfigured(f"The hook {_name(function)} has a yield, so it would never run.")
    try:
        signature(function).bind(None)
    except (TypeError, ValueError):
        raise Misconfigured(f"The hook {_name(function)} has to take one argument: the {cls.__qualname__}.") from None
    if any(hook.moment == moment and hook.function == function for hook in registered.get(cls, ())):
        raise Misconfigured(f"The hook {_name(function)} is registered twice: {moment} of {cls.__qualname__}.")


def _resolve(cls: type) -> Hooks:
    bases = [base for base in reversed(cls.__mro__) if base in registered]
    ranked = [(hook.order, rank, hook.sequence, hook) for rank, base in enumerate(bases) for hook in registered[base]]
    ranked.sort(key=lambda one: one[:3])
    found: dict[Moment, list[Hook]] = {}
    for *_, hook in ranked:
        found.setdefault(hook.moment, []).append(hook)
    _resolved[cls] = found
    return found


def _name(given: Any) -> str:
    return getattr(given, "__qualname__", None) or repr(given)
