"""Pages by keyset: what comes after a row, however many rows come and go meanwhile.

Sorted by any fields, the key last, so that no two rows are equal; NULLs come last in both directions.
A cursor is the position of a row: opaque to who carries it, and read as carefully as any other input.
(Markus Winand, "We need tool support for keyset pagination".)
"""

import binascii
import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from pydantic_core import to_jsonable_python
from sqlalchemy import ColumnElement, LargeBinary, and_, false, literal, or_

from uno.data.asked import named
from uno.data.decorators import below
from uno.data.fields import Field, Searchable, Unreadable
from uno.errors import Invalid

T = TypeVar("T")
# What can be in a URL: the position has the values of a row, which may be long texts.
_LONGEST = 60_000
# Fields of one order, and the kinds that have one.
MOST_FIELDS = 8
# As texts, which is what they are in JSON.
_BEYOND = frozenset({"NaN", "Infinity", "-Infinity"})
SORTABLE = frozenset({"text", "number", "moment", "boolean", "choice"})
# Also those whose values fit in no cursor.
ORDERED = SORTABLE | {"binary", "array"}


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A stretch of a sorted list. `next` is the cursor of what follows, `total` how many there are, if asked for."""

    items: list[T]
    next: str | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One field to sort by."""

    field: Field
    descending: bool

    @property
    def said(self) -> str:
        return f"-{self.field.name}" if self.descending else self.field.name

    @property
    def by(self) -> ColumnElement[Any]:
        column = self.field.sorted_by
        found = column.desc() if self.descending else column.asc()
        # Said of a column without any, it would keep PostgreSQL from reading an index backwards.
        return found.nulls_last() if self.field.nullable else found

    def beyond(self, value: Any) -> ColumnElement[bool]:
        """Rows after one with this value, by this field alone."""
        column = self.field.sorted_by
        if value is None:
            return false()
        bound = self.field.bound(value)
        bound = literal(bound) if isinstance(bound, bool) else bound
        found = column < bound if self.descending else column > bound
        return or_(found, column.is_(None)) if self.field.nullable else found

    def same(self, value: Any) -> ColumnElement[bool]:
        column = self.field.sorted_by
        return column.is_(None) if value is None else column == self.field.bound(value)


def orders(
    sort: str | Sequence[str], fields: Searchable, key: Sequence[str], kinds: Collection[str] = SORTABLE
) -> list[Order]:
    """`-created_at,name`, or a list of such names; the key is added. Raises `Invalid`."""
    said = [one for one in (sort.split(",") if isinstance(sort, str) else named("sort", sort)) if one]
    names = [one.removeprefix("-") for one in said]
    if len(said) > MOST_FIELDS:
        raise Invalid.field("sort", f"It takes at most {MOST_FIELDS} fields.", "too_many")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Invalid.field("sort", f"{twice[:200]!r} is named more than once.", "repeated")
    found = [Order(_sortable(one.removeprefix("-"), fields, kinds), one.startswith("-")) for one in said]
    rest = [_of_key(name, fields, kinds) for name in key if name not in names]
    return [*found, *(Order(field, False) for field in rest)]


def _sortable(name: str, fields: Searchable, kinds: Collection[str]) -> Field:
    field = fields.find(name)
    if field is None:
        raise Invalid.field("sort", f"There is no field {name[:200]!r} to sort by.", "unknown")
    if field.kind not in kinds or field.path or field.relation is not None:
        raise Invalid.field("sort", f"{name[:200]} has no order to sort by.", "operator")
    return field


def _of_key(name: str, fields: Searchable, kinds: Collection[str]) -> Field:
    """Of bytes, too, which are base64 in a cursor."""
    field = fields.find(name)
    is_bytes = field is not None and isinstance(below(field.column.type), LargeBinary)
    return _sortable(name, fields, {*kinds, "binary"} if is_bytes else kinds)


def after(order: Sequence[Order], values: Sequence[Any]) -> ColumnElement[bool]:
    """The rows that come after the one with these values."""
    found: list[ColumnElement[bool]] = []
    equal: list[ColumnElement[bool]] = []
    for one, value in zip(order, values, strict=True):
        found.append(and_(*equal, one.beyond(value)))
        equal.append(one.same(value))
    return or_(*found)


def cursor(order: Sequence[Order], entity: Any, value_of: Callable[[Any, str], Any] = getattr) -> str:
    """The position of `entity`. Raises `Invalid` where it is too long to be handed around."""
    values = [to_jsonable_python(value_of(entity, one.field.name), bytes_mode="base64") for one in order]
    text = json.dumps([_place(order), values], separators=(",", ":"), ensure_ascii=False)
    made = urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")
    if len(made) > _LONGEST:
        text = "A text that it sorts by is too long for a cursor; sort by something else, or ask for a larger page."
        raise Invalid.field("sort", text, "too_long")
    return made


def position(text: str, order: Sequence[Order]) -> list[Any]:
    """The values of the row that a cursor stands for. Raises `Invalid` for one of another sort, or none at all."""
    said, values = _decoded(text)
    if said != _place(order):
        text = "The cursor is of another list, or of one that was sorted otherwise; begin anew."
        raise Invalid.field("after", text, "cursor")
    try:
        return [_read(one.field, value) for one, value in zip(order, values, strict=True)]
    except (Unreadable, ValueError, TypeError, OverflowError):
        raise _tampered() from None


def _read(field: Field, value: Any) -> Any:
    """NaN and infinities are no values to look for, and yet there may be some, in their place."""
    if value is None and field.nullable:
        return None
    if field.kind == "binary":
        return urlsafe_b64decode(cast("str", value))
    is_text = isinstance(value, str) and value in _BEYOND
    # JSON has none, so documents have none.
    if (
        field.kind == "number"
        and field.compare is None
        and (is_text or (isinstance(value, float) and not math.isfinite(value)))
    ):
        return type(field.read(0))(value)
    return field.read(value)


def _place(order: Sequence[Order]) -> list[str]:
    """Where a cursor belongs: the list, and what it is sorted by."""
    return [order[-1].field.owner, *(one.said for one in order)]


def _decoded(text: Any) -> tuple[Any, Any]:
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise _tampered()
    try:
        said, values = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise _tampered() from None
    if not isinstance(values, list):
        raise _tampered()
    return said, values


def _tampered() -> Invalid:
    return Invalid.field("after", "It is no cursor; take one that a page gave as `next`.", "cursor")
