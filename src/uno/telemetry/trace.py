"""The tracer: makes spans, keeps the last ones, hands finished ones to an exporter."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from uno import clock, ids
from uno.context import Context
from uno.telemetry.signals import emit
from uno.telemetry.spans import Span, is_sampled, is_trace_id, parse_traceparent
from uno.telemetry.traces import TraceContext, continued, current_trace, get_current_trace

_NO_SPAN = "0" * 16

Export = Callable[[TraceContext], object]


class Tracer:
    """Keeps the last `keep` finished spans and the last `keep` traces.

    `export_func` gets each trace made by `trace()` when it ends, and each other span by itself, but
    nothing of a trace that its caller does not keep. It is called where the span ends, so it must only
    note it. What it raises is counted in `export_errors`, logged, and harms nobody.
    """

    def __init__(self, service_name: str = "uno", export_func: Export | None = None, *, keep: int = 512) -> None:
        self.service_name = service_name
        self.finished: deque[Span] = deque(maxlen=keep)
        self.export_errors = 0
        self._keep = keep
        self._export = export_func
        self._traces: OrderedDict[str, TraceContext] = OrderedDict()
        # Threads trace, too; those that only run messages never wait for it.
        self._turn = threading.Lock()

    @property
    def exports(self) -> bool:
        """Whether anybody beyond this process sees the spans."""
        return self._export is not None

    def start(self, name: str, context: Context, now: float) -> Span:
        """A span inside the one that `context.traceparent` names, or the first of a new trace."""
        header = context.traceparent
        parent = parse_traceparent(header) if header else None
        if header and parent:
            return Span(name, parent[0], ids.span_id(), parent[1], now, None, is_sampled(header))
        # The ids that uno made have the form of a trace id; a correlation id from outside may not.
        if not is_trace_id(context.correlation_id):
            trace = ids.trace_id()
            return Span(name, trace, trace[16:], None, now)
        own = context.message_id
        return Span(name, context.correlation_id, own[16:] if len(own) == 32 else ids.span_id(), None, now)

    def first(self, name: str, trace_id: str, now: float) -> Span:
        """The first span of a trace whose id uno has just made."""
        span_id = trace_id[16:]
        return Span(name, trace_id, span_id if span_id != _NO_SPAN else ids.span_id(), None, now)

    def finish(self, span: Span, now: float) -> None:
        span.ended = now
        self.finished.append(span)
        if self._export is not None and span.sampled:
            self._send(TraceContext.of(span))

    def _send(self, trace: TraceContext) -> None:
        assert self._export is not None
        try:
            self._export(trace)
        except Exception as error:  # the traced code must not fail with its exporter; counted and logged
            self.export_errors += 1
            # Not for every span: an exporter that always fails would fill the logs.
            if self.export_errors.bit_count() == 1:
                emit("trace.export_failed", error=repr(error), failures=self.export_errors)

    @contextmanager
    def trace(
        self, name: str, correlation_id: str | None = None, attributes: Mapping[str, Any] | None = None
    ) -> Iterator[TraceContext]:
        """A trace around the block, whose first span is called `name`.

        Inside a message or another trace it goes on with that trace.
        """
        made = continued(correlation_id, attributes)
        self._remember(made)
        before = current_trace.get()
        current_trace.set(made)
        try:
            with made.span(name, attributes):
                yield made
        finally:
            current_trace.set(before)
            self._ended(made)

    def _remember(self, trace: TraceContext) -> None:
        with self._turn:
            known = self._traces.get(trace.trace_id)
            if known is None or known.late is not None:
                self._traces[trace.trace_id] = trace
                self._traces.move_to_end(trace.trace_id)
            while len(self._traces) > self._keep:
                self._traces.popitem(last=False)

    def _ended(self, trace: TraceContext) -> None:
        trace.late = self._finish_late
        ended = [span for span in trace.spans if span.ended is not None]
        self.finished.extend(ended)
        if self._export is not None and trace.sampled:
            whole = TraceContext(trace.trace_id, trace.correlation_id, trace.attributes)
            whole.spans, whole.dropped = ended, trace.dropped
            self._send(trace if len(ended) == len(trace.spans) else whole)

    def _finish_late(self, span: Span) -> None:
        self.finish(span, span.ended or span.started)

    def get_trace(self, trace_id: str) -> TraceContext | None:
        """A trace made by `trace()`, as long as it is kept."""
        return self._traces.get(trace_id)

    def get_current_trace(self) -> TraceContext | None:
        return get_current_trace()

    def get_current_span(self) -> Span | None:
        trace = get_current_trace()
        return None if trace is None else trace.current_span

    def clear_traces(self, older_than: float | None = None) -> int:
        """Forget the traces that began more than `older_than` seconds ago, or all; how many that were."""
        latest = float("inf") if older_than is None else clock.monotonic() - older_than
        with self._turn:
            old = [id for id, trace in self._traces.items() if trace.created <= latest]
            for id in old:
                del self._traces[id]
        return len(old)


_default = Tracer()
_chosen: Tracer | None = None
_current: Tracer | None = None
# The tracer of this process if it exports, else None: then nobody makes the spans of HTTP, SQL and queue.
detail: Tracer | None = None


def get_tracer() -> Tracer:
    """The tracer of this process: that of the running application, or what `set_tracer` said."""
    return _current or _default


def set_tracer(tracer: Tracer | None) -> None:
    """Make `tracer` that of this process; an `App` made afterwards takes it."""
    global _chosen
    _chosen = tracer
    _switch(tracer)


def chosen_tracer() -> Tracer | None:
    """What `set_tracer` said, if anything."""
    return _chosen


@contextmanager
def use_tracer(tracer: Tracer) -> Iterator[Tracer]:
    """Make `tracer` that of this process inside the block."""
    before = _current
    _switch(tracer)
    try:
        yield tracer
    finally:
        # Two applications may end in the order in which they began.
        if _current is tracer:
            _switch(before)


def _switch(tracer: Tracer | None) -> None:
    global _current, detail
    _current = tracer
    detail = tracer if tracer is not None and tracer.exports else None
