"""Rules with a name, combined with `&`, `|` and `~`."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Specification(Generic[T]):
    """A rule about a `T`; override `is_satisfied_by`."""

    def is_satisfied_by(self, candidate: T) -> bool:
        raise TypeError(f"{type(self).__name__} does not define is_satisfied_by.")

    def __call__(self, candidate: T) -> bool:
        return self.is_satisfied_by(candidate)

    def __and__(self, other: "Specification[T]") -> "Specification[T]":
        return _Rule(lambda c: self(c) and other(c), f"({self!r} & {other!r})")

    def __or__(self, other: "Specification[T]") -> "Specification[T]":
        return _Rule(lambda c: self(c) or other(c), f"({self!r} | {other!r})")

    def __invert__(self) -> "Specification[T]":
        return _Rule(lambda c: not self(c), f"~{self!r}")

    def __repr__(self) -> str:
        return type(self).__name__


class _Rule(Specification[T]):
    def __init__(self, rule: Callable[[T], bool], text: str) -> None:
        self._rule = rule
        self._text = text

    def is_satisfied_by(self, candidate: T) -> bool:
        return self._rule(candidate)

    def __repr__(self) -> str:
        return self._text


def specification(rule: Callable[[T], bool]) -> Specification[T]:
    """A specification from a function."""
    return _Rule(rule, rule.__name__)
