"""What differs between a database and the models, as data and as lines for people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ForeignKeyConstraint, Table

_SIGNS = {"add": "+", "remove": "-", "modify": "~"}


@dataclass(frozen=True, slots=True)
class Difference:
    """What the database needs: `change` is Alembic's word, as "add_column", `name` is that of the part."""

    change: str
    table: str
    name: str
    detail: str = ""

    def __str__(self) -> str:
        action, _, kind = self.change.partition("_")
        if kind == "table":
            return f"{_SIGNS[action]} table {self.table}"
        if kind == "triggers":
            return f"{_SIGNS[action]} triggers that audit {self.table}: {self.detail}"
        if action == "modify":
            return f"~ {kind.replace('_', ' ')} of {self.table}.{self.name}: {self.detail}"
        if not self.table:
            return f"{_SIGNS[action]} {kind} {self.name}: {self.detail}"
        detail = f" {self.detail}" if self.detail else ""
        name = f" {self.name}" if self.name else ""
        return f"{_SIGNS.get(action, action)} {_KINDS.get(kind, kind)}{name} of {self.table}{detail}"


_KINDS = {"fk": "foreign key"}


def differences(found: Sequence[Any]) -> list[Difference]:
    """From what Alembic's `as_diffs()` gives."""
    return [_difference(one) for one in _flat(found)]


def _flat(found: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for one in found:
        # Changes of one column come as a list.
        yield from _flat(one) if isinstance(one, list) else (one,)


def _difference(found: tuple[Any, ...]) -> Difference:
    change, *parts = found
    if change.startswith("modify"):
        schema, table, column, _, old, new = parts
        return Difference(change, _qualified(schema, table), column, f"{_shown(old)} → {_shown(new)}")
    if change in ("add_column", "remove_column"):
        schema, table, column = parts
        return Difference(change, _qualified(schema, table), column.name, str(column.type))
    part = parts[0]
    if isinstance(part, Table):
        return Difference(change, part.fullname, part.name)
    return Difference(change, part.table.fullname, str(part.name or ""), _of(part))


def _of(part: Any) -> str:
    """The columns of an index or of a constraint."""
    if isinstance(part, ForeignKeyConstraint):
        targets = ", ".join(element.target_fullname for element in part.elements)
        return f"({', '.join(part.column_keys)}) → {targets}"
    expressions = getattr(part, "expressions", None) or getattr(part, "columns", None) or ()
    return f"({', '.join(one.name if isinstance(one, Column) else str(one) for one in expressions)})"


def _qualified(schema: str | None, table: str) -> str:
    return table if schema is None else f"{schema}.{table}"


def _shown(value: Any) -> str:
    """A type, a default, or whether there may be NULL."""
    arg = getattr(value, "arg", value)
    return "nothing" if arg is None else str(arg) or "''"
