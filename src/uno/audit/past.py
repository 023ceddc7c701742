"""What a record was: its entries, put together again. Pure functions."""

from collections.abc import AsyncIterable

from uno.audit.entry import AuditLog
from uno.data.changes import Values
from uno.errors import NotFound


class Unknown(NotFound):
    """What the record was then is not known: it was there before it was audited."""


async def state_between(earlier: AsyncIterable[AuditLog], later: AsyncIterable[AuditLog]) -> Values | None:
    """The record's values at a moment, None where it did not exist.

    `earlier` are its entries until then, newest first, `later` those after it, oldest first; of neither is more
    taken than up to the first that has the whole record. Raises `Unknown` where none has.
    """
    state: Values = {}
    last: AuditLog | None = None
    async for last in earlier:  # to a create or a delete, by what each change made of it
        if last.after is None:
            return None
        state = last.after | state
        if last.before is None:
            return state
    state = {}
    async for entry in later:  # to what a delete removed, by what each change before it took away
        if last is None and entry.before is None:
            return None
        last = entry
        state = (entry.before or {}) | state
        if entry.after is None:
            return state
    if last is None:
        return None
    raise Unknown(last.component, last.record_id)
