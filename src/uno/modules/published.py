"""Named payloads, as `host.publish` takes them and the delivery table keeps them."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, JsonValue, ValidationError, field_validator

from uno import context
from uno.errors import FieldError, Invalid, Misconfigured
from uno.messages import DomainEvent
from uno.modules.event import ExternalEvent, ExternalEventInput
from uno.telemetry import get_correlation_id, get_current_trace
from uno.telemetry.redact import one_line

# Headers that event handlers find in `meta`, too.
_TRACE = ("trace_id", "span_id", "correlation_id")


class Published(DomainEvent):
    """The envelope of a named payload on its way to the modules that handle it."""

    name: ClassVar[str] = "uno.published"

    event_name: str = Field(min_length=1, max_length=255)
    data: dict[str, JsonValue] = {}
    headers: dict[str, str] = {}
    stream: str = ""

    @field_validator("event_name", "stream")
    @classmethod
    def _printable(cls, value: str) -> str:
        return _one_line(value)

    @field_validator("headers")
    @classmethod
    def _printable_headers(cls, value: dict[str, str]) -> dict[str, str]:
        return {_one_line(name): _one_line(text) for name, text in value.items()}


def _one_line(text: str) -> str:
    if one_line(text) != text:
        raise ValueError("has control characters")
    return text


def payload(name: Any, data: Mapping[str, Any] | None, headers: Mapping[str, str] | None, stream: str) -> Published:
    """Raises `Invalid` for what cannot be stored, `Misconfigured` for a domain event."""
    if isinstance(name, DomainEvent):
        kind = type(name).__qualname__
        raise Misconfigured(f"{kind} is a domain event, a fact: publish it with `await bus.publish(event)`.")
    try:
        return Published(event_name=name, data=dict(data or {}), headers=dict(headers or {}), stream=stream)
    except ValidationError as error:
        fields = [FieldError(".".join(map(str, e["loc"])), e["msg"], e["type"]) for e in error.errors()]
        raise Invalid("The payload cannot be published.", fields) from None


def trace_headers() -> dict[str, str]:
    """The trace around this code, as headers of a payload."""
    trace, current = get_current_trace(), context.get()
    found: dict[str, str | None] = {"correlation_id": get_correlation_id()}
    if trace is not None:
        span = trace.current_span
        found |= {"trace_id": trace.trace_id, "span_id": None if span is None else span.span_id}
    elif current is not None and current.traceparent is not None:
        found |= {"trace_id": current.traceparent[3:-20], "span_id": current.traceparent[-19:-3]}
    return {name: value for name, value in found.items() if value is not None}


def external(published: Published) -> ExternalEvent:
    """The event that modules get."""
    headers = dict(published.headers)
    given = ExternalEventInput(dict(published.data), headers, published.stream, published.event_id)
    meta = {name: headers[name] for name in _TRACE if name in headers}
    return ExternalEvent(name=published.event_name, input=given, meta=meta)
