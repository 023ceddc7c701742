"""What everybody but uno writes beside an item of the resource: the same audit row as uno's."""

from datetime import UTC, datetime
from typing import Any

from uno import ids
from uno.ids import uuid7

Values = dict[str, Any]


def item(body: Values) -> Values:
    return {"id": uuid7(), **body, "active": True, "created_at": datetime.now(UTC), "version": 1}


def wire(values: Values) -> Values:
    """An item in an audit row, which has no version."""
    return {name: _plain(value) for name, value in values.items() if name != "version"}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def audit_row(record_id: str, operation: str, before: Values | None, after: Values) -> Values:
    correlation = ids.trace_id()
    return {
        "id": uuid7(),
        "kind": "change",
        "component": "Item",
        "record_id": record_id,
        "operation": operation,
        "actor": None,
        "actor_source": "system",
        "tenant": None,
        "timestamp": datetime.now(UTC),
        "before": before,
        "after": after,
        "correlation_id": correlation,
        "message_id": correlation,
        "traceparent": f"00-{correlation}-{ids.span_id()}-01",
    }


def created(values: Values) -> Values:
    return audit_row(str(values["id"]), "create", None, wire(values))


def updated(record_id: str, before: Values, after: Values) -> Values:
    return audit_row(record_id, "update", wire(before), wire(after))


def expected(header: str) -> int:
    """The version in `If-Match`."""
    return int(header.strip('"'))
