"""A trace of one's own: `with tracer.trace("import") as trace:` and the spans inside."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from uno import clock, context, ids
from uno.context import Context
from uno.redact import said
from uno.telemetry.spans import Span, is_sampled, parse_traceparent

# Spans of one trace; later ones are counted only.
MAX_SPANS = 1_000


class TraceContext:
    """The spans of one trace that this process makes.

    Which span is the current one stands in `uno.context`, so that messages, log lines and tasks
    started inside belong to it.
    """

    def __init__(
        self,
        trace_id: str | None = None,
        correlation_id: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.trace_id = trace_id or ids.trace_id()
        self.correlation_id = correlation_id or self.trace_id
        self.attributes: dict[str, Any] = dict(attributes or {})
        self.spans: list[Span] = []
        self.dropped = 0
        # Whether the caller keeps it; what it does not keep is not exported.
        self.sampled = True
        self.created = clock.monotonic()
        # Where spans go that end after the trace.
        self.late: Callable[[Span], None] | None = None
        self._open: dict[str, tuple[Span, Context | None]] = {}

    @classmethod
    def of(cls, span: Span) -> "TraceContext":
        """One finished span by itself, as exporters take it."""
        made = cls(span.trace_id)
        made.spans.append(span)
        return made

    @property
    def current_span(self) -> Span | None:
        """The innermost open span of this trace; where tasks run beside each other, of this task."""
        current = context.get()
        here = None if current is None or current.traceparent is None else self._open.get(current.traceparent[-19:-3])
        if here is None:
            here = next(reversed(self._open.values()), None)
        return None if here is None else here[0]

    def start_span(self, name: str, attributes: Mapping[str, Any] | None = None) -> Span:
        """Open a span inside the current one; `end_span` closes it."""
        outer = context.get()
        span = Span(name, self.trace_id, ids.span_id(), self._parent(outer), perf_counter(), None, self.sampled)
        if attributes:
            span.attributes.update(attributes)
        if len(self.spans) < MAX_SPANS:
            self.spans.append(span)
        else:
            self.dropped += 1
        self._open[span.span_id] = (span, outer)
        inner = outer or Context(self.correlation_id)
        context.enter(inner.replace(correlation_id=self.correlation_id, traceparent=span.traceparent))
        return span

    def _parent(self, outer: Context | None) -> str | None:
        header = None if outer is None else outer.traceparent
        return header[-19:-3] if header is not None and header[3:-20] == self.trace_id else None

    def end_span(self, span: Span | str | None = None, status: str | None = None) -> None:
        """Close a span, or the current one, with the status if one is given."""
        if isinstance(span, str):
            span, status = None, span
        span = span or self.current_span
        if span is None:
            return
        span.end(status)
        _, outer = self._open.pop(span.span_id, (span, None))
        current = context.get()
        if current is not None and current.traceparent == span.traceparent:
            context.enter(outer)
        if self.late is not None:
            self.late(span)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Any] | None = None, **more: Any) -> Iterator[Span]:
        """A span around the block; an exception makes it an "error" and goes on."""
        span = self.start_span(name, {**(attributes or {}), **more})
        try:
            yield span
        except BaseException as error:
            failed(span, error)
            raise
        finally:
            self.end_span(span)

    def to_dict(self) -> dict[str, Any]:
        return {
            "trace_id": self.trace_id,
            "correlation_id": self.correlation_id,
            "attributes": dict(self.attributes),
            "spans": [span.to_dict() for span in self.spans],
        }


def failed(span: Span, error: BaseException) -> None:
    """Note on a span how it ended."""
    span.status = "error"
    span.attributes.update(error=said(error, str), error_type=type(error).__name__)


def continued(correlation_id: str | None, attributes: Mapping[str, Any] | None) -> TraceContext:
    """A trace that goes on with the one around it, if there is one."""
    current = context.get()
    if current is None:
        return TraceContext(None, correlation_id, attributes)
    header = current.traceparent
    parent = parse_traceparent(header)
    made = TraceContext(parent and parent[0], correlation_id or current.correlation_id, attributes)
    made.sampled = not (header and parent) or is_sampled(header)
    return made


current_trace: ContextVar[TraceContext | None] = ContextVar("uno.trace", default=None)


def get_current_trace() -> TraceContext | None:
    """The trace that `tracer.trace(...)` opened around this code."""
    return current_trace.get()


def get_correlation_id() -> str | None:
    """The correlation id of the trace or message around this code."""
    current = context.get()
    trace = current_trace.get()
    if trace is not None:
        return trace.correlation_id
    return None if current is None else current.correlation_id
