"""What the program tells about itself: logs, spans, metrics and signals.

signals.py      emit(): something noteworthy happened
catalogue.py    all names it may have
logs.py         configure_logging(): JSON or console lines, each with its ids
spans.py        Span
traces.py       TraceContext: the spans of one trace
trace.py        Tracer, and the one of this process
watch.py        span(): your own piece of work
propagation.py  trace context in headers and events
metrics.py      rate, errors, duration by message; gauges
observe.py      the middleware that counts, times and traces messages
otel.py         OpenTelemetryExporter (extra `otel`), over otel_wire.py and otel_session.py
prometheus.py   the metrics page (extra `metrics`)
extras.py       those files, or one sentence that says what to install
assembly.py     Telemetry: all that one application counts and traces
"""

from typing import TYPE_CHECKING

from uno.extras import front_door
from uno.telemetry.assembly import Telemetry
from uno.telemetry.extras import OTEL, PROMETHEUS
from uno.telemetry.logs import configure_logging, get_logger
from uno.telemetry.metrics import Metrics
from uno.telemetry.observe import observed
from uno.telemetry.propagation import extract_trace_context, inject_trace_context, outgoing_headers
from uno.telemetry.signals import emit, signal_counts
from uno.telemetry.spans import Span, generate_id
from uno.telemetry.trace import Tracer, get_tracer, set_tracer, use_tracer
from uno.telemetry.traces import TraceContext, get_correlation_id, get_current_trace
from uno.telemetry.watch import span

if TYPE_CHECKING:
    from uno.telemetry.otel import OpenTelemetryExporter as OpenTelemetryExporter
    from uno.telemetry.prometheus import MessageCollector as MessageCollector, exposition as exposition

__all__ = [
    "Metrics",
    "Span",
    "Telemetry",
    "TraceContext",
    "Tracer",
    "configure_logging",
    "emit",
    "extract_trace_context",
    "generate_id",
    "get_correlation_id",
    "get_current_trace",
    "get_logger",
    "get_tracer",
    "inject_trace_context",
    "observed",
    "outgoing_headers",
    "set_tracer",
    "signal_counts",
    "span",
    "use_tracer",
]

_EXTRAS = {"OpenTelemetryExporter": OTEL, "MessageCollector": PROMETHEUS, "exposition": PROMETHEUS}

if not TYPE_CHECKING:  # a checker that saw this would believe every name exists
    __all__, __getattr__, __dir__ = front_door(__name__, __all__, _EXTRAS)
