"""What is given for parameters of SQL as text: SQLite is told no types of them, and compares what columns store."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import JSON, Date, DateTime, Interval, Numeric, Time, TypeDecorator, Uuid, types
from sqlalchemy.engine import Dialect

from uno.data.model import UtcDateTime

_COLUMNS: Final[dict[type, Any]] = {
    UUID: Uuid(),
    Decimal: Numeric(),
    date: Date(),
    time: Time(),
    timedelta: Interval(),
    dict: JSON(),
    list: JSON(),
}
_MOMENT, _LOCAL = UtcDateTime(), DateTime()


class Given(TypeDecorator[Any]):
    """PostgreSQL knows of what type a parameter is, but no members of enumerations."""

    impl = types.NullType
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if isinstance(value, Enum) and not isinstance(value, str | int):
            return value.name
        return value if dialect.name != "sqlite" else _stored(value, dialect)


def _stored(value: Any, dialect: Dialect) -> Any:
    column = _COLUMNS.get(type(value))
    if isinstance(value, datetime):
        column = _LOCAL if value.tzinfo is None else _MOMENT
    make = None if column is None else column.dialect_impl(dialect).bind_processor(dialect)
    return value if make is None else make(value)
