"""Decimals on SQLite, which has doubles: they have the digits of their column, or the 15 that a double keeps."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import Numeric
from sqlalchemy.engine import Dialect

DIGITS = 15


class Doubles(Numeric[Any]):
    """SQLAlchemy's own would give ten digits after the point, of a large number some that nobody has stored."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        read: Callable[[float], Any] = reader(self) if self.asdecimal else float  # it has 1.0 as 1
        return lambda value: None if value is None else read(value)


def keep_digits(dialect: Dialect) -> None:
    """Have a dialect use it."""
    dialect.colspecs = {**dialect.colspecs, Numeric: Doubles}


def digits_after(plain: Any) -> int | None:
    """How many digits behind the point a column of decimals keeps, None where that is not said."""
    if plain.scale is not None:
        return int(plain.scale)
    return None if plain.precision is None else 0


def reader(plain: Any) -> Callable[[float], Decimal]:
    """What makes the decimals of a column of what SQLite holds."""
    after = digits_after(plain) if plain.decimal_return_scale is None else plain.decimal_return_scale
    form = f".{DIGITS}g" if after is None else f".{max(after, 0)}f"
    return lambda number: Decimal(format(number, form))
