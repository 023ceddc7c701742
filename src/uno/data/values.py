"""Which values a column cannot hold, and why: a number that is too large, a text for a date, a name that is no enum's.

SQLite would store most of them, so there each value is looked at before it is written. PostgreSQL refuses them itself,
and is only asked afterwards which it was, but for those of which its driver would make something else.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from json import JSONEncoder
from math import isfinite, isnan
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, ClauseElement, Enum, Integer, Numeric, String, types
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from uno.data.forms import rounded
from uno.data.narrow import narrower
from uno.data.postgres_numbers import fits
from uno.data.sqlite_numbers import DIGITS, reader
from uno.errors import FieldError, Invalid

# The code and the sentence.
Problem = tuple[str, str]
# What types raise against values, and asyncpg where it does not say so in an error of its own.
WRONG = (TypeError, ValueError, AttributeError, ArithmeticError, LookupError)
_NUL = ("null_character", "It has a NUL character.")
_TOO_LARGE = ("too_large", "The number is too large, or has too many digits.")
_NO_NUMBER = ("type", "It has to be a number.")
_NOT_WHOLE = ("type", "It has to be a whole number.")
_NO_TEXT = ("value", "It has a character that is no text, half of a surrogate pair.")
_BEYOND = ("value", "It is beyond what can be stored.")
_NAN = ("value", "It is not a number that can be stored.")
_NO_UUID = ("value", "It has to be a UUID: uuid.UUID('…').")
_TOO_LONG = ("too_large", f"The number has more digits than SQLite keeps, which are {DIGITS}.")
_ALONE = ("too_large", "A number by itself has at most 64 bits in JSON on SQLite.")
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_as_json = JSONEncoder(ensure_ascii=False, allow_nan=False, default=str).encode
_LARGEST = 2**63
_BYTES = (bytes, bytearray, memoryview)
# A day is the moment at its beginning; asyncpg asks of a time only that it has hours.
_KINDS: tuple[tuple[Any, tuple[type, ...]], ...] = (
    (types.LargeBinary, _BYTES),
    (types.DateTime, (date,)),
    (types.Date, (date,)),
    (types.Time, (time, datetime)),
    (types.Interval, (timedelta,)),
    (INTERVAL, (timedelta,)),
    (ARRAY, (list, tuple)),
)
# In JSON they are what they are.
_AS_IN_JSON = (String, Integer, Boolean, types.Float)


def unfit(found: Mapping[str, Problem]) -> Invalid:
    """The error for these attributes."""
    text = "; ".join(f"{name}: {message}" for name, (_, message) in found.items())
    errors = [FieldError(name, message, code) for name, (code, message) in found.items()]
    return Invalid(f"The database cannot store this: {text}", errors)


# -- one value


def problem_of(type_: TypeEngine[Any], value: Any, dialect: Dialect) -> Problem | None:
    """Why no column of this type takes the value; None where it does, or nobody knows."""
    if value is None or isinstance(value, ClauseElement) or hasattr(value, "__clause_element__"):
        return None
    here = on_backend(type_, dialect.name)
    owned = is_own(here)
    plain: Any = here.impl_instance if owned else here
    if not owned and not _has_kind(plain, value):
        return no_such(value)
    if not owned and (keep := narrower(plain, dialect.name)) is not None and (value := keep(value)) is None:
        return _BEYOND if isinstance(plain, types.Interval | INTERVAL) else _TOO_LARGE
    if isinstance(plain, types.Float) and isinstance(value, str) and not owned:
        return _NO_NUMBER
    if isinstance(plain, Numeric | types.Float) and not fits(value):
        return _TOO_LARGE
    try:
        process = type_.dialect_impl(dialect).bind_processor(dialect)
        sent = value if process is None else process(value)
    except Exception:  # whatever a type says against a value
        return _refused(plain, value)
    if sent is None:
        return None
    is_lite = dialect.name == "sqlite"
    if isinstance(plain, types.JSON):
        return _ALONE if is_lite and not _is_kept_alone(value) else json_problem(value)
    if isinstance(plain, ARRAY) and isinstance(value, list | tuple):
        return next((found for one in _flat(value) if (found := problem_of(plain.item_type, one, dialect))), None)
    if isinstance(plain, Enum):
        return None if sent in plain.enums else _no_member(plain)
    if isinstance(plain, String):
        return text_problem(sent, plain.length) if isinstance(sent, str) else no_such(value)
    if isinstance(plain, Integer):
        return _whole_problem(plain, sent, is_lite)
    if isinstance(plain, types.Float):
        return _double_problem(sent, is_lite)
    if isinstance(plain, Numeric):
        return _number_problem(plain, sent, is_lite) or (_digits_problem(plain, value) if is_lite else None)
    if isinstance(plain, types.DateTime) and isinstance(sent, datetime | str):
        return _moment_problem(plain, value)
    if isinstance(plain, types.Uuid) and isinstance(sent, str):
        return _uuid_problem(value)
    return None


def on_backend(type_: Any, backend: str) -> Any:
    """The type on a backend; a list of texts, numbers or booleans is one as JSON, too."""
    here = type_._variant_mapping.get(backend, type_)
    lists = next((one for one in (type_, *type_._variant_mapping.values()) if isinstance(one, ARRAY)), None)
    is_plain = lists is not None and isinstance(lists.item_type, _AS_IN_JSON) and not isinstance(lists.item_type, Enum)
    return lists if is_plain and isinstance(here, types.JSON) else here


def is_own(type_: Any) -> bool:
    """Whether what it makes of values nobody else knows: of SQLAlchemy's own, which is a decorated DateTime, we do."""
    return isinstance(type_, TypeDecorator) and not isinstance(type_, types.Interval)


