"""Values in the form of their column, so that an object, the audit trail and the database say the same.

Drivers take other things, too, and each makes something else of them: asyncpg cuts the fraction off a float for an
integer column, SQLite rounds decimals as floats. Made here, once, it is the same everywhere.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Context, Decimal
from numbers import Number
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Enum, Integer, Numeric, types

from uno.data.narrow import Narrow, narrower
from uno.data.postgres_numbers import AFTER, BEFORE, fits
from uno.data.sqlite_numbers import digits_after, reader

# Of the type of a column and a value; it raises what is said against the value, or returns it as it is.
Make: TypeAlias = Callable[[Any, Any], Any]
# As PostgreSQL rounds, and as many digits as it keeps.
ROUNDING = Context(prec=BEFORE + AFTER, rounding=ROUND_HALF_UP)
# SQLite keeps those below as whole numbers.
_WHOLE = 2.0**63


def maker(plain: Any, backend: str) -> Make | None:
    """What makes values for columns of a type, None where they stay as they are."""
    forms = (*_ON_SQLITE, *_FORMS) if backend == "sqlite" else _FORMS
    make = next((make for kind, make in forms if isinstance(plain, kind)), None)
    keep = narrower(plain, backend)
    return make if keep is None else _narrowed(make or _itself, keep)


def _narrowed(make: Make, keep: Narrow) -> Make:
    def narrowed(plain: Any, value: Any) -> Any:
        made = make(plain, value)
        kept = keep(made)
        return made if kept is None else kept  # of what cannot be kept it is told elsewhere

    return narrowed


def _itself(_plain: Any, value: Any) -> Any:
    return value


def rounded(plain: Any, number: Decimal) -> Decimal:
    """With the digits that the column keeps; no database knows a negative zero."""
    after = digits_after(plain)
    if after is not None and number.is_finite() and fits(number):
        exponent: Any = number.as_tuple().exponent
        number = ROUNDING.quantize(number, Decimal((0, (1,), -after))) if exponent < -after else number
    return number or number.copy_abs()


def _exact(plain: Any, value: Any) -> Any:
    number = value if isinstance(value, Decimal) else Decimal(value if isinstance(value, int) else str(value))
    made = rounded(plain, number)
    return made if plain.asdecimal else float(made)


def _exact_on_sqlite(plain: Any, value: Any) -> Any:
    made = _exact(plain, value)
    if not plain.asdecimal or digits_after(plain) is not None:
        return made
    read = reader(plain)(float(made))  # 1 is 1.0 there
    return read if read == made else made


def _whole(_plain: Any, value: Any) -> Any:
    number: Any = value
    return whole if isinstance(value, Number) and (whole := int(number)) == number else value


def _double(plain: Any, value: Any) -> Any:
    number: Any = value
    return float(number) if isinstance(value, Number) and not plain.asdecimal else value


def _double_on_sqlite(plain: Any, value: Any) -> Any:
    made = _double(plain, value)
    return made + 0.0 if type(made) is float else made  # no negative zero


def _lone_number(_plain: Any, value: Any) -> Any:
    """A number by itself in a column of JSON, which to SQLite is a column of numbers."""
    return int(value) if type(value) is float and value.is_integer() and abs(value) < _WHOLE else value


def _truth(_plain: Any, value: Any) -> Any:
    number: Any = value
    return bool(number) if isinstance(value, Number) and number in (0, 1) else value


def _member(plain: Any, value: Any) -> Any:
    """What is called so."""
    if plain.enum_class is None or isinstance(value, plain.enum_class):
        return value
    return plain._object_value_for_elem(plain._db_value_for_elem(value))


def _moment(plain: Any, value: Any) -> Any:
    """A day is the moment at its beginning; what says no time zone where there is one is in UTC."""
    zone = UTC if plain.timezone else None
    if isinstance(value, datetime):
        return value.replace(tzinfo=zone) if zone and value.tzinfo is None else value
    return datetime.combine(value, time(), zone) if isinstance(value, date) else value


def _day(_plain: Any, value: Any) -> Any:
    return value.date() if isinstance(value, datetime) else value


def _hour(plain: Any, value: Any) -> Any:
    hour = value.timetz() if isinstance(value, datetime) else value
    return hour.replace(tzinfo=None) if isinstance(hour, time) and hour.tzinfo and not plain.timezone else hour


def _uuid(plain: Any, value: Any) -> Any:
    if plain.as_uuid:
        return UUID(value) if isinstance(value, str) else value
    return str(UUID(str(value)))


def _array(plain: Any, value: Any) -> Any:
    make = maker(plain.item_type, "postgresql") or _itself
    return _each(make, plain, value) if isinstance(value, list | tuple) else value


def _each(make: Make, plain: Any, value: Any) -> Any:
    """The same list where nothing in it, or in lists of it, becomes another."""
    if value is None or not isinstance(value, list | tuple):
        return value if value is None else make(plain.item_type, value)
    made = [_each(make, plain, one) for one in value]
    kind = tuple if plain.as_tuple else list
    is_same = type(value) is kind and all(one is other for one, other in zip(made, value, strict=True))
    return value if is_same else kind(made)


_FORMS: tuple[tuple[Any, Make], ...] = (
    (Enum, _member),
    (Boolean, _truth),
    (Integer, _whole),
    (types.Float, _double),
    (Numeric, _exact),
    (types.DateTime, _moment),
    (types.Date, _day),
    (types.Time, _hour),
    (types.Uuid, _uuid),
    (ARRAY, _array),
)
_ON_SQLITE: tuple[tuple[Any, Make], ...] = (
    (types.Float, _double_on_sqlite),
    (Numeric, _exact_on_sqlite),
    (types.JSON, _lone_number),
)
