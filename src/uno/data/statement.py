"""A SQLAlchemy statement compiled once, run by the driver."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ARRAY, Column, ColumnElement, Executable, Float, Numeric, Text, literal_column
from sqlalchemy.engine import Dialect

Processor = Callable[[Any], Any] | None


def bind_processor(column: Column[Any], dialect: Dialect) -> Processor:
    """What turns a Python value of this column into the driver's."""
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def result_processor(column: Column[Any], dialect: Dialect) -> Processor:
    """What turns the driver's value of this column into Python's."""
    return column.type.dialect_impl(dialect).result_processor(dialect, _type_code(column))


def _type_code(column: Column[Any]) -> Any:
    # SQLAlchemy's Numeric asks PostgreSQL's type OID, also inside arrays: numeric is 1700, double precision 701.
    type_ = column.type.item_type if isinstance(column.type, ARRAY) else column.type
    if isinstance(type_, Float):
        return 701
    return 1700 if isinstance(type_, Numeric) else None


def fixed(text: str) -> ColumnElement[str]:
    """A text of uno's own that stands in the statement, and is no parameter of it."""
    return literal_column("'" + text.replace("'", "''") + "'", Text)


class Prepared:
    """SQL text, the order of its parameters, and what converts values both ways."""

    __slots__ = ("_binds", "_defaults", "_results", "names", "sql")

    def __init__(self, statement: Executable, dialect: Dialect, columns: tuple[Column[Any], ...] = ()) -> None:
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        self.sql = str(compiled)
        self._defaults: Mapping[str, Any] = compiled.params
        # How parameters are called here, by their own keys.
        self.names = {bind.key: name for bind, name in compiled.bind_names.items()}
        names = compiled.positiontup or []
        processors = {n: compiled.binds[n].type.dialect_impl(dialect).bind_processor(dialect) for n in names}
        self._binds = [(name, processors[name]) for name in names]
        results = [result_processor(c, dialect) for c in columns]
        self._results = results if any(results) else []

    def arguments(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The driver's positional arguments."""
        given = {**self._defaults, **parameters}
        return [p(given[n]) if p is not None else given[n] for n, p in self._binds]

    def row(self, raw: Any) -> list[Any]:
        """One row of the driver as Python values."""
        if not self._results:
            return list(raw)
        return [p(v) if p is not None else v for p, v in zip(self._results, raw, strict=True)]
