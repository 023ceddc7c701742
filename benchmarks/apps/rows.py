"""What everybody but uno writes beside the item: the same audit and delivery rows as uno's."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from uno import ids
from uno.ids import new_id, uuid7

SUBSCRIBER = "bench.on_item_created"
EVENT = "bench.ItemCreated"

Values = dict[str, Any]


def item(body: Values) -> Values:
    return {
        "id": uuid7(),
        "name": body["name"],
        "quantity": body["quantity"],
        "price": body["price"],
        "active": True,
        "created_at": datetime.now(UTC),
    }


def wire(values: Values) -> Values:
    """An item as JSON shows it."""
    return values | {
        "id": str(values["id"]),
        "price": str(values["price"]),
        "created_at": values["created_at"].isoformat(),
    }


def text(value: Any) -> str:
    """The JSON of an argument for a jsonb column."""
    return json.dumps(value, separators=(",", ":"))


def audit_row(shown: Values, at: datetime, correlation: str, traceparent: str) -> Values:
    return {
        "id": uuid7(),
        "kind": "change",
        "component": "Item",
        "record_id": shown["id"],
        "operation": "create",
        "actor": None,
        "actor_source": "system",
        "tenant": None,
        "timestamp": at,
        "before": None,
        "after": shown,
        "correlation_id": correlation,
        "message_id": correlation,
        "traceparent": traceparent,
    }


def delivery_row(item_id: UUID, at: datetime, correlation: str, traceparent: str) -> Values:
    event_id = new_id()
    payload = {"event_id": event_id, "occurred_at": at.isoformat(), "item_id": str(item_id)}
    context = {
        "correlation_id": correlation,
        "message_id": correlation,
        "actor_source": "system",
        "traceparent": traceparent,
    }
    return {
        "id": uuid7(),
        "subscriber": SUBSCRIBER,
        "event": EVENT,
        "event_id": event_id,
        "event_version": 1,
        "aggregate_id": str(item_id),
        "payload": payload,
        "context": context,
        "correlation_id": correlation,
        "message_id": correlation,
        "traceparent": traceparent,
        "tenant": None,
        "key": None,
        "state": "ready",
        "attempt": 0,
        "failures": 0,
        "lost_leases": 0,
        "run_at": at,
        "lease_until": None,
        "worker": None,
        "error": None,
        "created_at": at,
        "finished_at": None,
    }


def beside(values: Values) -> tuple[Values, Values]:
    """The audit row and the delivery row of a new item."""
    at, correlation = values["created_at"], ids.trace_id()
    traceparent = f"00-{correlation}-{ids.span_id()}-01"
    return (
        audit_row(wire(values), at, correlation, traceparent),
        delivery_row(values["id"], at, correlation, traceparent),
    )
