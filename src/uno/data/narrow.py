"""What a column keeps of a value: the digits of a REAL or of a second, the blanks of a CHAR, the hours of an interval.

PostgreSQL cuts off the rest without a word, and reads blanks that nobody has written. Cut off here, as it does it,
the object and the audit trail say what is stored.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from struct import Struct
from typing import Any, TypeAlias

from sqlalchemy import types
from sqlalchemy.dialects.postgresql import INTERVAL, TIME as TIME_OF_DIGITS, TIMESTAMP as TIMESTAMP_OF_DIGITS
from sqlalchemy.engine import Dialect

# Gives the same object where all of it is kept, and None where nothing could be.
Narrow: TypeAlias = Callable[[Any], Any]
# SQLite has durations as the moments that long after 1970, and no backend more than another.
SHORTEST, LONGEST = datetime.min - datetime(1970, 1, 1), datetime.max - datetime(1970, 1, 1)  # noqa: DTZ001, DTZ901
# Digits of the mantissa of a REAL, in bits.
_SINGLE = 24
_REAL = Struct("<f")  # which tells of what is too large
_DIGITS = 6
# PostgreSQL rounds halves away from it.
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - asked with and without a time zone
_SECONDS = {"DAY": 86_400, "HOUR": 3_600, "MINUTE": 60}
_CHARS = (types.CHAR, types.NCHAR)


def narrower(plain: Any, backend: str) -> Narrow | None:
    """What keeps of values what columns of a type do, None where that is all."""
    ways = _ON_SQLITE if backend == "sqlite" else _ON_POSTGRES
    return next((make(plain) for kind, make in ways if isinstance(plain, kind)), None)


def is_single(plain: Any) -> bool:
    """Whether it has the digits of a REAL."""
    if not isinstance(plain, types.Float) or isinstance(plain, types.Double):
        return False
    return isinstance(plain, types.REAL) or 0 < (plain.precision or 0) <= _SINGLE


def keep_blanks(dialect: Dialect) -> None:
    """Have a dialect look for texts of CHAR as they are stored."""
    dialect.colspecs = {**dialect.colspecs, **dict.fromkeys(_CHARS, Bare)}


class Bare(types.CHAR):
    """On SQLite, to which blanks are letters; on PostgreSQL no two texts differ in those behind."""

    def bind_processor(self, dialect: Dialect) -> Any:
        return _bare


def _single(plain: Any) -> Narrow | None:
    return _as_real if is_single(plain) else None


def _as_real(value: Any) -> Any:
    if type(value) is not float or value != value:
        return value
    try:
        (stored,) = _REAL.unpack(_REAL.pack(value))
    except OverflowError:
        return None
    return value if stored == value else stored


def _padded(plain: Any) -> Narrow:
    length = plain.length or 1

    def padded(value: Any) -> Any:
        if not isinstance(value, str) or len(value) == length:
            return value
        made = value.rstrip(" ").ljust(length)
        return value if made == value else made

    return padded


def _bare(value: Any) -> Any:
    return value.rstrip(" ") if isinstance(value, str) and value.endswith(" ") else value


def _unit(digits: int | None) -> int:
    """Microseconds."""
    return 10 ** (_DIGITS - digits) if digits is not None and digits < _DIGITS else 1


def _moments(plain: Any) -> Narrow | None:
    unit = _unit(plain.precision)

    def rounded(value: Any) -> Any:
        less = value.microsecond % unit if isinstance(value, datetime) else 0
        if not less:
            return value
        is_early = value < _EPOCH.replace(tzinfo=value.tzinfo and UTC)
        more = less * 2 > unit or (less * 2 == unit and not is_early)
        try:
            return value + timedelta(microseconds=unit - less if more else -less)
        except OverflowError:
            return None

    return None if unit == 1 else rounded


def _times(plain: Any) -> Narrow | None:
    unit = _unit(plain.precision)

    def rounded(value: Any) -> Any:
        less = value.microsecond % unit if isinstance(value, time) else 0
        if not less:
            return value
        cut = value.replace(microsecond=value.microsecond - less)
        if less * 2 < unit:
            return cut
        later = datetime.combine(date.min, cut) + timedelta(microseconds=unit)
        return later.timetz() if later.date() == date.min else cut  # there is no 24:00

    return None if unit == 1 else rounded


def _spans(plain: Any) -> Narrow:
    digits = plain.precision if isinstance(plain, INTERVAL) else plain.second_precision
    unit, seconds = _unit(digits), _kept(getattr(plain, "fields", None))

    def kept(value: Any) -> Any:
        if not isinstance(value, timedelta) or not value:
            return value
        if seconds is None or _within(value) is None:
            return None
        if seconds > 1:
            less = timedelta(seconds=value.seconds % seconds, microseconds=value.microseconds)
        else:
            over = value.microseconds % unit
            less = timedelta(microseconds=over - unit if over and over * 2 >= unit else over)
        return value - less if less else value

    return kept


def _within(value: Any) -> Any:
    return value if not isinstance(value, timedelta) or SHORTEST <= value <= LONGEST else None


def _kept(fields: str | None) -> int | None:
    """The smallest part in seconds; None of those that keep no part of a `timedelta`, which are years and months."""
    last = "SECOND" if fields is None else fields.upper().split()[-1]
    return None if last in ("YEAR", "MONTH") else _SECONDS.get(last, 1)


_ON_POSTGRES: tuple[tuple[Any, Callable[[Any], Narrow | None]], ...] = (
    (types.Float, _single),
    (_CHARS, _padded),
    (TIMESTAMP_OF_DIGITS, _moments),
    (TIME_OF_DIGITS, _times),
    ((types.Interval, INTERVAL), _spans),
)
_ON_SQLITE: tuple[tuple[Any, Callable[[Any], Narrow | None]], ...] = (
    (_CHARS, lambda _plain: _bare),
    (types.Interval, lambda _plain: _within),
)
