"""Finds what answers a path in time that does not depend on how many paths there are."""

import re
from collections.abc import Iterator
from typing import Generic, TypeVar

from starlette.routing import compile_path

T = TypeVar("T")
_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)\}")


class _Node(Generic[T]):
    """One place in the tree of segments; `targets` by method, each with its parameters' names."""

    __slots__ = ("literals", "parameter", "targets")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.targets: dict[str, tuple[T, tuple[str, ...]]] = {}

    def child(self, segment: str) -> "_Node[T]":
        if not _PARAMETER.fullmatch(segment):
            return self.literals.setdefault(segment, _Node())
        if self.parameter is None:
            self.parameter = _Node()
        return self.parameter


class Table(Generic[T]):
    """Paths with their `{parameters}`, as Starlette writes them.

    At the first segment where two paths differ a literal comes before a parameter, whatever the
    order they were added in. Paths with converters (`{rest:path}`) or with a parameter that is only
    part of a segment come last, in order.
    """

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._static: dict[str, dict[str, T]] = {}
        self._patterns: list[tuple[re.Pattern[str], str, T]] = []

    def add(self, method: str, path: str, target: T) -> None:
        """`target` answers `method` at `path`; the first one added for both counts."""
        segments = path.split("/")[1:]
        names = tuple(m[1] for s in segments if (m := _PARAMETER.fullmatch(s)))
        if any("{" in s and not _PARAMETER.fullmatch(s) for s in segments):
            self._patterns.append((compile_path(path)[0], method, target))
            return
        node = self._root
        for segment in segments:
            node = node.child(segment)
        node.targets.setdefault(method, (target, names))
        if not names:
            self._static.setdefault(path, {}).setdefault(method, target)

    def find(self, method: str, path: str) -> tuple[T, dict[str, str]] | None:
        """What answers, and the values of the path's parameters."""
        static = self._static.get(path)
        if static is not None and method in static:
            return static[method], {}
        values: list[str] = []
        found = _walk(self._root, path.split("/"), 1, method, values)
        if found is not None:
            return found[0], dict(zip(found[1], values, strict=True))
        for pattern, its_method, target in self._patterns:
            if its_method == method and (match := pattern.match(path)):
                return target, match.groupdict()
        return None

    def methods(self, path: str) -> set[str]:
        """Every method that is answered at `path`."""
        found = {method for pattern, method, _ in self._patterns if pattern.match(path)}
        return found.union(*(node.targets for node in _ends(self._root, path.split("/"), 1)))


def _walk(
    node: _Node[T], segments: list[str], at: int, method: str, values: list[str]
) -> tuple[T, tuple[str, ...]] | None:
    if at == len(segments):
        return node.targets.get(method)
    segment = segments[at]
    child = node.literals.get(segment)
    if child is not None:
        found = _walk(child, segments, at + 1, method, values)
        if found is not None:
            return found
    if node.parameter is None or not segment:
        return None
    values.append(segment)
    found = _walk(node.parameter, segments, at + 1, method, values)
    if found is None:
        values.pop()
    return found


def _ends(node: _Node[T], segments: list[str], at: int) -> Iterator[_Node[T]]:
    if at == len(segments):
        yield node
        return
    child = node.literals.get(segments[at])
    if child is not None:
        yield from _ends(child, segments, at + 1)
    if node.parameter is not None and segments[at]:
        yield from _ends(node.parameter, segments, at + 1)
