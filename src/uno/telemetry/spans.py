"""Spans: one piece of work, what it ran inside, and for how long."""

import re
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from uno import clock, ids

# Later versions may have more behind the flags, ours has not (W3C Trace Context, section 4.3).
_TRACEPARENT = re.compile(
    r"(?!ff|00.{53}.)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-[!-~]*)?"
)
# Whether a correlation id is that of a trace, too, as those are that uno makes: both halves are not zero,
# the second serves as a span id.
is_trace_id = re.compile(r"(?!0{32})[0-9a-f]{16}(?!0{16})[0-9a-f]{16}").fullmatch
_ODD = frozenset("13579bdf")
# Of one span; what comes later is not kept.
MAX_EVENTS = 128
# Seconds by which the two clocks may drift apart before they are compared anew.
_DRIFT = 0.1
_offset = 0.0


def wall(moment: float) -> float:
    """A moment of `perf_counter()` in seconds since 1970."""
    global _offset
    offset = clock.now().timestamp() - perf_counter()
    if abs(offset - _offset) > _DRIFT:
        _offset = offset
    return moment + _offset


def parse_traceparent(header: str | None) -> tuple[str, str] | None:
    """Trace id and parent span id of a W3C traceparent header, None where it is not valid."""
    found = _TRACEPARENT.fullmatch(header or "")
    return (found[1], found[2]) if found else None


def is_sampled(header: str) -> bool:
    """Whether the caller of a valid header keeps this trace."""
    return header[54] in _ODD


def plain_traceparent(header: str | None) -> str | None:
    """A valid header in the form that uno writes: of its flags only whether it is sampled. None for any other."""
    found = parse_traceparent(header)
    if found is None or header is None:
        return None
    return f"00-{found[0]}-{found[1]}-{'01' if is_sampled(header) else '00'}"


def generate_id() -> str:
    """A new span id: 16 hexadecimal digits."""
    return ids.span_id()


class Span:
    """One piece of work. `started` and `ended` are on `time.perf_counter()`, in seconds.

    `status` is "ok", "failure" (uno refused) or "error" (a bug); `kind` is OpenTelemetry's:
    "internal", "server", "client", "producer" or "consumer". One that is not `sampled` is not exported.
    """

    # Those with an underscore stay unset on most spans: there is one for each message.
    __slots__ = (
        "_attributes",
        "_events",
        "_kind",
        "ended",
        "name",
        "parent_span_id",
        "sampled",
        "span_id",
        "started",
        "status",
        "trace_id",
    )

    def __init__(
        self,
        name: str,
        trace_id: str,
        span_id: str | None = None,
        parent_span_id: str | None = None,
        started: float | None = None,
        attributes: Mapping[str, Any] | None = None,
        sampled: bool = True,
    ) -> None:
        self.name = name
        self.trace_id = trace_id
        self.span_id = span_id or ids.span_id()
        self.parent_span_id = parent_span_id
        self.started = perf_counter() if started is None else started
        self.ended: float | None = None
        self.status = "ok"
        self.sampled = sampled
        if attributes:
            self._attributes: dict[str, Any] = dict(attributes)

    @property
    def attributes(self) -> dict[str, Any]:
        try:
            return self._attributes
        except AttributeError:
            self._attributes = {}
            return self._attributes

    @property
    def events(self) -> list[dict[str, Any]]:
        try:
            return self._events
        except AttributeError:
            self._events: list[dict[str, Any]] = []
            return self._events

    @property
    def kind(self) -> str:
        return getattr(self, "_kind", "internal")

    @kind.setter
    def kind(self, kind: str) -> None:
        self._kind = kind

    @property
    def traceparent(self) -> str:
        """This span as a W3C traceparent header."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @property
    def start_time(self) -> float:
        """Seconds since 1970."""
        return wall(self.started)

    @property
    def end_time(self) -> float | None:
        """Seconds since 1970, None until it ended."""
        return None if self.ended is None else wall(self.ended)

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds, None until it ended."""
        return None if self.ended is None else (self.ended - self.started) * 1000

    def end(self, status: str | None = None) -> None:
        """It is over, with another status if one is given."""
        self.ended = perf_counter()
        self.status = status or self.status

    def set_attribute(self, name: str, value: Any) -> None:
        self.attributes[name] = value

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Something that happened meanwhile; the first `MAX_EVENTS` are kept."""
        if len(self.events) < MAX_EVENTS:
            now = clock.now().timestamp()
            self.events.append({"name": name, "timestamp": now, "attributes": dict(attributes or {})})

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "parent_span_id": self.parent_span_id,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "duration_ms": self.duration_ms,
            "status": self.status,
            "attributes": dict(self.attributes),
            "events": list(self.events),
        }

    def __repr__(self) -> str:
        return f"Span({self.name!r}, {self.status}, trace={self.trace_id}, span={self.span_id})"
