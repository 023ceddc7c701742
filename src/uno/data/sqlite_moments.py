"""Moments on SQLite, which knows no time zones: columns of `DateTime(timezone=True)` hold UTC, as on PostgreSQL."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime
from sqlalchemy.dialects.sqlite import DATETIME
from sqlalchemy.engine import Dialect


class Moment(DATETIME):
    """SQLAlchemy's own would leave out the time zone, and store another moment."""

    def bind_processor(self, dialect: Dialect) -> Any:
        written: Any = super().bind_processor(dialect)
        return (lambda value: written(_in_utc(value))) if self.timezone else written

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        read: Any = super().result_processor(dialect, coltype)
        return (lambda value: _aware(read(value))) if self.timezone else read


def keep_moments(dialect: Dialect) -> None:
    """Have a dialect use it."""
    dialect.colspecs = {**dialect.colspecs, DateTime: Moment}


def _in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
