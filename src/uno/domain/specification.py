"""Rules with a name, combined with `&`, `|` and `~`."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from uno.errors import Misconfigured

T = TypeVar("T")


class Specification(Generic[T]):
    """A rule about a `T`. Override `filter`, and a database can be asked, too; or `is_satisfied_by`."""

    def is_satisfied_by(self, candidate: T) -> bool:
        return bool(self.filter().fits(candidate))

    def filter(self) -> Any:
        """The rule as a `uno.data.Filter`. Raises `Misconfigured` where there is none."""
        raise Misconfigured(
            f"{self!r} defines no filter(), which says in data what a database can be asked; give it one, or apply it "
            "in Python to what was found."
        )

    def __call__(self, candidate: T) -> bool:
        return self.is_satisfied_by(candidate)

    def __and__(self, other: "Specification[T]") -> "Specification[T]":
        return _Rule(lambda c: self(c) and other(c), f"({self!r} & {other!r})", lambda: self.filter() & other.filter())

    def __or__(self, other: "Specification[T]") -> "Specification[T]":
        return _Rule(lambda c: self(c) or other(c), f"({self!r} | {other!r})", lambda: self.filter() | other.filter())

    def __invert__(self) -> "Specification[T]":
        return _Rule(lambda c: not self(c), f"~{self!r}", lambda: ~self.filter())

    def __repr__(self) -> str:
        return type(self).__name__


class _Rule(Specification[T]):
    def __init__(self, rule: Callable[[T], bool], text: str, filter: Callable[[], Any] | None = None) -> None:
        self._rule = rule
        self._text = text
        self._filter = filter

    def is_satisfied_by(self, candidate: T) -> bool:
        return self._rule(candidate)

    def filter(self) -> Any:
        return super().filter() if self._filter is None else self._filter()

    def __repr__(self) -> str:
        return self._text


def specification(rule: Callable[[T], bool]) -> Specification[T]:
    """A specification from a function."""
    return _Rule(rule, rule.__name__)
