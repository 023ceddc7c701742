"""What one unit of work changed: computed once, mapped to rows by the books."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from types import NoneType
from typing import Any, Literal, Protocol, runtime_checkable
from uuid import UUID

from sqlalchemy import Column, ColumnElement, FromClause, Insert, Table

from uno.context import Context
from uno.data.marks import Marks
from uno.messages import DomainEvent

Values = dict[str, Any]
_NUMBERS = (int, float, Decimal)
_LISTS = (list, tuple)
# Those in which there is nothing else; most values are one of these.
_SINGLE = frozenset({NoneType, bool, int, float, str, bytes, Decimal, date, datetime, UUID})
Kind = Literal["create", "update", "delete", "soft_delete", "restore"]


@dataclass(frozen=True, slots=True)
class Change:
    """One row, before and after; `before` is None for a create, `after` for a delete.

    `marks` say what of it is written down.
    """

    component: str
    record_id: str
    before: Values | None
    after: Values | None
    marks: Marks

    @property
    def operation(self) -> Kind:
        return kind_of(self.before, self.after)


def kind_of(before: Values | None, after: Values | None) -> Kind:
    """What makes the one of the other."""
    if before is None:
        return "create"
    if after is None:
        return "delete"
    was_there, is_there = (values.get("deleted_at") is None for values in (before, after))
    if was_there is is_there:
        return "update"
    return "restore" if is_there else "soft_delete"


def differs(before: Any, after: Any) -> bool:
    """Whether a value is to be written: not one that only Python has in another form, as drivers' own UUIDs are.

    In JSON true is not 1, though Python calls them equal; 1 and 1.0 are the same number.
    """
    kind, other = type(before), type(after)
    if kind is not other and not _comparable(kind, other):
        return True
    return before != after or (kind not in _SINGLE and _differs_inside(before, after))


def _differs_inside(before: Any, after: Any) -> bool:
    """Of equal values, whether somewhere in them one has true or false where the other has a number."""
    waiting = [(before, after)]
    while waiting:
        one, other = waiting.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            pairs: Iterable[tuple[Any, Any]] = zip(one.values(), map(other.get, one), strict=True)
        elif isinstance(one, _LISTS) and isinstance(other, _LISTS):
            pairs = zip(one, other, strict=False)
        else:
            continue
        for pair in pairs:
            left, right = pair
            if left is right:
                continue
            kind = type(left)
            if kind is bool or type(right) is bool:  # there are only one true and one false
                return True
            if kind not in _SINGLE:
                waiting.append(pair)
    return False


def _comparable(kind: type, other: type) -> bool:
    if bool in (kind, other):
        return False
    numbers = issubclass(kind, _NUMBERS) and issubclass(other, _NUMBERS)
    return numbers or issubclass(kind, other) or issubclass(other, kind)


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes and events of one commit, in order.

    `captured` are the tables whose changes the database itself writes down, by triggers.
    """

    changes: tuple[Change, ...]
    events: tuple[DomainEvent, ...]
    context: Context
    at: datetime
    captured: Collection[str] = frozenset()


class Book(Protocol):
    """A ledger: a pure function from changes to rows of its table."""

    @property
    def table(self) -> Table: ...

    def rows(self, changes: Changes) -> Sequence[Values]: ...


@dataclass(frozen=True, slots=True)
class Said:
    """A context as SQL: the parameters of a statement that is compiled once."""

    actor: ColumnElement[Any]
    actor_source: ColumnElement[Any]
    tenant: ColumnElement[Any]
    correlation_id: ColumnElement[Any]
    message_id: ColumnElement[Any]
    traceparent: ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Written:
    """The rows that one statement wrote, as SQL: what `Changes` are to `rows`.

    `source` has a row for each, `number` counts them from 1, and is None where there is but one. `before` and
    `after` are the columns by attribute, None as in `Change`; of an update those that may have changed.
    """

    component: str
    marks: Marks
    source: FromClause
    number: ColumnElement[int] | None
    key: tuple[ColumnElement[Any], ...]
    before: Mapping[str, ColumnElement[Any]] | None
    after: Mapping[str, ColumnElement[Any]] | None
    context: Context | Said
    at: datetime | ColumnElement[Any]
    captured: Collection[str]
    # Where rows are yet to be locked: what has them all.
    locked: FromClause | None = None


@runtime_checkable
class SetBook(Book, Protocol):
    """A book whose rows PostgreSQL can make itself, many at a time."""

    def selects(self, columns: Sequence[Column[Any]], key: Sequence[Column[Any]]) -> bool:
        """Whether it can, for rows with these columns and this key, so that they are the same as those of `rows`."""
        ...

    def insert_from(self, written: Written) -> Insert | None:
        """An INSERT … SELECT from `written`; None where the book has no row for a change."""
        ...


@dataclass(slots=True)
class Operation:
    """One row to write. Keys of `key`, `values` and `expect` are column keys.

    An update or delete happens only where the row has the key and all of `expect`; otherwise
    nothing of the commit happens at all. `kind` "guard" writes nothing and only checks. A `fence` is
    not the handler's own row; `ordered` says that its place among the others matters.
    """

    kind: Literal["insert", "update", "delete", "guard"]
    table: Table
    label: str
    key: Values
    values: Values
    expect: Values
    fence: bool = False
    ordered: bool = False

    @property
    def id(self) -> Any:
        parts = [v for k, v in self.key.items() if k != "kind"]
        return parts[0] if len(parts) == 1 else tuple(parts)
