"""Who needs whom: declarations by the type they provide, open generics included."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, get_args, get_origin

from uno.di.declaration import Declaration
from uno.di.dependencies import Dependency, parameters_of, plain


def key_of(declaration: Declaration) -> Any:
    """What may be provided once only: the type, or of an open generic its class."""
    return get_origin(declaration.provides) if declaration.open else declaration.provides


def still_open(hint: Any) -> bool:
    """Whether it is generic with a type variable that is not filled in, `type[T]` apart."""
    return bool(get_args(hint) and parameters_of(hint)) and get_origin(hint) is not type


class Graph:
    """The declarations of one provider; of several for one type the first counts."""

    def __init__(self, declarations: Iterable[Declaration]) -> None:
        self.declarations = tuple(declarations)
        self._exact = {d.provides: d for d in reversed(self.declarations)}
        self._open = {get_origin(d.provides): d for d in reversed(self.declarations) if d.open}

    def find(self, hint: Any) -> Declaration | None:
        """Who provides this type."""
        if found := self._exact.get(hint):
            return found
        candidate = self._open.get(get_origin(hint))
        if candidate is None:
            return None
        filled: dict[Any, Any] = {}
        return candidate.filled(hint, filled) if _matches(candidate.provides, hint, filled) else None

    def available(self, hint: Any) -> bool:
        """Whether a parameter of this type gets something; of a type that is still open, whether it may."""
        return get_origin(hint) is type or isinstance(hint, TypeVar) or self._provided(hint)

    def _provided(self, hint: Any) -> bool:
        if self.find(hint):
            return True
        return still_open(hint) and any(get_origin(known) is get_origin(hint) for known in self._exact)

    def injected(self, declaration: Declaration) -> dict[str, Dependency]:
        """The parameters that are filled in: the others keep their default."""
        return {
            name: need
            for name, need in declaration.needs.items()
            if need.annotated and (need.required or self._provided(need.type))
        }

    def needed(self, declaration: Declaration) -> Iterator[Declaration]:
        """The declarations it is made from."""
        for need in self.injected(declaration).values():
            if found := self.find(need.type):
                yield found

    def needs_scope(self, hint: Any) -> bool:
        """Whether making it touches anything that lives in a scope."""
        return self.scoped_path(hint) is not None

    def scoped_path(self, hint: Any) -> tuple[Declaration, ...] | None:
        """The way from this type, through transients, to something that lives in a scope."""
        found = self.find(plain(hint))
        return None if found is None else self._scoped_path(found, set())

    def _scoped_path(self, declaration: Declaration, seen: set[Any]) -> tuple[Declaration, ...] | None:
        if declaration.lifetime == "singleton" or declaration.provides in seen:
            return None
        # A transient that must be closed is closed with a scope, or it would pile up in the provider.
        if declaration.lifetime == "scoped" or declaration.closes or self._undecided(declaration):
            return (declaration,)
        seen.add(declaration.provides)
        for found in self.needed(declaration):
            if path := self._scoped_path(found, seen):
                return (declaration, *path)
        return None

    def _undecided(self, declaration: Declaration) -> bool:
        """A generic transient whose needs are known only when it is filled in: it is always made in a scope."""
        template = self._open.get(get_origin(declaration.provides))
        if template is None or template.source is not declaration.source:
            return False
        needs = self.injected(template).values()
        return any(isinstance(n.type, TypeVar) or (still_open(n.type) and not self.find(n.type)) for n in needs)

    def uses(self, declaration: Declaration, hint: Any) -> bool:
        """Whether it is, or may be, made from this type."""
        origin = get_origin(hint)

        def is_it(found: Declaration) -> bool:
            generic = found.open and found is not declaration and get_origin(found.provides) is origin
            return generic or found.provides == hint

        return self.any_in(declaration, is_it)

    def any_in(self, start: Declaration, matches: Callable[[Declaration], bool]) -> bool:
        """Whether it, or anything it is made from, matches."""
        todo, seen = [start], set()
        while todo:
            declaration = todo.pop()
            if declaration.provides in seen:
                continue
            if matches(declaration):
                return True
            seen.add(declaration.provides)
            todo.extend(self.needed(declaration))
        return False


def _matches(pattern: Any, hint: Any, filled: dict[Any, Any]) -> bool:
    """Whether `Repository[T]` is good for `Repository[Order]`; `filled` becomes what T stands for."""
    if isinstance(pattern, TypeVar):
        return filled.setdefault(pattern, hint) == hint and _within_bounds(pattern, hint)
    if pattern == hint:
        return True
    ours, theirs = get_args(pattern), get_args(hint)
    if get_origin(pattern) is None or get_origin(pattern) is not get_origin(hint) or len(ours) != len(theirs):
        return False
    return all(_matches(a, b, filled) for a, b in zip(ours, theirs, strict=True))


def _within_bounds(variable: TypeVar, hint: Any) -> bool:
    if variable.__constraints__:
        return isinstance(hint, TypeVar) or hint in variable.__constraints__
    bound = get_origin(variable.__bound__) or variable.__bound__
    candidate = get_origin(hint) or hint
    if not inspect.isclass(bound) or not inspect.isclass(candidate) or getattr(bound, "_is_protocol", False):
        return True
    return issubclass(candidate, bound)
