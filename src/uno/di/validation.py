"""What is wrong with a graph of declarations: everything at once, each with the way to it.

dishka's own validation stops at the first problem and calls a captive dependency missing.
"""

import inspect
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, get_args, get_origin

from uno.di.declaration import Declaration
from uno.di.dependencies import Dependency, name_of
from uno.di.graph import Graph, key_of
from uno.errors import Problem


class Validation:
    """`problems` of the declarations, in a stable order."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._walk = _Walk(graph, {}, set())
        inner = {found.provides for declaration in graph.declarations for found in graph.needed(declaration)}
        # Those nobody needs come first, so that paths begin where a reader would begin.
        for declaration in sorted(graph.declarations, key=lambda d: d.provides in inner):
            self._walk.visit(declaration)
        self.problems = (*_duplicates(graph), *self._walk.problems.values())

    def added_by(self, declaration: Declaration) -> list[Problem]:
        """The problems that this one, not itself part of the graph, adds to those of the graph."""
        walk = _Walk(self._graph, dict(self._walk.problems), set(self._walk.done))
        walk.visit(declaration)
        return [problem for key, problem in walk.problems.items() if key not in self._walk.problems]


class _Walk:
    """Depth first over the graph; `problems` are kept by what they are about, so none is there twice."""

    def __init__(self, graph: Graph, problems: dict[Any, Problem], done: set[Any]) -> None:
        self.graph = graph
        self.problems = problems
        self.done = done
        self._path: list[Declaration] = []

    def visit(self, declaration: Declaration) -> None:
        if declaration.provides in self.done:
            return
        at = next((n for n, d in enumerate(self._path) if d.provides == declaration.provides), None)
        if at is not None:
            self._cyclic(self._path[at:])
            return
        self._path.append(declaration)
        for name, need in declaration.needs.items():
            self._check(declaration, name, need)
        self._path.pop()
        self.done.add(declaration.provides)

    def _check(self, owner: Declaration, name: str, need: Dependency) -> None:
        if not need.annotated:
            if need.required:
                self._unannotated(owner, name)
            return
        found = self.graph.find(need.type)
        if found is None:
            if need.required and not self.graph.available(need.type):
                self._missing(owner, name, need.type)
            return
        if owner.lifetime == "singleton" and (path := self.graph.scoped_path(need.type)):
            self._captive(owner, name, path)
        self.visit(found)

    def _missing(self, owner: Declaration, name: str, hint: Any) -> None:
        wanted = name_of(hint)
        fix = _nearest(self.graph, hint) or (
            f"mark a class or a factory for it with @singleton, @scoped or @transient, or pass value(…, {wanted})."
        )
        message = f"{owner.name} needs it as `{name}` and nothing provides it: {fix}"
        self._add(
            ("missing", owner.source, name, hint), Problem("missing provider", wanted, message, self._drawn(wanted))
        )

    def _unannotated(self, owner: Declaration, name: str) -> None:
        message = (
            f"The parameter `{name}` says nothing it could be resolved by: "
            "annotate it with the type it needs, or give it a default."
        )
        where = f"{owner.name}({name})"
        self._add(("unannotated", owner.source, name), Problem("unannotated parameter", where, message, self._drawn()))

    def _captive(self, owner: Declaration, name: str, path: tuple[Declaration, ...]) -> None:
        held = path[-1]
        what = "is closed with its scope" if held.lifetime == "transient" else f"is {_lifetime(held)}"
        message = (
            f"{owner.name} is a singleton and would keep one {held.name} for ever, but {held.name} {what}: "
            f"mark {owner.name} @scoped, or take {held.name} where it is used."
        )
        drawn = self._drawn(*(d.name for d in path))
        self._add(
            ("captive", owner.source, name, held.provides), Problem("captive dependency", owner.name, message, drawn)
        )

    def _cyclic(self, cycle: list[Declaration]) -> None:
        names = [d.name for d in cycle]
        first = names.index(min(names))
        names = [*names[first:], *names[:first]]
        message = (
            "Each of them needs the next one before it can be made: "
            "move what they share into a third, or let one take what it needs where it uses it."
        )
        key = ("cyclic", frozenset(d.provides for d in cycle))
        self._add(key, Problem("cyclic dependency", names[0], message, (*names, names[0])))

    def _drawn(self, *more: str) -> tuple[str, ...]:
        return (*(d.name for d in self._path), *more)

    def _add(self, key: Any, problem: Problem) -> None:
        self.problems.setdefault(key, problem)


def _lifetime(declaration: Declaration) -> str:
    return "another one for each message" if declaration.ambient else declaration.lifetime


def _duplicates(graph: Graph) -> Iterable[Problem]:
    by_key: dict[Any, list[Declaration]] = defaultdict(list)
    for declaration in graph.declarations:
        by_key[key_of(declaration)].append(declaration)
    for same in by_key.values():
        if len(same) > 1:
            makers = " and by ".join(d.made_by for d in same)
            message = f"It is provided by {makers}: keep one, or give each a type of its own with provides=."
            yield Problem("duplicate provider", same[0].name, message)


def _nearest(graph: Graph, hint: Any) -> str | None:
    """A better fix than a new provider, where something close is there already."""
    for declaration in graph.declarations:
        source = declaration.source
        if declaration.open and get_origin(declaration.provides) is hint:
            return f"it is generic, ask for {name_of(hint)}[…] with its type."
        if source is hint:
            return f"{name_of(hint)} is provided as {declaration.name}, ask for that."
        if _is_subclass(source, hint):
            return f"{name_of(source)} is one, mark it with provides={name_of(hint)}."
        if name_of(declaration.provides) == name_of(hint):
            other = _full(declaration.provides)
            return f"{other} is provided, which is not {_full(hint)}; import it from one place."
    return None


def _is_subclass(source: Any, hint: Any) -> bool:
    return inspect.isclass(source) and inspect.isclass(hint) and not get_args(hint) and hint in source.__mro__[1:]


def _full(hint: Any) -> str:
    return f"{hint.__module__}.{name_of(hint)}"
