"""Whether an object fits a filter: what the database would say, decided in Python.

Values are those of the attribute's own type. Nothing is less or greater than None.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import inspect
from sqlalchemy.exc import NoInspectionAvailable

from uno.data.filters import Condition, Filter
from uno.data.letters import small
from uno.data.plan import DELETED
from uno.errors import Invalid

# What a relation leads to that leads nowhere: no object, so none that fits anything.
_NOWHERE = object()
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
    """Raises `Invalid` for an attribute that the candidate does not have."""
    if isinstance(part, Condition):
        name, kind = part.split()
        value, nested = _find(candidate, name)
        return value is not _NOWHERE and _compare(value, kind, part.value, nested)
    if part.kind == "or":
        return any(fits(candidate, one) for one in part.parts)
    return all(fits(candidate, one) for one in part.parts) is not (part.kind == "not")


def _find(candidate: Any, name: str) -> tuple[Any, bool]:
    """The value at the end of a path of attributes and keys, and whether it lies inside JSON."""
    value, nested = candidate, False
    for step in name.split("."):
        holder, value = value, _step(value, step, name)
        nested = nested or isinstance(holder, Mapping | None)
        if not nested and step != name and _leads_nowhere(holder, step, value):
            return _NOWHERE, False
    return value, nested


def _step(value: Any, step: str, name: str) -> Any:
    if value is None or isinstance(value, Mapping):
        return (value or {}).get(step)
    try:
        return getattr(value, step)
    except AttributeError:
        raise Invalid.field(name, f"{type(value).__name__} has no attribute {step!r}.", "unknown") from None


def _leads_nowhere(holder: Any, step: str, value: Any) -> bool:
    """Whether a relationship has nothing at its end, or only what is softly deleted."""
    try:
        relation = inspect(type(holder)).relationships.get(step)
    except NoInspectionAvailable:
        return False
    if relation is None or value is None:
        return relation is not None
    return DELETED in relation.mapper.column_attrs and getattr(value, DELETED, None) is not None


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
