"""Reading the audit trail."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack, get_args

from uno.audit.entry import AuditLog
from uno.audit.past import state_between
from uno.audit.tables import audit, behind, chosen, entries, in_order, number
from uno.data import Database, Page, paging, record_ids
from uno.data.changes import Kind, Values
from uno.data.decode import decoded
from uno.data.marks import component_of
from uno.errors import Invalid, id_text

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    Criterion: TypeAlias = ColumnElement[bool]

# Rows that a query may ask for.
_LARGEST = 2**63
# Entries of a long history that are in memory at once.
_BATCH = 200
_OPERATIONS: tuple[str, ...] = get_args(Kind)


class Chosen(TypedDict, total=False):
    """Which entries: `component` is a class or its name there, `operation` one or several, `until` is left out."""

    component: str | type | None
    record_id: object
    operation: str | Iterable[str] | None
    actor: str | None
    tenant: str | None
    correlation_id: str | None
    message_id: str | None
    kind: str | None
    since: datetime | None
    until: datetime | None


class AuditTrail:
    """The entries of a database. It sees what is committed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def query(
        self,
        *criteria: "Criterion",
        newest_first: bool = False,
        limit: int | None = 100,
        **chosen: Unpack[Chosen],
    ) -> list[AuditLog]:
        """The entries that fit everything that is given, oldest first.

        `criteria` are conditions like `AuditLog.record_id == 123`. Raises `Invalid` for a `limit` or a
        moment that is none.
        """
        return await self._entries([*criteria, *_where(**chosen)], newest_first, _checked(limit))

    async def page(
        self,
        *criteria: "Criterion",
        newest_first: bool = False,
        after: str | None = None,
        limit: int = 100,
        total: bool = False,
        **chosen: Unpack[Chosen],
    ) -> Page[AuditLog]:
        """The next `limit` of them, behind the cursor `after` that a page before gave as `next`."""
        where, order = [*criteria, *_where(**chosen)], in_order(newest_first)
        further = [] if after is None else [behind(paging.position(after, order)[0], newest_first)]
        _checked(limit)
        found = await self._entries([*where, *further], newest_first, limit + 1)
        following = paging.cursor(order, found[limit - 1]) if limit and len(found) > limit else None
        count = int((await self._database.query(number(where)))[0][0]) if total else None
        return Page(found[:limit], following, count)

    async def history(self, component: str | type, record_id: object) -> list[AuditLog]:
        """Every change of one record, oldest first."""
        return await self.query(component=component, record_id=record_id, kind="change", limit=None)

    async def as_of(self, component: str | type, record_id: object, time: datetime) -> Values | None:
        """What a record was at a moment, None where it did not exist.

        With a class the values are of its attributes' types, with a name they are JSON values. A redacted
        one is `"***"`. Raises `uno.audit.Unknown` where the record is older than its audit and the trail
        does not have all of it.
        """
        _check_moments(time=time)
        where = _where(component=component, record_id=record_id, kind="change")
        earlier = self._each([*where, audit.c.timestamp <= time], newest_first=True)
        later = self._each([*where, audit.c.timestamp > time], newest_first=False)
        async with aclosing(earlier), aclosing(later):
            state = await state_between(earlier, later)
        if state is None or isinstance(component, str):
            return state
        return decoded(self._database.plan(component), state)

    async def _each(self, where: "list[Criterion]", newest_first: bool) -> AsyncGenerator[AuditLog, None]:
        """One after another, asked for in batches."""
        further: list[Criterion] = []
        while batch := await self._entries([*where, *further], newest_first, _BATCH):
            for entry in batch:
                yield entry
            further = [behind(batch[-1].id, newest_first)]

    async def _entries(self, where: "list[Criterion]", newest_first: bool, limit: int | None) -> list[AuditLog]:
        rows = await self._database.query(entries(where, newest_first, limit))
        return [AuditLog(**row._mapping) for row in rows]


def _where(
    *,
    component: str | type | None = None,
    record_id: object = None,
    operation: str | Iterable[str] | None = None,
    actor: str | None = None,
    tenant: str | None = None,
    correlation_id: str | None = None,
    message_id: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> "list[Criterion]":
    equal: dict[str, Any] = {
        "component": component_of(component) if isinstance(component, type) else component,
        "record_id": None if record_id is None else _filed(component, record_id),
        "actor": actor,
        "tenant": tenant,
        "correlation_id": correlation_id,
        "message_id": message_id,
        "kind": kind,
    }
    operations = [operation] if isinstance(operation, str) else None if operation is None else list(operation)
    unknown = [one for one in operations or () if one not in _OPERATIONS]
    if unknown:
        raise Invalid.field("operation", f"{unknown[0]!r} is none of {', '.join(_OPERATIONS)}.", "value")
    _check_moments(since=since, until=until)
    return chosen(equal, operations, since, until)


def _filed(component: str | type | None, id: object) -> str:
    return record_ids.text_for(component, id) if isinstance(component, type) else id_text(id)


def _check_moments(**moments: datetime | None) -> None:
    for name, moment in moments.items():
        if moment is not None and moment.tzinfo is None:
            raise Invalid.field(name, "It has no time zone.", "value")


def _checked(limit: int | None) -> int | None:
    """The same on every backend: SQLite takes -1 for no limit."""
    if limit is not None and not 0 <= limit < _LARGEST - 1:
        raise Invalid.field("limit", f"It has to be between 0 and {_LARGEST - 2}.", "value")
    return limit
