"""Reading the audit trail."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack, get_args

from uno.audit.entry import AuditLog
from uno.audit.past import state_between
from uno.audit.tables import audit, behind, chosen, entries, in_order, is_condition, number
from uno.data import Database, Page, paging, record_ids
from uno.data.changes import Kind, Values
from uno.data.decode import decoded
from uno.errors import Invalid, Misconfigured, id_text

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
        moment that is none, `Misconfigured` for what cannot be asked.
        """
        return await self._entries(self._where(criteria, chosen), newest_first, _checked(limit))

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
        where, order = self._where(criteria, chosen), in_order(newest_first)
        further = [] if after is None else [behind(paging.position(after, order)[0], newest_first)]
        _checked(limit)
        found = await self._entries([*where, *further], newest_first, limit + 1)
        following = paging.cursor(order, found[limit - 1]) if limit and len(found) > limit else None
        count = int((await self._database.query(number(where)))[0][0]) if total else None
        return Page(found[:limit], following, count)

    async def history(self, component: str | type, record_id: object) -> list[AuditLog]:
        """Every change of one record, oldest first."""
        return await self._entries(self._changes(component, record_id), False, None)

    async def as_of(self, component: str | type, record_id: object, time: datetime) -> Values | None:
        """What a record was at a moment, None where it did not exist, or nothing is filed under such a name.

        With a class the values are of its attributes' types, with a name they are JSON values. A redacted
        one is `"***"`. Raises `uno.audit.Unknown` where the record is older than its audit and the trail
        does not have all of it.
        """
        where = self._changes(component, record_id)
        _check_moment("time", time)
        earlier = self._each([*where, audit.c.timestamp <= time], newest_first=True)
        later = self._each([*where, audit.c.timestamp > time], newest_first=False)
        async with aclosing(earlier), aclosing(later):
            state = await state_between(earlier, later)
        if state is None or isinstance(component, str):
            return state
        return decoded(self._database.plan(component), state)

    def _changes(self, component: Any, record_id: object) -> "list[Criterion]":
        """Those of one record."""
        if component is None or record_id is None:  # which would be those of all
            raise Misconfigured("The history of a record takes its class, or the name of it, and its key, not None.")
        return self._where((), {"component": component, "record_id": record_id, "kind": "change"})

    def _where(self, criteria: "Iterable[Criterion]", chosen: Mapping[str, Any]) -> "list[Criterion]":
        component, record_id = chosen.get("component"), chosen.get("record_id")
        if isinstance(component, type):
            plan = self._database.plan(component)
            record_id = None if record_id is None else record_ids.text_for(plan, record_id)
            component = plan.component
        elif not isinstance(component, str | None):
            raise Misconfigured(f"component takes a class, or the name of one, not {_kind(component)}.")
        if unknown := sorted(chosen.keys() - Chosen.__annotations__.keys()):
            raise Misconfigured(
                f"There is no {unknown[0]!r} to ask for; there are {', '.join(Chosen.__annotations__)}."
            )
        if other := [one for one in criteria if not is_condition(one)]:
            raise Misconfigured(
                f"A condition is one of AuditLog's attributes, as AuditLog.actor == 'ada', not {_kind(other[0])}; "
                "write name=value for what is equal, as in query(operation='delete')."
            )
        return [*criteria, *_chosen(**{**chosen, "component": component, "record_id": record_id})]

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


def _kind(given: object) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"


def _chosen(
    *,
    operation: str | Iterable[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    record_id: object = None,
    **equal: Any,
) -> "list[Criterion]":
    equal["record_id"] = None if record_id is None else id_text(record_id)
    _check_moment("since", since)
    _check_moment("until", until)
    return chosen(equal, _operations(operation), since, until)


def _operations(given: Any) -> list[Any] | None:
    several = isinstance(given, Iterable) and not isinstance(given, str)
    found = None if given is None else list(given) if several else [given]
    for one in found or ():
        if one not in _OPERATIONS:
            raise Invalid.field("operation", f"{one!r} is none of {', '.join(_OPERATIONS)}.", "value")
    return found


def _check_moment(name: str, moment: Any) -> None:
    if moment is None and name != "time":
        return
    if not isinstance(moment, datetime):
        raise Invalid.field(name, f"It takes a datetime with a time zone, not {_kind(moment)}.", "type")
    if moment.tzinfo is None:
        raise Invalid.field(name, "It has no time zone.", "value")


def _checked(limit: Any) -> int | None:
    """The same on every backend: SQLite takes -1 for no limit."""
    if limit is not None and not (isinstance(limit, int) and 0 <= limit < _LARGEST - 1):
        raise Invalid.field("limit", f"It has to be between 0 and {_LARGEST - 2}.", "value")
    return limit
