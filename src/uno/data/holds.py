"""Brings values into the form of their columns before they are written, and refuses those that do not fit."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import copysign, inf
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
from uno.data.forms import ROUNDING, Make, maker
from uno.data.model import UtcDateTime
from uno.data.narrow import keep_blanks, narrower
from uno.data.postgres_numbers import BEFORE, keep_digits
from uno.data.sqlite_moments import keep_moments
from uno.data.sqlite_numbers import DIGITS, digits_after
from uno.data.values import (
    WRONG,
    Problem,
    is_own,
    json_problem,
    no_such,
    on_backend,
    problem_of,
    range_of,
    text_problem,
    unfit,
)

if TYPE_CHECKING:
    from uno.data.plan import MappedPlan

_SAFE = frozenset((int, bool, NoneType))
_OF_JSON = frozenset((dict, list, str, float, *_SAFE))
_TAKEN_OTHERWISE = (ARRAY, Numeric, types.Float, INTERVAL, types.Interval, types.DateTime, types.Time, types.Uuid)
_TAKEN: tuple[tuple[Any, type], ...] = ((Boolean, bool), (Integer, int), (types.Date, date))
_EXACT: tuple[tuple[Any, type], ...] = (*_TAKEN, (types.LargeBinary, bytes))


class Look:
    """At the values of one column."""

    __slots__ = ("_dialect", "_make", "_plain", "_type", "fine", "kind")

    def __init__(self, type_: TypeEngine[Any], backend: str) -> None:
        self._type = type_
        self._dialect = _DIALECTS[backend]
        self._plain = plain = on_backend(type_, backend)
        self._make: Make | None = None if is_own(plain) else maker(plain, backend)
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
    found = {n: problem for n, value in doubtful.items() if (problem := json_problem(value))}
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
    if is_own(plain):
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
        low, high = range_of(under)
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
        return lambda value: type(value) in _OF_JSON and json_problem(value) is None
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
