"""What the objects of a class can be filtered and sorted by, and the values that each field takes."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Literal, Protocol
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ARRAY, JSON, ColumnElement, type_coerce, types

from uno.data.decorators import below
from uno.data.narrow import LONGEST, SHORTEST
from uno.data.written import written

Kind = Literal["text", "number", "boolean", "moment", "choice", "json", "array", "binary"]

_ALWAYS = frozenset({"eq", "ne", "in", "not_in", "is_null"})
_ORDERED = frozenset({"lt", "lte", "gt", "gte", "between"})
TEXT = frozenset({"contains", "icontains", "starts_with", "istarts_with", "ends_with", "iends_with"})
OPERATORS: Final[Mapping[Kind, frozenset[str]]] = {
    "text": _ALWAYS | _ORDERED | TEXT,
    "number": _ALWAYS | _ORDERED,
    "moment": _ALWAYS | _ORDERED,
    "boolean": _ALWAYS,
    "choice": _ALWAYS,
    "json": _ALWAYS | _ORDERED | TEXT | {"has"},
    "array": frozenset({"has", "is_null"}),
    "binary": frozenset({"is_null"}),
}
_KINDS: Final[Mapping[type, Kind]] = {
    str: "text",
    bool: "boolean",
    int: "number",
    float: "number",
    Decimal: "number",
    UUID: "choice",
    datetime: "moment",
    date: "moment",
    time: "moment",
    timedelta: "moment",
    bytes: "binary",
    dict: "json",
    list: "array",
}
# Bits of the integers of SQL; a Python int has any number.
_BITS: Final[tuple[tuple[type[Any], int], ...]] = (
    (types.SmallInteger, 15),
    (types.BigInteger, 63),
    (types.Integer, 31),
)
# A part of a path into JSON: it stands in the text of a statement on SQLite.
_STEP = re.compile(r"(?!\d+\Z)[A-Za-z0-9_-]{1,64}")
_MOST_STEPS = 8
# Of a decimal, on each side of the point: PostgreSQL has 16,383 after it.
_MOST_DIGITS = 1_000
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,2})?", re.ASCII)
_SPACED = re.compile(r"(\d\d:\d\d(?::\d\d(?:\.\d+)?)?) (\d\d(?::?\d\d)?)\Z", re.ASCII)
_DURATION = "It takes seconds, as 90.5, or a duration of ISO 8601, as PT1M30.5S."
_BEYOND = "It is beyond what can be stored."


class Unreadable(ValueError):
    """Why a value is not one of the field, in a sentence."""

    code = "value"


class TooMany(Unreadable):
    """More values than anybody should ask for."""

    code = "too_many"


@dataclass(frozen=True, slots=True)
class Field:
    """One thing to filter or sort by. `column` is what it is in SQL, `path` the way into its JSON.

    `compare(operator, value)` takes the place of a comparison with the column.
    """

    name: str
    kind: Kind
    column: ColumnElement[Any]
    read: Callable[[Any], Any]
    path: tuple[str, ...] = ()
    relation: Any = None
    compare: Callable[[str, Any], ColumnElement[bool]] | None = None
    only: frozenset[str] | None = None
    # Documents are sorted by what is made of their JSON.
    order: ColumnElement[Any] | None = None
    bind: Callable[[Any], Any] | None = None
    nullable: bool = True
    # Of which class it is.
    owner: str = ""

    @property
    def sorted_by(self) -> ColumnElement[Any]:
        return self.column if self.order is None else self.order

    def bound(self, value: Any) -> Any:
        """A value as `sorted_by` can be compared with it."""
        return value if self.bind is None else self.bind(value)

    @property
    def operators(self) -> frozenset[str]:
        if self.only is not None:
            return self.only
        return OPERATORS[self.kind] if not (self.kind == "json" and not self.path) else frozenset({"is_null", "has"})


class Searchable(Protocol):
    """Where a filter finds its fields."""

    def find(self, name: str) -> Field | None: ...


class Mapped(Protocol):
    """What of a plan its fields are made of: the class, its name, the attributes that are columns."""

    @property
    def cls(self) -> type: ...
    @property
    def label(self) -> str: ...
    @property
    def names(self) -> Sequence[str]: ...


class Fields:
    """Those of one mapped class, by name.

    `data.author.name` goes into the JSON column `data`, `customer.name` to an object of the declared
    relationship `customer`, one level deep.
    """

    def __init__(self, plan: Mapped, *, hidden: Iterable[str] = (), relations: Mapping[str, "Fields"] = {}) -> None:
        self.plan = plan
        unseen = frozenset(hidden)
        own = (_field(plan, name) for name in plan.names if name not in unseen)
        self._own = {one.name: one for one in own}
        self._relations = dict(relations)

    @property
    def names(self) -> list[str]:
        """Without those inside JSON."""
        inner = [f"{name}.{one}" for name, fields in self._relations.items() for one in fields.names if "." not in one]
        return [*self._own, *inner]

    def find(self, name: str) -> Field | None:
        """The field of this name, None where there is none."""
        found = self._own.get(name)
        if found is not None or "." not in name:
            return found
        head, _, rest = name.partition(".")
        if head in self._relations:
            return self._related(head, rest)
        column = self._own.get(head)
        steps = tuple(rest.split("."))
        if column is None or column.kind != "json" or len(steps) > _MOST_STEPS or not all(map(_is_step, steps)):
            return None
        return Field(name, "json", column.column, _json, steps)

    def _related(self, relation: str, rest: str) -> Field | None:
        found = self._relations[relation].find(rest)
        if found is None or found.relation is not None:
            return None
        prop = getattr(self.plan.cls, relation)
        return Field(f"{relation}.{rest}", found.kind, found.column, found.read, found.path, prop)


def _is_step(step: str) -> bool:
    return _STEP.fullmatch(step) is not None


def _field(plan: Mapped, name: str) -> Field:
    column = getattr(plan.cls, name)
    kind, wanted = _kind_of(column.type)
    nullable = getattr(column.property.columns[0], "nullable", True)
    read = _reader(column.type, kind, wanted)
    return Field(name, kind, _as_compared(column), read, nullable=nullable, owner=plan.label)


def _as_compared(column: Any) -> Any:
    """With `NUMERIC(10, 2)` PostgreSQL would round what it is compared with, and refuse what is too large."""
    is_scaled = type(column.type) in (types.Numeric, types.NUMERIC, types.DECIMAL) and column.type.asdecimal
    return type_coerce(column, types.Numeric()) if is_scaled else column


def _undecorated(type_: Any) -> Any:
    # SQLAlchemy's own Interval is a decorated DateTime, and yet none.
    is_decorated = isinstance(type_, types.TypeDecorator) and not isinstance(type_, types.Interval)
    return type_.impl_instance if is_decorated else type_


def _kind_of(type_: Any) -> tuple[Kind, Any]:
    """The kind of a column's values, and their Python type."""
    plain = _undecorated(type_)
    if isinstance(plain, JSON):
        return "json", None
    if isinstance(plain, ARRAY):
        return "array", _kind_of(plain.item_type)[1]
    try:
        wanted = plain.python_type
    except NotImplementedError:
        return "binary", bytes
    if issubclass(wanted, Enum):
        return "choice", wanted
    return _KINDS.get(wanted, "binary"), wanted


