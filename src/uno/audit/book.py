"""From changes to audit rows: a pure function."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from uno import ids
from uno.audit import statements
from uno.audit.tables import audit
from uno.data.changes import Change, Changes, Values, Written
from uno.data.wire import encode as _json


def _images(change: Change) -> tuple[Any, Any]:
    """Full images of a create or delete, only the changed fields of an update."""
    before, after = change.before, change.after
    if before is None or after is None:
        return before and _json(before), after and _json(after)
    changed = [name for name in after if name not in before or before[name] != after[name]]
    return _json({n: before.get(n) for n in changed}), _json({n: after[n] for n in changed})


class AuditBook:
    """A row for every change, with who, when and under which correlation id."""

    table = audit

    def rows(self, changes: Changes) -> list[Values]:
        # Sorted, so that the trail shows the changes of one commit in their order.
        found = sorted(ids.uuid7() for _ in changes.changes)
        return [self._row(id, change, changes) for id, change in zip(found, changes.changes, strict=True)]

    def selects(self, columns: Sequence[Any], key: Sequence[Any]) -> bool:
        return statements.selects(columns, key)

    def insert_from(self, written: Written) -> Any:
        return statements.insert_from(written)

    def _row(self, id: UUID, change: Change, changes: Changes) -> Values:
        before, after = _images(change)
        context = changes.context
        return {
            "id": id,
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
