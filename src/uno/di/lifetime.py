"""How long a service lives: marks on classes and factories, read when a provider is built."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar, overload

from uno.errors import Misconfigured

Lifetime: TypeAlias = Literal["singleton", "scoped", "transient"]
MARK = "__uno_provide__"

_Marked = TypeVar("_Marked", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Provide:
    """What a mark says: how long the service lives and, if not by its own type, as what it is asked for."""

    lifetime: Lifetime
    provides: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An instance that exists already, asked for as `provides`; `module` is where it was declared."""

    instance: Any = field(repr=False)
    provides: Any
    module: str


class _Mark:
    """A decorator for classes, functions and generator functions, bare or called; it gives back what it was given."""

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime: Lifetime = lifetime
        self.__name__ = lifetime

    @overload
    def __call__(self, target: _Marked, /) -> _Marked: ...
    @overload
    def __call__(self, /, *, provides: Any = None) -> Callable[[_Marked], _Marked]: ...
    def __call__(self, target: Any = None, /, *, provides: Any = None) -> Any:
        def mark(found: _Marked) -> _Marked:
            if earlier := mark_of(found):
                raise Misconfigured(
                    f"{found.__qualname__} is marked @{earlier.lifetime} and @{self._lifetime}: keep one of them."
                )
            setattr(found, MARK, Provide(self._lifetime, provides))
            return found

        return mark if target is None else mark(target)

    def __repr__(self) -> str:
        return f"uno.di.{self._lifetime}"


singleton = _Mark("singleton")
scoped = _Mark("scoped")
transient = _Mark("transient")


def value(instance: object, provides: Any = None) -> Value:
    """Provide an instance that exists already, as `provides` or as its own class. It is not closed by the provider."""
    module: str = sys._getframe(1).f_globals.get("__name__", "")
    return Value(instance, type(instance) if provides is None else provides, module)


def mark_of(target: object) -> Provide | None:
    """The mark on the object itself: one inherited from a base class does not count."""
    found = getattr(target, "__dict__", {}).get(MARK)
    return found if isinstance(found, Provide) else None
