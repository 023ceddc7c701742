"""From changes to audit rows: a pure function."""

from collections.abc import Sequence
from typing import Any

from uno import ids
from uno.audit import statements
from uno.audit.tables import audit
from uno.data.changes import Change, Changes, Values, Written, differs
from uno.data.marks import Marks


def _json(values: Values | None, marks: Marks) -> Any:
    if values is None:
        return None
    forms = marks.forms
    return {name: forms[name](value) for name, value in values.items() if name in forms}


def images(change: Change) -> tuple[Any, Any]:
    """Full images of a create or delete, only the changed fields of an update; JSON values."""
    before, after = change.before, change.after
    if before is not None and after is not None:
        changed = [name for name in after if name not in before or differs(before[name], after[name])]
        before, after = {n: before.get(n) for n in changed}, {n: after[n] for n in changed}
    return _json(before, change.marks), _json(after, change.marks)


class AuditBook:
    """A row for every change, with who, when and under which correlation id.

    It leaves out what is not to be written down, and what the database writes down itself.
    """

    table = audit

    def rows(self, changes: Changes) -> list[Values]:
        wanted = [one for one in changes.changes if one.marks.audited and one.marks.table not in changes.captured]
        rows = (self._row(place, change, changes) for place, change in enumerate(wanted))
        # An update of nothing but what is left out is none.
        return [row for row in rows if row["before"] != {} or row["after"] != {}]

    def selects(self, columns: Sequence[Any], key: Sequence[Any]) -> bool:
        return statements.selects(columns, key)

    def insert_from(self, written: Written) -> Any:
        return statements.insert_from(written)

    def _row(self, place: int, change: Change, changes: Changes) -> Values:
        before, after = images(change)
        context = changes.context
        return {
            # The ids sort as the changes were made, so the trail shows those of one commit in their order.
            "id": ids.uuid7_at(changes.at, place),
            "kind": "change",
            "component": change.component,
            "record_id": change.record_id,
            "operation": change.operation,
            "actor": context.actor,
            "actor_source": context.actor_source,
            "tenant": context.tenant,
            "timestamp": changes.at,
            "before": before,
            "after": after,
            "correlation_id": context.correlation_id,
            "message_id": context.message_id,
            "traceparent": context.traceparent,
        }
