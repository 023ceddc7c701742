"""Trace context in and out: W3C headers of requests, `meta` of events."""

from collections.abc import Mapping, MutableMapping
from typing import Any

from uno import context, ids
from uno.context import Context, external_id
from uno.telemetry.spans import is_trace_id, parse_traceparent, plain_traceparent
from uno.telemetry.traces import get_correlation_id, get_current_trace

_HEADER = "x-correlation-id"


def current_trace_id(current: Context) -> str | None:
    """The trace that `current` belongs to; where none is continued its id is the correlation id."""
    parent = parse_traceparent(current.traceparent)
    if parent is not None:
        return parent[0]
    return current.correlation_id if is_trace_id(current.correlation_id) else None


def outgoing_headers() -> dict[str, str]:
    """`traceparent` and `X-Correlation-ID` for a request to somebody else; only valid values."""
    current = context.get()
    found = {}
    traceparent = None if current is None else plain_traceparent(current.traceparent)
    if traceparent is not None:
        found["traceparent"] = traceparent
    correlation_id = external_id(get_correlation_id())
    if correlation_id is not None:
        found["X-Correlation-ID"] = correlation_id
    return found


def inject_trace_context(target: Any) -> Any:
    """Write the current trace into `target` and give it back: headers (a mapping), or an event's `meta`.

    An event inside a trace gets its `trace_id`, `correlation_id` and `parent_span_id`; any other
    only a `correlation_id`, unless it has one.
    """
    if isinstance(target, MutableMapping):
        target.update(outgoing_headers())
        return target
    trace = get_current_trace()
    if trace is None:
        target.meta.setdefault("correlation_id", get_correlation_id() or ids.trace_id())
        return target
    target.meta |= {"trace_id": trace.trace_id, "correlation_id": trace.correlation_id}
    if trace.current_span is not None:
        target.meta["parent_span_id"] = trace.current_span.span_id
    return target


def extract_trace_context(source: Any) -> tuple[str | None, str | None, str | None]:
    """Trace id, correlation id and parent span id: from headers (a mapping), or an event's `meta`."""
    if not isinstance(source, Mapping):
        meta = source.meta
        return meta.get("trace_id"), meta.get("correlation_id"), meta.get("parent_span_id")
    headers = {str(name).lower(): value for name, value in source.items()}
    trace_id, span_id = parse_traceparent(headers.get("traceparent")) or (None, None)
    return trace_id, external_id(headers.get(_HEADER)), span_id
