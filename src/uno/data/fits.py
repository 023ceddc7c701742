"""Whether an object fits a filter: what the database would say, decided in Python.

Values are read as the database reads them: by the columns of a mapped class, by the annotations of an aggregate that
is stored as a document. Elsewhere they have to be of the attribute's own type. Nothing is less or greater than None.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Column, inspect
from sqlalchemy.orm import Mapper

from uno.data.decorators import is_foreign
from uno.data.document import DocumentPlan, document_plan
from uno.data.document_filter import DocumentFields
from uno.data.fields import Field, Fields, Searchable, Unreadable
from uno.data.filter_values import Values
from uno.data.filters import Condition, Filter, Limits, cut
from uno.data.letters import small
from uno.data.plan import DELETED
from uno.errors import Invalid, Misconfigured

# In memory there is no statement that could grow too large.
_UNLIMITED: Final = Limits(values=2**63, all_values=2**63)
_ORDERED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_TEXT: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "contains": operator.contains,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


def fits(candidate: Any, part: Filter | Condition) -> bool:
    """Raises `Invalid` for an attribute that the candidate does not have, and for a value that is none of it."""
    if isinstance(part, Condition):
        return _fits(candidate, part)
    if part.kind == "or":
        return any(fits(candidate, one) for one in part.parts)
    return all(fits(candidate, one) for one in part.parts) is not (part.kind == "not")


def _fits(candidate: Any, condition: Condition) -> bool:
    name, kind = condition.split()
    value, inner = _read(type(candidate), name, kind, condition)
    return any(_compare(stored, kind, value, nested) for stored, nested in _ends(candidate, False, name, name, inner))


# ── values ──


@dataclass(frozen=True)
class _Mapped:
    cls: type
    label: str
    names: tuple[str, ...]


class _Attributes:
    """Those of a document; its id is compared as what it is."""

    def __init__(self, plan: DocumentPlan) -> None:
        # How they are compared on one backend is how they are read on each.
        self._fields, self._names = DocumentFields(plan, "sqlite"), plan.fields

    def find(self, name: str) -> Field | None:
        return self._fields.find(name) if name in self._names else None


def _read(cls: type, name: str, kind: str, condition: Condition) -> tuple[Any, int]:
    """The value, and how many steps at the end of the name lie inside JSON; once for many objects of a class."""
    given, last = condition.value, condition.read
    if last is not None and last[0] is cls and (last[1] is given or last[1] == given):
        return last[2:]
    fields = _fields_of(cls)
    field = None if fields is None else fields.find(name)
    if field is None or is_foreign(field.column.type):
        return given, 0
    try:
        value = Values(_UNLIMITED).of(field, kind, condition)
    except Unreadable as error:
        raise Invalid.field(cut(condition.key), str(error), error.code) from None
    # Whoever has the list may change it.
    seen = given.copy() if isinstance(given, list | set) else given
    inner = len(field.path)
    object.__setattr__(condition, "read", (cls, seen, value, inner))
    return value, inner


def _fields_of(cls: type) -> Searchable | None:
    """None for a class whose values nobody knows how to read; it may be mapped later."""
    mapper: Any = inspect(cls, raiseerr=False)
    return _of_mapper(mapper) if isinstance(mapper, Mapper) else _of_document(cls)


@lru_cache(1_000)
def _of_mapper(mapper: Mapper[Any]) -> Fields:
    return Fields(_mapped(mapper), relations={p.key: Fields(_mapped(p.mapper)) for p in mapper.relationships})


@lru_cache(1_000)
def _of_document(cls: type) -> Searchable | None:
    try:
        plan = document_plan(cls)
    except (Misconfigured, NameError, TypeError):  # one that no database could store may still be asked
        return None
    return None if plan is None else _Attributes(plan)


def _mapped(mapper: Mapper[Any]) -> _Mapped:
    names = tuple(p.key for p in mapper.column_attrs if isinstance(p.columns[0], Column))
    return _Mapped(mapper.class_, mapper.class_.__name__, names)


# ── what is compared with them ──


def _ends(holder: Any, nested: bool, path: str, name: str, inner: int) -> Iterator[tuple[Any, bool]]:
    """What is at the end of a path of attributes and keys, and whether it lies inside JSON, as `inner` steps do.

    Nothing where a relationship leads to no object; where it is a list, what is at the end of each.
    """
    step, _, rest = path.partition(".")
    if path.count(".") < inner and not isinstance(holder, Mapping):  # JSON that has no keys
        holder = None
    value = _step(holder, step, name)
    nested = nested or isinstance(holder, Mapping | None)
    related = None if nested or step == name else _related(holder, step, value)
    for one in [value] if related is None else related:
        if rest:
            yield from _ends(one, nested, rest, name, inner)
        else:
            yield one, nested


def _step(value: Any, step: str, name: str) -> Any:
    if value is None or isinstance(value, Mapping):
        return (value or {}).get(step)
    try:
        return getattr(value, step)
    except AttributeError:
        raise Invalid.field(name, f"{type(value).__name__} has no attribute {step!r}.", "unknown") from None


def _related(holder: Any, step: str, value: Any) -> list[Any] | None:
    """The objects that a relationship leads to, without those that are softly deleted; None where it is none."""
    mapper: Any = inspect(type(holder), raiseerr=False)
    relation = mapper.relationships.get(step) if isinstance(mapper, Mapper) else None
    if relation is None:
        return None
    objects = [value] if not relation.uselist else value.values() if isinstance(value, Mapping) else value
    marked = DELETED in relation.mapper.column_attrs
    return [one for one in objects if one is not None and not (marked and getattr(one, DELETED))]


def _compare(stored: Any, kind: str, value: Any, nested: bool) -> bool:
    if kind in ("eq", "ne"):
        return _equal(stored, value, nested) is (kind == "eq")
    if kind in ("in", "not_in"):
        return any(_equal(stored, one, nested) for one in value) is (kind == "in")
    if kind == "is_null":
        return (stored is None) is bool(value)
    if kind == "has":
        return isinstance(stored, list | tuple | set | frozenset) and any(_equal(one, value, True) for one in stored)
    if kind == "between":
        return _ordered(stored, "gte", value[0], nested) and _ordered(stored, "lte", value[1], nested)
    if kind in _ORDERED:
        return _ordered(stored, kind, value, nested)
    return isinstance(stored, str) and _text(stored, kind, value)


def _equal(stored: Any, value: Any, nested: bool) -> bool:
    # In JSON true is not 1.
    differ = nested and isinstance(stored, bool) != isinstance(value, bool)
    return not differ and bool(stored == value)


def _ordered(stored: Any, kind: str, value: Any, nested: bool) -> bool:
    if stored is None or isinstance(stored, str) != isinstance(value, str):
        return False
    if nested and (isinstance(stored, bool | list | dict) or isinstance(value, bool)):
        return False
    return bool(_ORDERED[kind](stored, value))


def _text(stored: str, kind: str, value: str) -> bool:
    if kind.startswith("i"):
        stored, value = small(stored), small(value)
    return _TEXT[kind.removeprefix("i")](stored, value)
