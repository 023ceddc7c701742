"""What tables and classes of one base have to do with those of another."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ForeignKey, MetaData, Table, inspect
from sqlalchemy.exc import NoReferenceError, SQLAlchemyError
from sqlalchemy.orm import Mapper, mapperlib

from uno.errors import Misconfigured
from uno.redact import one_line


def connect(cls: type, mapper: Mapper[Any]) -> None:
    """Let SQLAlchemy work out the relationships of a class. Raises `Misconfigured` where they lead nowhere."""
    try:
        # Those of the other bases that it refers to as well.
        mapper.registry.configure(cascade=True)
    except SQLAlchemyError as error:
        for one in (mapper, *mapper.registry.mappers):  # whose fault it is
            check_references(one.class_.__qualname__, one.local_table)
        raise Misconfigured(f"{cls.__qualname__} cannot be mapped: {one_line(str(error))}") from error


def check_references(name: str, table: Any) -> None:
    """Raise `Misconfigured` for a foreign key to a column that is not there; `name` is what the table is called."""
    for one in getattr(table, "foreign_keys", ()):
        try:
            _ = one.column
        except NoReferenceError as error:
            raise Misconfigured(
                f'{name}.{one.parent.key}: ForeignKey("{one.target_fullname}") finds no such column among '
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
    for _, other in _keys_to_others(metadata):
        yield other.metadata


def _keys_to_others(metadata: MetaData) -> Iterator[tuple[ForeignKey, Table]]:
    """Foreign keys to tables of another base, with these."""
    for table in metadata.tables.values():
        for key in table.foreign_keys:
            other: Table | None = getattr(key._table_column, "table", None)
            if other is not None and other.metadata is not metadata:
                yield key, other


def leading_out(tables: Sequence[MetaData]) -> list[tuple[ForeignKey, Table]]:
    """Foreign keys to tables that are in none of these, with the tables."""
    listed = {id(one) for one in tables}
    return [(key, other) for one in tables for key, other in _keys_to_others(one) if id(other.metadata) not in listed]


def require_referred(connection: Any, tables: Sequence[MetaData]) -> None:
    """Raise `Misconfigured` for a foreign key to a table that is in none of these, and not in the database either."""
    for key, other in leading_out(tables):
        if not inspect(connection).has_table(other.name, schema=other.schema):
            raise Misconfigured(
                f"{key.parent.table.fullname}.{key.parent.name} refers to the table {other.fullname}, which the "
                f"database does not have and no module lists; add {_class_of(other)} to the models of one."
            )


def _class_of(table: Table) -> str:
    mappers = (mapper for registry in mapperlib._all_registries() for mapper in registry.mappers)
    return next((one.class_.__qualname__ for one in mappers if one.local_table is table), "its class")