# ── values ──


def _reader(type_: Any, kind: Kind, wanted: Any) -> Callable[[Any], Any]:
    if kind in ("json", "array"):
        item = _reader(type_.item_type, _kind_of(type_.item_type)[0], wanted) if kind == "array" else _json
        return item
    validate = dated(TypeAdapter(wanted).validate_python, wanted)
    check, prepare = _check_of(type_, wanted), _FORMS.get(wanted)

    def read(value: Any) -> Any:
        try:
            return check(validate(value if prepare is None or not isinstance(value, str) else prepare(value)))
        except ValidationError as error:
            if wanted is timedelta:
                raise Unreadable(_DURATION) from None
            raise Unreadable(f"{error.errors(include_url=False, include_input=False)[0]['msg']}.") from None
        except OverflowError:
            raise Unreadable(_BEYOND) from None

    return read


def dated(validate: Callable[[Any], Any], wanted: Any) -> Callable[[Any], Any]:
    """`validate`, where the values are dates or times without numbers."""
    why = written(wanted, or_day=True)
    if why is None:
        return validate

    def checked(value: Any) -> Any:
        reason = why(value)
        if reason is not None:
            raise Unreadable(reason)
        return validate(value)

    return checked


def _check_of(type_: Any, wanted: type) -> Callable[[Any], Any]:
    plain = _undecorated(type_)
    bits = next((bits for sql, bits in _BITS if isinstance(plain, sql)), None)
    if wanted is int and bits is not None:
        return lambda value: _within(value, bits)
    # What a decorator of somebody's own makes of a moment only that knows.
    if isinstance(stored := below(type_), types.DateTime) and not stored.timezone:
        return lambda value: _in_utc(value).replace(tzinfo=None)
    if isinstance(stored, types.Time) and not stored.timezone:
        return lambda value: value.replace(tzinfo=None)
    return _CHECKS.get(wanted, lambda value: value)


