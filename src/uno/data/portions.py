"""Many keys in statements: so many of them at a time, and the condition that a row has one of them."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, tuple_

K = TypeVar("K", bound=tuple[Any, ...])
# Keys in one statement: SQLite takes 32,766 parameters.
KEYS = 1_000


def portions(keys: Sequence[K]) -> Iterator[Sequence[K]]:
    """The keys, as many at a time as go into one statement."""
    for start in range(0, len(keys), KEYS):
        yield keys[start : start + KEYS]


def among(columns: Sequence[Any], keys: Sequence[tuple[Any, ...]]) -> ColumnElement[bool]:
    """That the columns have the values of one of the keys."""
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])  # type: ignore[no-any-return]
    return tuple_(*columns).in_(keys)
