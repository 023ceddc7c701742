"""What a record was: its entries, put together again. Pure functions."""

from collections.abc import Sequence
from datetime import datetime

from uno.audit.entry import AuditLog
from uno.data.changes import Values
from uno.errors import NotFound


class Unknown(NotFound):
    """What the record was then is not known: it was there before it was audited."""


def state_at(entries: Sequence[AuditLog], time: datetime) -> Values | None:
    """The record's values at a moment, from all of its entries, oldest first; None where it did not exist.

    Raises `Unknown` where no entry has the whole record.
    """
    done = [entry for entry in entries if entry.timestamp <= time]
    later = entries[len(done) :]
    begin = next((n for n in reversed(range(len(done))) if _is_whole(done[n])), None)
    if begin is not None:
        return _forward(done[begin:])
    if not done and (not later or later[0].before is None):
        return None
    end = next((n for n, entry in enumerate(later) if entry.after is None), None)
    if end is None:
        raise Unknown(entries[0].component, entries[0].record_id)
    return _backward(later[: end + 1])


def _is_whole(entry: AuditLog) -> bool:
    return entry.before is None or entry.after is None


def _forward(entries: Sequence[AuditLog]) -> Values | None:
    """From a create or a delete on, by what each change made of it."""
    first, *changes = entries
    if first.after is None:
        return None
    state = dict(first.after)
    for change in changes:
        state |= change.after or {}
    return state


def _backward(entries: Sequence[AuditLog]) -> Values:
    """From what a delete removed, by what each change before it took away."""
    *changes, last = entries
    state = dict(last.before or {})
    for change in reversed(changes):
        state |= change.before or {}
    return state