def _within(value: int, bits: int) -> int:
    if not -(2**bits) <= value < 2**bits:
        raise Unreadable(f"It has to be between {-(2**bits)} and {2**bits - 1}.")
    return value


def _text(value: str) -> str:
    if "\0" in value:
        raise Unreadable("It has a NUL character.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unreadable("It is not Unicode text.") from None
    return value


def storable(value: Any) -> Any:
    """The value, if no database refuses it."""
    if type(value) is str:
        return _text(value)
    try:
        if isinstance(value, datetime) and value.tzinfo is not None:
            value.astimezone(UTC)
        return _finite(value) if isinstance(value, int | float | Decimal) else value
    except OverflowError:
        raise Unreadable(_BEYOND) from None


def _finite(value: Any) -> Any:
    if not math.isfinite(value):
        raise Unreadable("It has to be a finite number.")
    if isinstance(value, Decimal) and max(abs(value.adjusted()), -int(value.as_tuple().exponent)) > _MOST_DIGITS:
        raise Unreadable(f"It can have at most {_MOST_DIGITS} digits before and after the point.")
    return value


def _in_utc(value: datetime) -> datetime:
    """Without a time zone it is UTC."""
    return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).astimezone(UTC)


def _dated(value: timedelta) -> timedelta:
    if not SHORTEST <= value <= LONGEST:
        raise Unreadable(_BEYOND)
    return value


def _seconds(text: str) -> Any:
    """The JSON form of a duration is a number."""
    return float(text) if _NUMBER.fullmatch(text) else text


def _with_plus(text: str) -> str:
    """A plus in a query string is read as a space."""
    return _SPACED.sub(r"\1+\2", text)


# What a text is before it is read.
_FORMS: Final[Mapping[type, Callable[[str], Any]]] = {timedelta: _seconds, datetime: _with_plus, time: _with_plus}
_CHECKS: Final[Mapping[type, Callable[[Any], Any]]] = {
    str: _text,
    float: _finite,
    Decimal: _finite,
    datetime: _in_utc,
    timedelta: _dated,
}


def from_text(value: str) -> Any:
    """What a text from outside is inside JSON: a number, true, false, a text in quotes; or else the text itself."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found if isinstance(found, str | int | float) else value


def _json(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _within(value, 63)
    if isinstance(value, float | Decimal):
        return float(_finite(value))
    if not isinstance(value, str):
        raise Unreadable("It has to be a text, a number, true or false.")
    return _text(value)
