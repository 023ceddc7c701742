"""What tables and classes of one base have to do with those of another."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy.exc import NoReferenceError, SQLAlchemyError
from sqlalchemy.orm import Mapper

from uno.errors import Misconfigured
from uno.redact import one_line


def connect(cls: type, mapper: Mapper[Any]) -> None:
    """Let SQLAlchemy work out the relationships of a class. Raises `Misconfigured` where they lead nowhere."""
    try:
        # Those of the other bases that it refers to as well.
        mapper.registry.configure(cascade=True)
    except SQLAlchemyError as error:
        for one in (mapper, *mapper.registry.mappers):  # whose fault it is
            check_references(one.class_, one.local_table)
        raise Misconfigured(f"{cls.__qualname__} cannot be mapped: {one_line(str(error))}") from error


def check_references(cls: type, table: Any) -> None:
    """Raise `Misconfigured` for a foreign key to a column that is not there."""
    for one in getattr(table, "foreign_keys", ()):
        try:
            _ = one.column
        except NoReferenceError as error:
            raise Misconfigured(
                f'{cls.__qualname__}.{one.parent.key}: ForeignKey("{one.target_fullname}") finds no such column among '
                "the tables of its own base; import the class that has it, or, if that has another base, write "
                "ForeignKey(Other.__table__.c.column)."
            ) from error


def in_order(tables: Iterable[MetaData]) -> list[MetaData]:
    """Those that others refer to first."""
    wanted = list(tables)
    found: list[MetaData] = []
    seen: set[int] = set()

    def visit(one: MetaData) -> None:
        if id(one) not in seen:
            seen.add(id(one))
            for other in _referred(one):
                if any(other is each for each in wanted):
                    visit(other)
            found.append(one)

    for one in wanted:
        visit(one)
    return found


def _referred(metadata: MetaData) -> Iterator[MetaData]:
    for table in metadata.tables.values():
        for key in table.foreign_keys:
            other: Table | None = getattr(key._table_column, "table", None)
            if other is not None and other.metadata is not metadata:
                yield other.metadata
