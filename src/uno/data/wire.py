"""The JSON forms of column values: in Python and as SQL, which give the same JSON value.

They are PostgreSQL's own, with the session's time zone UTC: `2026-01-31T09:30:00.5+00:00`, fractions
without trailing zeros, `"NaN"` and `"Infinity"`. Decimals are strings, with the scale of their column;
bytes are base64 (RFC 4648, section 4), durations seconds as a number, enumerations their values.
A type without a form in SQL has none there: `expression` gives None, and who reads it asks Python.
"""

import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from enum import Enum
from functools import reduce
from typing import Any, Final, TypeAlias
from uuid import UUID

from pydantic_core import to_jsonable_python
from sqlalchemy import (
    ARRAY,
    JSON,
    ColumnElement,
    Double,
    Text,
    case,
    cast,
    extract,
    func,
    literal,
    literal_column,
    type_coerce,
    types,
)

from uno.data.decorators import below, is_moment
from uno.data.statement import fixed

# Digits that PostgreSQL's numeric has at most.
_DIGITS = 147_455
# Of one JSON object: functions take 100 arguments on PostgreSQL, 127 on SQLite.
MEMBERS = 50
_Forms: TypeAlias = tuple[tuple[Any, Callable[[Any, Any], Any]], ...]


# -- in Python


