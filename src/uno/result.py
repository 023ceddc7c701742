"""`Success(value)` or `Failure(error)`: what `dispatch` gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, NoReturn, TypeAlias, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


@dataclass(slots=True, unsafe_hash=True)
class Success(Generic[T_co]):
    """It worked, and this is what came of it."""

    value: T_co

    @property
    def is_success(self) -> Literal[True]:
        return True

    @property
    def is_failure(self) -> Literal[False]:
        return False

    @property
    def error(self) -> None:
        return None

    def map(self, f: Callable[[T_co], U]) -> "Success[U]":
        """`Success(f(value))`; what `f` raises is raised."""
        return Success(f(self.value))

    def and_then(self, f: Callable[[T_co], "Success[U] | Failure"]) -> "Success[U] | Failure":
        """`f(value)`, itself a result."""
        return f(self.value)

    def unwrap(self) -> T_co:
        return self.value

    def unwrap_or(self, default: object) -> T_co:
        return self.value

    def __repr__(self) -> str:
        return f"Success({self.value!r})"


@dataclass(slots=True, unsafe_hash=True)
class Failure:
    """It did not work, and this is why."""

    error: Exception

    @property
    def is_success(self) -> Literal[False]:
        return False

    @property
    def is_failure(self) -> Literal[True]:
        return True

    @property
    def value(self) -> None:
        return None

    def map(self, f: Callable[[Any], Any]) -> "Failure":
        return self

    def and_then(self, f: Callable[[Any], Any]) -> "Failure":
        return self

    def unwrap(self) -> NoReturn:
        """Raise the error."""
        raise self.error

    def unwrap_or(self, default: U) -> U:
        return default

    def __repr__(self) -> str:
        return f"Failure({self.error!r})"


Result: TypeAlias = Success[T] | Failure
