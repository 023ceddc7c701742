"""Decimals on PostgreSQL: more digits than it keeps, and asyncpg would send another number."""

from decimal import Decimal
from typing import Any

from sqlalchemy import Numeric
from sqlalchemy.dialects.postgresql.asyncpg import AsyncpgNumeric
from sqlalchemy.engine import Dialect

from uno.errors import Invalid

# Digits before and after the point (PostgreSQL's manual, "Arbitrary Precision Numbers"), and the bits of the first.
BEFORE, AFTER = 131_072, 16_383
_BITS = 435_411
# With so few it is within them; taking a number apart takes longer than all the rest.
_FEW = 1_000


class Digits(AsyncpgNumeric):
    """SQLAlchemy's own, with these limits."""

    def bind_processor(self, dialect: Dialect) -> Any:
        return kept


def keep_digits(dialect: Dialect) -> None:
    """Have a dialect use it."""
    dialect.colspecs = {**dialect.colspecs, Numeric: Digits}


def kept(value: Any) -> Any:
    """The same. Raises `Invalid`."""
    if not fits(value):
        raise Invalid("The database cannot store this: a number has too many digits.")
    return value


def fits(value: Any) -> bool:
    if isinstance(value, Decimal):
        if -_FEW < value.adjusted() < _FEW and len(str(value)) < _FEW:
            return True
        # Of NaN and infinities it is a letter.
        exponent: Any = value.as_tuple().exponent
        return isinstance(exponent, str) or (value.adjusted() < BEFORE and exponent >= -AFTER)
    return not isinstance(value, int) or value.bit_length() < _BITS
