"""Which values a column cannot hold, and why: a number that is too large, a text for a date, a name that is no enum's.

SQLite would store most of them, so there each value is looked at before it is written. PostgreSQL refuses them itself,
and is only asked afterwards which it was, but for those of which its driver would make something else.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from json import JSONEncoder
from math import copysign, inf, isfinite, isnan
from types import NoneType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, ClauseElement, Enum, Integer, Numeric, String, types
from sqlalchemy.dialects.postgresql import INTERVAL, JSONB
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from uno.data import sqlite_numbers
from uno.data.forms import ROUNDING, Make, maker, rounded
from uno.data.model import UtcDateTime
from uno.data.narrow import keep_blanks, narrower
from uno.data.postgres_numbers import BEFORE, fits, keep_digits
from uno.data.sqlite_moments import keep_moments
from uno.data.sqlite_numbers import DIGITS, digits_after, reader
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
_BEYOND = ("value", "It is beyond what can be stored.")
_NAN = ("value", "It is not a number that can be stored.")
_NO_UUID = ("value", "It has to be a UUID: uuid.UUID('…').")
_TOO_LONG = ("too_large", f"The number has more digits than SQLite keeps, which are {DIGITS}.")
_ALONE = ("too_large", "A number by itself has at most 64 bits in JSON on SQLite.")
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_as_json = JSONEncoder(ensure_ascii=False, allow_nan=False, default=str).encode
_SAFE = frozenset((int, bool, NoneType))
_OF_JSON = frozenset((dict, list, str, float, *_SAFE))
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
_TAKEN_OTHERWISE = (ARRAY, Numeric, types.Float, INTERVAL, types.Interval, types.DateTime, types.Time, types.Uuid)
# In JSON they are what they are.
_AS_IN_JSON = (String, Integer, Boolean, types.Float)
_TAKEN: tuple[tuple[Any, type], ...] = ((Boolean, bool), (Integer, int), (types.Date, date))
_EXACT: tuple[tuple[Any, type], ...] = (*_TAKEN, (types.LargeBinary, bytes))


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
    here = _on(type_, dialect.name)
    is_own = _is_own(here)
    plain: Any = here.impl_instance if is_own else here
    if not is_own and not _has_kind(plain, value):
        return no_such(value)
    if not is_own and (keep := narrower(plain, dialect.name)) is not None and (value := keep(value)) is None:
        return _BEYOND if isinstance(plain, types.Interval | INTERVAL) else _TOO_LARGE
    if isinstance(plain, types.Float) and isinstance(value, str) and not is_own:
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
        return _ALONE if is_lite and not _is_kept_alone(value) else _json_problem(value)
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


def _on(type_: Any, backend: str) -> Any:
    """The type on a backend; a list of texts, numbers or booleans is one as JSON, too."""
    here = type_._variant_mapping.get(backend, type_)
    lists = next((one for one in (type_, *type_._variant_mapping.values()) if isinstance(one, ARRAY)), None)
    is_plain = lists is not None and isinstance(lists.item_type, _AS_IN_JSON) and not isinstance(lists.item_type, Enum)
    return lists if is_plain and isinstance(here, types.JSON) else here


def _is_own(type_: Any) -> bool:
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
        low, high = _range(type_)
        return not low <= number < high
    if isinstance(type_, Numeric) and type_.precision is not None:
        scale = type_.scale or 0
        # From half a unit of the last digit on, it is rounded up.
        return bool(abs(number) >= Decimal(10) ** (type_.precision - scale) - Decimal(5).scaleb(-scale - 1))
    return False


def _range(type_: Integer) -> tuple[int, int]:
    bits = 15 if isinstance(type_, types.SmallInteger) else 63 if isinstance(type_, types.BigInteger) else 31
    return -(2**bits), 2**bits


# -- before they are written


class Look:
    """At the values of one column."""

    __slots__ = ("_dialect", "_make", "_plain", "_type", "fine", "kind")

    def __init__(self, type_: TypeEngine[Any], backend: str) -> None:
        self._type = type_
        self._dialect = _DIALECTS[backend]
        self._plain = plain = _on(type_, backend)
        self._make: Make | None = None if _is_own(plain) else maker(plain, backend)
        # What tells of most values quickly that there is nothing to do; None where nothing ever is.
        self.fine = _fine(plain, backend) if backend == "sqlite" or _is_taken_otherwise(plain) else None
        # All values of this type are fine, too; on PostgreSQL, which itself refuses what is too large.
        self.kind = None if backend == "sqlite" else _kind(plain)

    def __call__(self, value: Any) -> tuple[Any, Problem | None]:
        """A doubtful value in the form of the column, and what is said against it."""
        if isinstance(value, ClauseElement) or hasattr(value, "__clause_element__"):
            return value, None
        try:
            made = value if self._make is None else self._make(self._plain, value)
        except WRONG:  # whatever is said against it
            return value, problem_of(self._type, value, self._dialect) or no_such(value)
        is_fine = self.fine is None or self.fine(made)
        return made, None if is_fine else problem_of(self._type, made, self._dialect)


class Holds:
    """Brings the values of a class into the form of its columns, and refuses those that they do not hold."""

    def __init__(self, plan: "MappedPlan", backend: str) -> None:
        looks = {a.name: Look(a.column.type, backend) for a in plan.attributes}
        self._looks = {name: look for name, look in looks.items() if look.fine is not None}
        self._fine = {name: look.fine for name, look in self._looks.items()}

    def __call__(self, values: Mapping[str, Any], changed: Collection[str] | None = None) -> dict[str, Any]:
        """What of `values` is written otherwise; of those that are `changed`, by default of all.

        Raises `Invalid` that names the attributes.
        """
        names = values if changed is None else changed
        known = self._fine
        doubtful = [
            n for n in names if (value := values.get(n)) is not None and (fine := known.get(n)) and not fine(value)
        ]
        if not doubtful:
            return {}
        made = {name: self._looks[name](values[name]) for name in doubtful}
        found = {name: problem for name, (_, problem) in made.items() if problem is not None}
        if found:
            raise unfit(found)
        return {name: value for name, (value, _) in made.items() if value is not values[name]}

    def column(self, name: str, values: Sequence[Any]) -> tuple[dict[int, Any], tuple[int, Problem] | None]:
        """Of many values of an attribute those that are written otherwise, by their places; the first problem."""
        made: dict[int, Any] = {}
        look = self._looks.get(name)
        if look is None or look.fine is None or (look.kind and {look.kind, NoneType}.issuperset(map(type, values))):
            return made, None
        fine = look.fine
        for n, given in enumerate(values):
            if given is not None and not fine(given):
                value, problem = look(given)
                if problem is not None:
                    return made, (n, problem)
                if value is not given:
                    made[n] = value
        return made, None


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
    sqlite_numbers.keep_digits(dialect)
    keep_blanks(dialect)
    return dialect  # type: ignore[no-any-return]


def _postgres() -> Dialect:
    dialect: Any = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
    keep_digits(dialect)
    return dialect  # type: ignore[no-any-return]


_DIALECTS = {"sqlite": _lite(), "postgresql": _postgres()}


def _is_taken_otherwise(plain: Any) -> bool:
    """Whether asyncpg makes something of values for PostgreSQL that is not what they are.

    Or whether a column of JSON, which is kept as text there, takes what neither the trail nor a query can read.
    """
    if isinstance(plain, types.JSON):
        return not isinstance(plain, JSONB)
    if isinstance(plain, String) and not isinstance(plain, Enum):
        return plain.length is not None or narrower(plain, "postgresql") is not None  # it cuts off blanks, or adds some
    return _kind(plain) is not None or isinstance(plain, _TAKEN_OTHERWISE)


def _kind(plain: Any) -> type | None:
    """The type of which all values are stored as they are; None where that depends on them, or nothing is known."""
    if isinstance(plain, TypeDecorator) or narrower(plain, "postgresql") is not None:
        return None
    if isinstance(plain, Enum):
        return plain.enum_class
    if isinstance(plain, types.Float):
        return None if plain.asdecimal else float
    if isinstance(plain, types.DateTime):
        return None if plain.timezone else datetime
    if isinstance(plain, types.Uuid):
        return UUID if plain.as_uuid else None
    return next((kind for wanted, kind in _TAKEN if isinstance(plain, wanted)), None)


def _fine(plain: Any, backend: str) -> Callable[[Any], bool]:
    is_fine, keep = _fine_kind(plain, backend), narrower(plain, backend)
    return is_fine if keep is None else lambda value: is_fine(value) and keep(value) is value


def _fine_kind(plain: Any, backend: str) -> Callable[[Any], bool]:
    under: Any = plain.impl_instance if isinstance(plain, TypeDecorator) else plain
    if isinstance(plain, UtcDateTime):
        return lambda value: type(value) is datetime and value.tzinfo is not None
    if _is_own(plain):
        return lambda value: False
    if isinstance(plain, types.Interval | INTERVAL):
        return lambda value: type(value) is timedelta
    if isinstance(under, Enum):
        wanted = under.enum_class
        return lambda value: type(value) is wanted
    if isinstance(under, String):
        longest = under.length
        return lambda value: type(value) is str and text_problem(value, longest) is None
    if isinstance(under, Integer):
        low, high = _range(under)
        return lambda value: type(value) is int and low <= value < high
    if isinstance(under, types.Float):
        return lambda value: type(value) is float and (value != 0.0 or copysign(1.0, value) > 0) and value == value
    if isinstance(under, Numeric):
        return _fine_number(under, backend)
    if isinstance(under, types.DateTime):
        zoned = under.timezone
        return lambda value: type(value) is datetime and (value.tzinfo is not None) is zoned
    if isinstance(under, types.Time):
        zoned = under.timezone
        return lambda value: type(value) is time and (zoned or value.tzinfo is None)
    if isinstance(under, types.JSON) and backend != "sqlite":
        return lambda value: type(value) in _OF_JSON and _json_problem(value) is None
    if isinstance(under, types.Uuid):
        kind: type = UUID if under.as_uuid else NoneType
        return lambda value: isinstance(value, kind)  # drivers have one of their own
    if isinstance(under, ARRAY):
        return _fine_list(under, backend)
    exact = next((exact for kind, exact in _EXACT if isinstance(under, kind)), None)
    return lambda value: type(value) is exact


def _fine_list(plain: Any, backend: str) -> Callable[[Any], bool]:
    whole, item = tuple if plain.as_tuple else list, plain.item_type
    if backend != "sqlite" and not _is_taken_otherwise(item):
        return lambda value: type(value) is whole
    fine, alike = _fine(item, backend), {None if backend == "sqlite" else _kind(item), NoneType}
    return lambda value: (
        type(value) is whole and (alike.issuperset(map(type, value)) or all(one is None or fine(one) for one in value))
    )


def _fine_number(plain: Any, backend: str) -> Callable[[Any], bool]:
    after = digits_after(plain)
    if not plain.asdecimal:
        return _fine_float(plain, after)
    if backend == "sqlite" and (plain.precision is None or plain.precision > DIGITS):
        return lambda value: False
    if after is None:
        return lambda value: type(value) is Decimal and bool(value)
    unit, before = Decimal((0, (1,), -after)), BEFORE if plain.precision is None else plain.precision - after

    def fine(value: Any) -> bool:
        if type(value) is not Decimal or not value.is_finite() or value.adjusted() >= before - 1:
            return False
        is_short = value.same_quantum(unit) or ROUNDING.quantize(value, unit) == value
        return is_short and (bool(value) or not value.is_signed())

    return fine


def _fine_float(plain: Any, after: int | None) -> Callable[[Any], bool]:
    top = inf if plain.precision is None else 10.0 ** (plain.precision - (after or 0))

    def fine(value: Any) -> bool:
        if type(value) is not float or abs(value) >= top or value != value:
            return False
        return (after is None or round(value, after) == value) and (bool(value) or copysign(1.0, value) > 0)

    return fine
