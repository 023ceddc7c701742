"""Which values a column cannot hold, and why: a number that is too large, a text for a date, a name that is no enum's.

SQLite would store most of them, so there each value is looked at before it is written; PostgreSQL refuses them itself,
and is only asked afterwards which it was.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from json import JSONEncoder
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, ClauseElement, Enum, Integer, Numeric, String, types
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from uno.data.model import UtcDateTime
from uno.data.postgres_numbers import fits
from uno.data.sqlite_moments import keep_moments
from uno.errors import FieldError, Invalid

if TYPE_CHECKING:
    from uno.data.plan import MappedPlan

# The code and the sentence.
Problem = tuple[str, str]
# What types raise against values, and asyncpg where it does not say so in an error of its own.
WRONG = (TypeError, ValueError, AttributeError, ArithmeticError, LookupError)
_NUL = ("null_character", "It has a NUL character.")
_TOO_LARGE = ("too_large", "The number is too large, or has too many digits.")
_NO_NUMBER = ("type", "It has to be a number.")
_NOT_WHOLE = ("type", "It has to be a whole number.")
_NO_TEXT = ("value", "It has a character that is no text, half of a surrogate pair.")
_NAN = ("value", "It is not a number that can be stored.")
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_as_json = JSONEncoder(ensure_ascii=False, allow_nan=False, default=str).encode
_SAFE = frozenset((int, bool, type(None)))
_BYTES = (bytes, bytearray, memoryview)
# A day is the moment at its beginning; asyncpg asks of a time only that it has hours.
_KINDS: tuple[tuple[Any, tuple[type, ...]], ...] = (
    (types.LargeBinary, _BYTES),
    (types.DateTime, (date,)),
    (types.Date, (date,)),
    (types.Time, (time, datetime)),
    (types.Interval, (timedelta,)),
)
_EXACT: tuple[tuple[Any, type], ...] = (
    (Boolean, bool),
    (types.LargeBinary, bytes),
    (types.Date, date),
    (types.Time, time),
    (types.Interval, timedelta),
)


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
    type_ = type_._variant_mapping.get(dialect.name, type_)
    is_own = isinstance(type_, TypeDecorator)
    plain = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    if not is_own and not _has_kind(plain, value):
        return no_such(value)
    if isinstance(plain, types.Float) and isinstance(value, str) and not is_own:
        return _NO_NUMBER
    if isinstance(plain, Numeric) and not fits(value):
        return _TOO_LARGE
    try:
        process = type_.dialect_impl(dialect).bind_processor(dialect)
        sent = value if process is None else process(value)
    except Exception:  # whatever a type says against a value
        return _refused(plain, value)
    if sent is None:
        return None
    if isinstance(plain, types.JSON):
        return _json_problem(value)
    if isinstance(plain, ARRAY) and isinstance(value, list | tuple):
        return next((found for one in value if (found := problem_of(plain.item_type, one, dialect))), None)
    if isinstance(plain, Enum):
        return None if sent in plain.enums else _no_member(plain)
    if isinstance(plain, String):
        return text_problem(sent, plain.length) if isinstance(sent, str) else no_such(value)
    if isinstance(plain, Integer):
        return _whole_problem(plain, sent, dialect.name == "sqlite")
    if isinstance(plain, Numeric):
        return _number_problem(plain, sent, dialect.name == "sqlite")
    if isinstance(plain, types.DateTime) and isinstance(sent, datetime | str):
        return _moment_problem(plain, value)
    if isinstance(plain, types.Uuid) and isinstance(sent, str):
        return _uuid_problem(value)
    return None


def no_such(value: Any) -> Problem:
    """It is of another type."""
    name = type(value).__name__
    return "type", f"It cannot be {'an' if name[0] in 'aeiou' else 'a'} {name}."


def _refused(plain: Any, value: Any) -> Problem:
    if isinstance(plain, Enum):
        return _no_member(plain)
    if isinstance(plain, Numeric) and isinstance(value, str):
        return _NO_NUMBER
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


def _json_problem(value: Any) -> Problem | None:
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


def _whole_problem(type_: Integer, sent: Any, is_lite: bool) -> Problem | None:
    # asyncpg takes whatever can become an int; SQLite would keep a fraction.
    if is_lite and not isinstance(sent, int) and not (isinstance(sent, float) and sent.is_integer()):
        return _NO_NUMBER if isinstance(sent, str) else _NOT_WHOLE
    if not hasattr(sent, "__int__"):
        return _NO_NUMBER
    return _TOO_LARGE if _is_too_large(type_, sent) else None


def _number_problem(type_: Any, sent: Any, is_lite: bool) -> Problem | None:
    if isinstance(sent, str) and not isinstance(type_, types.Float):
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
        return "value", "It is no UUID."
    return None


def _is_too_large(type_: TypeEngine[Any], number: Any) -> bool:
    if isinstance(type_, Integer):
        low, high = _range(type_)
        return not low <= number < high
    if isinstance(type_, Numeric) and type_.precision is not None and type_.asdecimal:
        scale = type_.scale or 0
        # From half a unit of the last digit on, it is rounded up.
        return bool(abs(number) >= Decimal(10) ** (type_.precision - scale) - Decimal(5).scaleb(-scale - 1))
    return False


def _range(type_: Integer) -> tuple[int, int]:
    bits = 15 if isinstance(type_, types.SmallInteger) else 63 if isinstance(type_, types.BigInteger) else 31
    return -(2**bits), 2**bits


# -- before they are written


class Holds:
    """Refuses the values of a class that SQLite would store although its columns do not hold them."""

    def __init__(self, plan: "MappedPlan") -> None:
        self._fine = {a.name: _fine(a.column.type) for a in plan.attributes}
        self._types = {a.name: a.column.type for a in plan.attributes}

    def __call__(self, values: Mapping[str, Any], changed: Collection[str] | None = None) -> None:
        """Raises `Invalid` that names the attributes; of those that are `changed`, by default of all."""
        names = values if changed is None else changed
        doubtful = [n for n in names if (value := values.get(n)) is not None and not self._fine[n](value)]
        found = {n: problem for n in doubtful if (problem := self._problem(n, values[n]))}
        if found:
            raise unfit(found)

    def first(self, name: str, values: Iterable[Any]) -> tuple[int, Problem] | None:
        """The place and the problem of the first of many values of an attribute."""
        fine = self._fine[name]
        doubtful = ((n, value) for n, value in enumerate(values) if value is not None and not fine(value))
        return next(((n, problem) for n, value in doubtful if (problem := self._problem(name, value))), None)

    def _problem(self, name: str, value: Any) -> Problem | None:
        return problem_of(self._types[name], value, _LITE)


def look_at_json(values: Mapping[str, Any], changed: Collection[str] | None = None) -> None:
    """The same for the attributes of a document."""
    names = values if changed is None else values.keys() & changed
    doubtful = {n: values[n] for n in names if type(values[n]) not in _SAFE}
    found = {n: problem for n, value in doubtful.items() if (problem := _json_problem(value))}
    if found:
        raise unfit(found)


def _lite() -> Dialect:
    dialect: Any = SQLiteDialect_aiosqlite()
    keep_moments(dialect)
    return dialect  # type: ignore[no-any-return]


_LITE = _lite()


def _fine(type_: Any) -> Callable[[Any], bool]:
    """What tells of most values quickly that there is nothing to say against them."""
    type_ = type_._variant_mapping.get(_LITE.name, type_)
    plain: Any = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    if isinstance(type_, UtcDateTime):
        return lambda value: type(value) is datetime and value.tzinfo is not None
    if isinstance(type_, TypeDecorator):
        return lambda value: False
    if isinstance(plain, Enum):
        wanted = plain.enum_class
        return lambda value: type(value) is wanted
    if isinstance(plain, String):
        longest = plain.length
        return lambda value: type(value) is str and text_problem(value, longest) is None
    if isinstance(plain, Integer):
        low, high = _range(plain)
        return lambda value: type(value) is int and low <= value < high
    if isinstance(plain, types.Float):
        return lambda value: type(value) is float and value == value
    if isinstance(plain, Numeric) and plain.precision is not None:
        digits = plain.precision - (plain.scale or 0) - 1
        return lambda value: type(value) is Decimal and value.is_finite() and value.adjusted() < digits
    if isinstance(plain, types.DateTime):
        timezone = plain.timezone
        return lambda value: type(value) is datetime and (timezone or value.tzinfo is None)
    if isinstance(plain, types.Uuid):
        kind: type = UUID if plain.as_uuid else object
        return lambda value: type(value) is kind
    exact = next((exact for kind, exact in _EXACT if isinstance(plain, kind)), None)
    return lambda value: type(value) is exact