def encode(value: Any) -> Any:
    """A value as what `json.dumps` takes, by its Python type."""
    known = _ENCODERS.get(type(value))
    if known is not None:
        return known(value)
    if isinstance(value, Enum):
        return encode(value.value)
    if isinstance(value, Mapping):
        return {str(encode(key)): encode(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [encode(one) for one in value]
    return to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="strings", fallback=str)


def encoder(column: ColumnElement[Any]) -> Callable[[Any], Any]:
    """How values of this column are encoded: as the database will give them back."""
    return _encoder(column.type)


def _encoder(type_: Any) -> Callable[[Any], Any]:
    if isinstance(type_, ARRAY):
        return _list_encoder(_encoder(type_.item_type))
    if isinstance(type_, types.Numeric) and not isinstance(type_, types.Float) and type_.asdecimal:
        scale = type_.scale
        return encode if scale is None else lambda value: None if value is None else _scaled(value, scale)
    if is_moment(type_):
        return _aware
    return encode


def _list_encoder(item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def encoded(value: Any) -> Any:
        return [encoded(one) for one in value] if isinstance(value, list | tuple) else item(value)

    return encode if item is encode else encoded


def _scaled(value: Any, scale: int) -> Any:
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    if not number.is_finite():
        return encode(number)
    with localcontext() as context:
        context.prec = _DIGITS
        # As PostgreSQL rounds; it knows no negative zero.
        return format(number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP) + 0, "f")


def _aware(value: Any) -> Any:
    """SQLite forgets the time zone, which is always UTC."""
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return encode(value)


def _moment(value: datetime) -> str:
    moment = value if value.tzinfo is None else value.astimezone(UTC)
    return _trimmed(moment.replace(tzinfo=None).isoformat()) + ("" if value.tzinfo is None else "+00:00")


def _time(value: time) -> str:
    text = value.isoformat()
    return _trimmed(text) if value.tzinfo is None else text


def _trimmed(text: str) -> str:
    return text.rstrip("0") if "." in text else text


def _float(value: float) -> Any:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _same(value: Any) -> Any:
    return value


_ENCODERS: Final[Mapping[type, Callable[[Any], Any]]] = {
    type(None): _same,
    str: _same,
    bool: _same,
    int: _same,
    float: _float,
    Decimal: lambda value: format(value, "f"),
    UUID: str,
    datetime: _moment,
    date: date.isoformat,
    time: _time,
    timedelta: timedelta.total_seconds,
    bytes: lambda value: b64encode(value).decode(),
    memoryview: lambda value: b64encode(value).decode(),
}


# -- in SQL


def expression(column: ColumnElement[Any], backend: str) -> ColumnElement[Any] | None:
    """What `to_json` (PostgreSQL) or `json_object` (SQLite) makes the form of a column's value of.

    None where nothing does. On SQLite it has to be an argument of the JSON function itself.
    """
    plain: Any = below(column.type)
    # What others do to values in Python is not known here; SQLAlchemy's own Interval is one of them.
    if isinstance(plain, types.TypeDecorator) and not isinstance(plain, types.Interval):
        return None
    forms = _ON_SQLITE if backend == "sqlite" else _ON_POSTGRES
    make = next((make for kind, make in forms if isinstance(plain, kind)), _none)
    made: ColumnElement[Any] | None = make(column, plain)
    return made


def object_of(columns: Sequence[tuple[str, ColumnElement[Any]]], backend: str) -> ColumnElement[Any] | None:
    """A JSON object (`jsonb` on PostgreSQL) with these members; None if one of them has no form in SQL."""
    forms = [(name, expression(column, backend)) for name, column in columns]
    if any(form is None for _, form in forms) or (backend == "sqlite" and len(forms) > MEMBERS):
        return None
    made = func.json_object if backend == "sqlite" else func.jsonb_build_object
    parts: list[ColumnElement[Any]] = [
        made(*(part for name, form in stretch for part in (fixed(name), form)), type_=JSON())
        for stretch in (forms[n : n + MEMBERS] for n in range(0, len(forms), MEMBERS))
    ]
    return reduce(lambda one, other: one.op("||", return_type=JSON())(other), parts)


def _itself(column: ColumnElement[Any], _type: Any) -> ColumnElement[Any]:
    return column


def _none(_column: ColumnElement[Any], _type: Any) -> None:
    return None


def _choice(column: ColumnElement[Any], type_: Any) -> ColumnElement[Any] | None:
    """The values of a class of members, where they are texts; the database stores other texts for them."""
    if type_.enum_class is None:
        return cast(column, Text)
    objects = type_._object_lookup
    members = {stored: objects[stored].value for stored in type_.enums}
    if not all(isinstance(value, str) for value in members.values()):
        return None
    text = cast(column, Text)
    return case(*((text == name, literal(value, Text)) for name, value in members.items()))


def _array(column: ColumnElement[Any], type_: Any) -> ColumnElement[Any] | None:
    item = type_.item_type
    simple = isinstance(item, types.String | types.Integer | types.Boolean | types.Uuid | types.Double)
    return column if simple and not isinstance(item, types.Enum) else None


def _finite(column: ColumnElement[Any], type_: Any) -> ColumnElement[Any]:
    """As Python has them: the first and the last moment are -infinity and infinity to asyncpg."""
    first, last = ("0001-01-01", "9999-12-31")
    if isinstance(type_, types.DateTime):
        zone = "+00" if type_.timezone else ""
        first, last = f"{first} 00:00:00{zone}", f"{last} 23:59:59.999999{zone}"
    ends = case((column > literal_column("'epoch'"), _constant(last, type_)), else_=_constant(first, type_))
    return case((~func.isfinite(column), ends), else_=column)


def _before_midnight(column: ColumnElement[Any], type_: Any) -> ColumnElement[Any] | None:
    """Python has no 24:00."""
    last = _constant("23:59:59.999999", type_)
    return None if type_.timezone else case((column > last, last), else_=column)


def _duration(column: ColumnElement[Any], _type: Any) -> ColumnElement[Any]:
    """A year has 365 days to asyncpg, and a quarter more to PostgreSQL."""
    quarters = extract("year", column) * literal_column("21600")
    return cast(extract("epoch", column) - quarters, Double)


def _constant(text: str, type_: Any) -> ColumnElement[Any]:
    return cast(literal_column(f"'{text}'"), type_)


_ON_POSTGRES: Final[_Forms] = (
    (types.Enum, _choice),
    (types.String, _itself),
    (types.Boolean, _itself),
    (types.Integer, _itself),
    # Of a REAL, too, Python has a double.
    (types.Float, lambda column, type_: None if type_.asdecimal else cast(column, Double)),
    (types.Numeric, lambda column, type_: cast(column, Text if type_.asdecimal else Double)),
    (types.DateTime, _finite),
    (types.Date, _finite),
    (types.Time, _before_midnight),
    (types.Interval, _duration),
    (types.Uuid, _itself),
    (types.LargeBinary, lambda column, _: func.replace(func.encode(column, "base64"), "\n", "")),
    (ARRAY, _array),
    (JSON, _itself),
)


def _json(column: ColumnElement[Any], _type: Any) -> ColumnElement[Any]:
    # A lone number has become a double when it was stored, of which json() gives 15 digits; the 17th may be wrong.
    stored = type_coerce(column, Text)
    digits = func.json(func.printf("%!.19g", stored))
    return case((func.typeof(stored) == "real", digits), else_=func.json(stored))


def _truth(column: ColumnElement[Any], _type: Any) -> ColumnElement[Any]:
    return case((column.is_(None), None), (column, func.json("true")), else_=func.json("false"))


def _uuid(column: ColumnElement[Any], _type: Any) -> ColumnElement[Any]:
    text = type_coerce(column, Text)
    ends = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
    return reduce(lambda one, part: one + "-" + part, [func.substr(text, *end, type_=Text()) for end in ends])


def _fraction(text: ColumnElement[Any]) -> ColumnElement[Any]:
    """A time as SQLAlchemy stores it, always with six digits behind the point."""
    return func.rtrim(func.rtrim(text, "0"), ".", type_=Text())


def _stored_moment(column: ColumnElement[Any], type_: Any) -> ColumnElement[Any]:
    text = _fraction(func.replace(type_coerce(column, Text), " ", "T"))
    return text + "+00:00" if type_.timezone else text


# Nothing for doubles, as which decimals are stored, too: SQLite's JSON has not all of their digits.
_ON_SQLITE: Final[_Forms] = (
    (types.Enum, _choice),
    (types.String, _itself),
    (types.Boolean, _truth),
    (types.Integer, _itself),
    (types.DateTime, _stored_moment),
    (types.Date, lambda column, _: type_coerce(column, Text)),
    (types.Time, lambda column, _: _fraction(type_coerce(column, Text))),
    (types.Uuid, _uuid),
    (JSON, _json),
)
