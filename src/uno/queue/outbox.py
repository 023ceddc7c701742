"""From events to delivery rows, in the transaction of the change that caused them."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any
from uuid import UUID

from uno import ids
from uno.context import Context
from uno.data.changes import Changes, Values, Written
from uno.messages import DomainEvent, message_name
from uno.queue.tables import READY, deliveries
from uno.telemetry import trace
from uno.telemetry.catalogue import SENT

Subscribers = Callable[[type[DomainEvent]], tuple[str, ...]]


class DeliveryBook:
    """A row for each durable subscriber of each event; none for events that have none."""

    table = deliveries

    def __init__(self, subscribers: Subscribers) -> None:
        self._subscribers = subscribers

    def rows(self, changes: Changes) -> list[Values]:
        wanted = [(event, name) for event in changes.events for name in self._subscribers(type(event))]
        # Sorted, so that the events of one commit are delivered in their order where nothing fails.
        found = sorted(ids.uuid7() for _ in wanted)
        return [self._row(id, event, name, changes) for id, (event, name) in zip(found, wanted, strict=True)]

    def selects(self, columns: Sequence[Any], key: Sequence[Any]) -> bool:
        return True

    def insert_from(self, written: Written) -> None:
        """Events are delivered, not changes; the unit of work has those of bulk inserts until it commits."""

    def _row(self, id: UUID, event: DomainEvent, subscriber: str, changes: Changes) -> Values:
        context = _sent(event, subscriber, changes.context)
        return {
            "id": id,
            "subscriber": subscriber,
            "event": message_name(type(event)),
            "event_id": event.event_id,
            "event_version": type(event).version,
            "aggregate_id": event.aggregate_id,
            "payload": event.model_dump(mode="json"),
            "context": context.to_json(),
            "correlation_id": context.correlation_id,
            "message_id": context.message_id,
            "traceparent": context.traceparent,
            "tenant": context.tenant,
            "key": None,
            "state": READY,
            "attempt": 0,
            "failures": 0,
            "lost_leases": 0,
            "run_at": changes.at,
            "lease_until": None,
            "worker": None,
            "error": None,
            "created_at": changes.at,
            "finished_at": None,
        }


def _sent(event: DomainEvent, subscriber: str, context: Context) -> Context:
    """`context`, where spans are exported inside a span of the delivery's own: the worker goes on with that."""
    tracer = trace.detail
    if tracer is None:
        return context
    now = perf_counter()
    span = tracer.start(SENT.name(event=message_name(type(event))), context, now)
    span.kind = SENT.kind
    span.attributes.update(
        {"messaging.system": "uno", "uno.subscriber": subscriber, "messaging.message.id": event.event_id}
    )
    tracer.finish(span, now)
    return context.replace(traceparent=span.traceparent)
