"""uno's spans and figures as OpenTelemetry's, and the way to a collector: OTLP over HTTP.

Everything here runs on the exporter's own thread. Span, parent and trace ids stay what they are.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from uno.redact import clean, said
from uno.telemetry.metrics import BUCKETS, Figure, MessageMetrics
from uno.telemetry.otel_session import BoundedSession
from uno.telemetry.spans import Span, wall

_KINDS = {kind.name.lower(): kind for kind in SpanKind}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures of one moment."""

    messages: Mapping[str, MessageMetrics]
    figures: Sequence[Figure]
    signals: Mapping[str, int]


# ── spans ──


class _GivenIds(IdGenerator):
    """The next span gets the ids of the uno span that is being copied."""

    trace = span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class Copier:
    """Makes OpenTelemetry spans of uno's, through a provider: its sampler, limits and processors apply."""

    def __init__(self, provider: api.TracerProvider) -> None:
        self._tracer = provider.get_tracer("uno")
        self._ids = _GivenIds()
        # get_tracer makes a new one for each caller, so this is nobody else's.
        if isinstance(self._tracer, Tracer):
            self._tracer.id_generator = self._ids

    def copy(self, span: Span) -> None:
        """Raises `ValueError` for ids that OpenTelemetry does not know."""
        self._ids.trace, self._ids.span = int(span.trace_id, 16), int(span.span_id, 16)
        parent = int(span.parent_span_id, 16) if span.parent_span_id else None
        made = self._tracer.start_span(
            span.name,
            context=self._inside(parent),
            kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
            attributes=_attributes(span.attributes),
            start_time=_nano(span.start_time),
        )
        for event in span.events:
            made.add_event(event["name"], _attributes(event["attributes"]), timestamp=_nano(event["timestamp"]))
        if span.status == "error":
            made.set_status(Status(StatusCode.ERROR, said(span.attributes.get("error", ""), str)))
        elif span.status != "ok":
            # Refused, as it should be: no fault, but worth finding.
            made.set_attribute("uno.status", span.status)
        made.end(_nano(wall(span.started if span.ended is None else span.ended)))

    def _inside(self, parent: int | None) -> Any:
        if parent is None:
            return api.set_span_in_context(api.INVALID_SPAN)
        around = SpanContext(self._ids.trace, parent, is_remote=False, trace_flags=_SAMPLED)
        return api.set_span_in_context(NonRecordingSpan(around))


def _nano(seconds: float) -> int:
    return int(seconds * _NANO)


def _attributes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Without secrets, and of the types that OpenTelemetry has."""
    cleaned: dict[str, Any] = clean(given)
    return {name: json.dumps(v) if isinstance(v, list | dict) else v for name, v in cleaned.items() if v is not None}


def is_live(provider: api.TracerProvider) -> bool:
    """Whether spans given to it get anywhere."""
    return isinstance(provider, TracerProvider)


def global_provider() -> api.TracerProvider:
    """What `opentelemetry.trace.set_tracer_provider` said."""
    return api.get_tracer_provider()


# ── a collector ──


class _Collected(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class Collector:
    """The way to one OTLP endpoint."""

    def __init__(self, endpoint: str, service_name: str, headers: Mapping[str, str], timeout: float) -> None:
        base = endpoint.rstrip("/")
        # Of the exporters, which close theirs, each has its own.
        self._sessions = BoundedSession(), BoundedSession()
        options: dict[str, Any] = {"headers": dict(headers), "timeout": timeout}
        self._resource = Resource.create({SERVICE_NAME: service_name})
        self._collected = _Collected()
        self.provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        self.provider.add_span_processor(self._collected)
        self._spans = OTLPSpanExporter(f"{base}/v1/traces", session=self._sessions[0], **options)
        self._metrics = OTLPMetricExporter(f"{base}/v1/metrics", session=self._sessions[1], **options)
        self._began = time.time_ns()
        self._closed = False

    def send_spans(self) -> bool:
        """Send what was copied since the last time; whether the collector took it."""
        batch, self._collected.spans = self._collected.spans, []
        return not batch or self._spans.export(batch) is SpanExportResult.SUCCESS

    def send_metrics(self, snapshot: Snapshot) -> bool:
        data = metrics_data(snapshot, self._resource, self._began)
        return self._metrics.export(data) is MetricExportResult.SUCCESS

    def close(self) -> None:
        """Also ends a request that is under way or being repeated on another thread."""
        if not self._closed:
            self._closed = True
            self._spans.shutdown()  # type: ignore[no-untyped-call]
            self._metrics.shutdown()
            for session in self._sessions:
                session.abort()


# ── metrics ──


def metrics_data(snapshot: Snapshot, resource: Resource, began: int) -> MetricsData:
    """Everything uno counts, cumulated since `began` (nanoseconds since 1970)."""
    now = time.time_ns()
    found = [*_of_messages(snapshot.messages, began, now), _of_signals(snapshot.signals, began, now)]
    found += [_of_gauge(figure, began, now) for figure in snapshot.figures]
    scope = ScopeMetrics(InstrumentationScope("uno"), [m for m in found if m.data.data_points], "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _of_messages(messages: Mapping[str, MessageMetrics], began: int, now: int) -> list[Metric]:
    points = [_histogram(name, figures, began, now) for name, figures in messages.items()]
    durations = Histogram(points, AggregationTemporality.CUMULATIVE)
    failures = {name: figures.failures for name, figures in messages.items()}
    errors = {name: figures.errors for name, figures in messages.items()}
    return [
        Metric("uno.message.duration", "Messages by duration.", "s", durations),
        Metric("uno.message.failures", "Messages that ended in a Failure.", "1", _sum("message", failures, began, now)),
        Metric("uno.message.errors", "Messages that ended in a bug.", "1", _sum("message", errors, began, now)),
    ]


def _histogram(name: str, figures: MessageMetrics, began: int, now: int) -> HistogramDataPoint:
    counts = tuple(figures.buckets)
    # Which one was the fastest and the slowest is not kept: the bounds of their buckets.
    return HistogramDataPoint(
        {"message": name}, began, now, sum(counts), figures.seconds, counts, BUCKETS, *_extremes(counts)
    )


def _extremes(counts: Sequence[int]) -> tuple[float, float]:
    filled = [n for n, count in enumerate(counts) if count]
    bounds = (0.0, *BUCKETS, BUCKETS[-1])
    return (bounds[filled[0]], bounds[filled[-1] + 1]) if filled else (0.0, 0.0)


def _of_signals(signals: Mapping[str, int], began: int, now: int) -> Metric:
    return Metric("uno.signals", "Noteworthy things.", "1", _sum("signal", signals, began, now))


def _sum(label: str, counts: Mapping[str, int], began: int, now: int) -> Sum:
    points = [NumberDataPoint({label: name}, began, now, count) for name, count in counts.items()]
    return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)


def _of_gauge(figure: Figure, began: int, now: int) -> Metric:
    gauge = figure.gauge
    since = began if gauge.total else now
    points = [
        NumberDataPoint({gauge.label: key} if gauge.label else {}, since, now, value)
        for key, value in sorted(figure.values.items())
    ]
    total = Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)
    return Metric(gauge.name, gauge.help, "1", total if gauge.total else Gauge(points))