def no_such(value: Any) -> Problem:
    """It is of another type."""
    name = type(value).__name__
    return "type", f"It cannot be {'an' if name[0] in 'aeiou' else 'a'} {name}."


def _refused(plain: Any, value: Any) -> Problem:
    if isinstance(plain, Enum):
        return _no_member(plain)
    if isinstance(plain, Numeric | types.Float):
        return _TOO_LARGE if isinstance(value, int | Decimal) else _NO_NUMBER
    if isinstance(plain, types.Uuid):
        return _NO_UUID
    if isinstance(plain, types.DateTime) and isinstance(value, datetime) and value.tzinfo is None:
        return "value", "It has to have a time zone."
    return "value", f"It cannot be a {type(value).__name__} like this."


def _no_member(plain: Enum) -> Problem:
    wanted = "one of the values of its type" if plain.enum_class is None else f"a {plain.enum_class.__name__}"
    return "enum", f"It has to be {wanted}."


def _has_kind(plain: Any, value: Any) -> bool:
    """Whether a value is of a Python type that drivers take for the type of a column."""
    if isinstance(plain, types.Uuid):
        return isinstance(value, UUID | str if plain.as_uuid else str)
    wanted = next((wanted for kind, wanted in _KINDS if isinstance(plain, kind)), None)
    return wanted is None or isinstance(value, wanted)


def text_problem(text: str, longest: int | None = None) -> Problem | None:
    """Why no column takes the text."""
    if "\x00" in text:
        return _NUL
    if longest is not None and len(text) > longest:
        return "string_too_long", f"It can have at most {longest} characters."
    return _surrogate(text)


def _surrogate(text: str) -> Problem | None:
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        return _NO_TEXT
    return None


def json_problem(value: Any) -> Problem | None:
    try:
        text = _as_json(value)
    except WRONG:  # NaN, or a class of which only the type knows what to make
        return _NAN if _has_nan(value) else None
    return _NUL if _ESCAPED_NUL.search(text) else _surrogate(text)


def _has_nan(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_nan, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_nan, value))
    return isinstance(value, float) and not isfinite(value)


def _is_kept_alone(value: Any) -> bool:
    return type(value) is not int or -_LARGEST <= value < _LARGEST


def _flat(values: Any) -> Iterator[Any]:
    for one in values:
        yield from _flat(one) if isinstance(one, list | tuple) else (one,)


def _whole_problem(type_: Integer, sent: Any, is_lite: bool) -> Problem | None:
    if is_lite and not isinstance(sent, int | float):  # which the driver does not take
        return _NO_NUMBER if isinstance(sent, str) else _NOT_WHOLE
    if not hasattr(sent, "__int__"):
        return _NO_NUMBER
    # asyncpg cuts a fraction off, SQLite would keep it.
    if not _is_whole(sent):
        return _NOT_WHOLE
    return _TOO_LARGE if _is_too_large(type_, sent) else None


def _is_whole(number: Any) -> bool:
    try:
        return bool(int(number) == number)
    except WRONG:  # no number, or an infinite one
        return False


def _double_problem(sent: Any, is_lite: bool) -> Problem | None:
    if isinstance(sent, str | bytes | bytearray | memoryview):  # of which Python itself makes one
        return _NO_NUMBER
    try:
        number = float(sent)
    except OverflowError:
        return _TOO_LARGE
    except WRONG:
        return _NO_NUMBER
    return _NAN if is_lite and isnan(number) else None


def _digits_problem(type_: Any, value: Any) -> Problem | None:
    """SQLite has decimals as doubles: one that would come back as another is refused."""
    if not type_.asdecimal or not isinstance(value, Decimal):
        return None
    return None if reader(type_)(float(value)) == rounded(type_, value) else _TOO_LONG


def _number_problem(type_: Any, sent: Any, is_lite: bool) -> Problem | None:
    if isinstance(sent, str):
        try:
            sent = Decimal(sent)
        except InvalidOperation:
            return _NO_NUMBER
    if not hasattr(sent, "__float__"):
        return _NO_NUMBER
    if isinstance(sent, int | float | Decimal) and isnan(sent):
        return _NAN if is_lite else None
    return _TOO_LARGE if isinstance(sent, int | float | Decimal) and _is_too_large(type_, sent) else None


def _moment_problem(type_: Any, value: Any) -> Problem | None:
    if isinstance(value, datetime) and value.tzinfo is not None and not type_.timezone:
        return "value", "It has to be without a time zone."
    return None


def _uuid_problem(value: Any) -> Problem | None:
    try:
        UUID(str(value))
    except ValueError:
        return _NO_UUID
    return None


def _is_too_large(type_: TypeEngine[Any], number: Any) -> bool:
    if isinstance(type_, Integer):
        low, high = range_of(type_)
        return not low <= number < high
    if isinstance(type_, Numeric) and type_.precision is not None:
        scale = type_.scale or 0
        # From half a unit of the last digit on, it is rounded up.
        return bool(abs(number) >= Decimal(10) ** (type_.precision - scale) - Decimal(5).scaleb(-scale - 1))
    return False


def range_of(type_: Integer) -> tuple[int, int]:
    bits = 15 if isinstance(type_, types.SmallInteger) else 63 if isinstance(type_, types.BigInteger) else 31
    return -(2**bits), 2**bits
