"""Spans: what ran inside what, for how long."""

import re
from collections import deque

from uno import ids
from uno.context import Context

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_NO_SPAN = "0" * 16
# Both halves not zero: the second serves as a span id.
_OWN_ID = re.compile(r"(?!0{32})[0-9a-f]{16}(?!0{16})[0-9a-f]{16}")


class Span:
    """One piece of work; `start` and `end` in seconds of `clock.monotonic()`."""

    __slots__ = ("end", "name", "parent_id", "span_id", "start", "status", "trace_id")

    def __init__(self, name: str, trace_id: str, span_id: str, parent_id: str | None, start: float) -> None:
        self.name = name
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.start = start
        self.end: float | None = None
        self.status = "ok"

    @property
    def traceparent(self) -> str:
        """This span as a W3C traceparent header."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    def __repr__(self) -> str:
        return f"Span({self.name!r}, {self.status}, trace={self.trace_id}, span={self.span_id})"


def parse_traceparent(header: str | None) -> tuple[str, str] | None:
    """Trace id and parent span id of a W3C traceparent header, None where it is not valid."""
    found = _TRACEPARENT.fullmatch(header or "")
    return (found[1], found[2]) if found else None


class Tracer:
    """Keeps the last `keep` finished spans."""

    def __init__(self, keep: int = 512) -> None:
        self.finished: deque[Span] = deque(maxlen=keep)

    def start(self, name: str, context: Context, now: float) -> Span:
        """A span inside the one that `context.traceparent` names, or the first of a new trace."""
        parent = parse_traceparent(context.traceparent) if context.traceparent else None
        if parent:
            return Span(name, parent[0], ids.span_id(), parent[1], now)
        # The ids that uno made have the form of a trace id; a correlation id from outside may not.
        if not _OWN_ID.fullmatch(context.correlation_id):
            trace = ids.trace_id()
            return Span(name, trace, trace[16:], None, now)
        own = context.message_id
        return Span(name, context.correlation_id, own[16:] if len(own) == 32 else ids.span_id(), None, now)

    def first(self, name: str, trace_id: str, now: float) -> Span:
        """The first span of a trace whose id uno has just made."""
        span_id = trace_id[16:]
        return Span(name, trace_id, span_id if span_id != _NO_SPAN else ids.span_id(), None, now)

    def finish(self, span: Span, now: float) -> None:
        span.end = now
        self.finished.append(span)
