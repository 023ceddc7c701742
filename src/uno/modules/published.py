"""Named payloads, as `host.publish` takes them and the delivery table keeps them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, JsonValue, ValidationError, field_validator

from uno import context
from uno.errors import FieldError, Invalid, Misconfigured
from uno.messages import DomainEvent
from uno.modules.event import ExternalEvent, ExternalEventInput
from uno.redact import one_line
from uno.telemetry import get_correlation_id, get_current_trace

_LONGEST = 200
# An escape, not what only looks like one: two backslashes are one character.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
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

    @field_validator("data", mode="after")
    @classmethod
    def _storable(cls, value: dict[str, Any]) -> dict[str, Any]:
        text = _as_json(value)
        if "\\u0000" in text and _NUL.search(text):
            raise ValueError("has a NUL character")
        return value


def _as_json(value: Any) -> str:
    """Raises `ValueError` for what no JSON text, or no database, can hold."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has half a surrogate pair, which is no character") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:  # not finite, or of more digits than Python writes
        raise ValueError("has a number that JSON cannot hold") from None
    return text


def _one_line(text: str) -> str:
    if one_line(text) != text:
        raise ValueError("has control characters")
    _as_json(text)
    return text


def payload(name: Any, data: Any, headers: Any, stream: Any, trace: Mapping[str, str]) -> Published:
    """Raises `Invalid` for what cannot be stored, `Misconfigured` for a domain event. Headers win over `trace`."""
    if isinstance(name, DomainEvent):
        kind = type(name).__qualname__
        raise Misconfigured(f"{kind} is a domain event, a fact: publish it with `await bus.publish(event)`.")
    given: dict[str, Any] = {
        "event_name": name,
        "data": {} if data is None else data,
        "headers": {**trace, **headers} if isinstance(headers, Mapping) else trace if headers is None else headers,
        "stream": "" if stream is None else stream,
    }
    try:
        return Published(**given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        fields = [FieldError(one_line(".".join(map(str, e["loc"]))), _said(e["msg"]), e["type"]) for e in found]
        raise Invalid(_refusal(fields), fields) from None


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")


def _refusal(fields: Sequence[FieldError]) -> str:
    first = fields[0]
    return f"The payload cannot be published: {first.field[:_LONGEST]}: {first.message}."


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
