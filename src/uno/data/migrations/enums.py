"""The enumerated types of PostgreSQL: Alembic sees the columns, and not the types of their own that they have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.operations.ops import ExecuteSQLOp, MigrationScript
from sqlalchemy import Enum, MetaData, inspect

from uno.data import enum_types
from uno.data.migrations.comparing import Difference
from uno.data.migrations.folder import mentions

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EnumChange:
    """`old` and `new` are the values of a type, None where it is not there."""

    name: str
    old: Labels | None
    new: Labels | None

    @property
    def added(self) -> Labels:
        return tuple(one for one in self.new or () if one not in (self.old or ()))

    def difference(self) -> Difference:
        if self.new is None:
            return Difference("remove_type", "", self.name, _list(self.old or ()))
        return Difference("add_type" if self.old is None else "add_value", "", self.name, _list(self.added))


def native(kind: Any) -> Enum | None:
    """The enumeration of a column's type, where it becomes a type that migrations make."""
    found = enum_types.native(kind)
    # One in a schema is left to SQLAlchemy.
    return None if found is None or found.schema else found


def enum_changes(
    connection: Any, tables: Sequence[MetaData], folder: Path | None, *, blank: bool = False
) -> list[EnumChange]:
    """What types are missing, lack values, or are used by nobody any more."""
    if connection is None or connection.dialect.name != "postgresql":
        return []
    there = {} if blank else {one["name"]: tuple(one["labels"]) for one in inspect(connection).get_enums()}
    wanted = {str(kind.name): tuple(kind.enums) for kind in _declared(tables)}
    missing = [EnumChange(name, there.get(name), labels) for name, labels in wanted.items()]
    unused = [EnumChange(name, labels, None) for name, labels in there.items() if name not in wanted]
    return [one for one in missing if one.added] + [one for one in unused if mentions(folder, one.name)]


def write_enums(script: MigrationScript, changes: Sequence[EnumChange]) -> None:
    """Types are there before the columns of them, and go after these."""
    up, down = script.upgrade_ops_list[0].ops, script.downgrade_ops_list[0].ops
    for one in changes:
        if one.new is None:
            up.append(_drop(one.name))
            down.insert(0, _create(one.name, one.old or ()))
        elif one.old is None:
            up.insert(0, _create(one.name, one.new))
            down.append(_drop(one.name))
        else:  # PostgreSQL takes no value away
            up[:0] = [
                ExecuteSQLOp(f"ALTER TYPE {_name(one.name)} ADD VALUE IF NOT EXISTS {_text(value)}")
                for value in one.added
            ]


def _declared(tables: Sequence[MetaData]) -> Iterator[Enum]:
    for metadata in tables:
        for table in metadata.sorted_tables:
            yield from (kind for column in table.columns if (kind := native(column.type)) is not None)


def _create(name: str, labels: Labels) -> ExecuteSQLOp:
    return ExecuteSQLOp(f"CREATE TYPE {_name(name)} AS ENUM ({_list(labels)})")


def _drop(name: str) -> ExecuteSQLOp:
    return ExecuteSQLOp(f"DROP TYPE {_name(name)}")


def _list(labels: Labels) -> str:
    return ", ".join(map(_text, labels))


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(label: str) -> str:
    return "'" + label.replace("'", "''") + "'"
