"""Enumerations that become types of PostgreSQL's own, of which a database has one of each name."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import ARRAY, Column, Enum, Table
from sqlalchemy.types import TypeDecorator


def native(kind: Any) -> Enum | None:
    """The enumeration of a column's type, where it becomes a type of the database's own."""
    if isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    if isinstance(kind, ARRAY):
        kind = kind.item_type
    return kind if isinstance(kind, Enum) and kind.native_enum and kind.name else None


def clashing(tables: Iterable[Table]) -> Iterator[tuple[Column[Any], Column[Any], str]]:
    """Columns whose types have one name and other values: the later one, the first one, and the name."""
    first: dict[tuple[str | None, str], tuple[Column[Any], set[str]]] = {}
    for column in (column for table in tables for column in table.columns):
        kind = native(column.type)
        if kind is not None and kind.enums:
            values, name = set(kind.enums), str(kind.name)
            other, known = first.setdefault((kind.schema, name), (column, values))
            if values != known:
                yield column, other, name
