"""A collector in the test: receives OTLP over HTTP on a real socket and keeps what came.

    with Collector() as collector:
        app = App(..., settings=load(otel={"endpoint": collector.endpoint}))

Needs the extra `otel`.
"""

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it came over the wire; `start` and `end` in nanoseconds since 1970."""

    name: str
    trace_id: str
    span_id: str
    parent_span_id: str | None
    kind: str
    is_error: bool
    message: str
    start: int
    end: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceivedMetric:
    """A metric as it came over the wire: its points by the values of their labels."""

    name: str
    unit: str
    points: dict[tuple[str, ...], Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """`endpoint` is its base URL; `status` is what it answers."""

    status: int = 200
    spans: list[ReceivedSpan] = field(default_factory=list)
    metrics: list[ReceivedMetric] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Collector":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="otlp", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, path: str, body: bytes) -> None:
        """Keep what a request to `path` brought."""
        if path == "/v1/traces":
            self.spans += _spans(ExportTraceServiceRequest.FromString(body))
        elif path == "/v1/metrics":
            self.metrics += _metrics(ExportMetricsServiceRequest.FromString(body))


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.requests.append({name.lower(): value for name, value in self.headers.items()})
            if collector.status == 200:
                packed = self.headers.get("Content-Encoding") == "gzip"
                collector.take(self.path, gzip.decompress(body) if packed else body)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _spans(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    return [
        _span(span, _plain(group.resource.attributes))
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _span(span: Span, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex() or None,
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.status.code == Status.STATUS_CODE_ERROR,
        span.status.message,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _plain(span.attributes),
        resource,
        tuple(event.name for event in span.events),
    )


def _metrics(request: ExportMetricsServiceRequest) -> list[ReceivedMetric]:
    return [
        ReceivedMetric(metric.name, metric.unit, _points(metric), _plain(group.resource.attributes))
        for group in request.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
    ]


def _points(metric: Any) -> dict[tuple[str, ...], Any]:
    data = getattr(metric, metric.WhichOneof("data"))
    return {tuple(_plain(point.attributes).values()): _value(point) for point in data.data_points}


def _value(point: Any) -> Any:
    """A number, or for a histogram its count, sum and buckets."""
    if hasattr(point, "bucket_counts"):
        return point.count, point.sum, tuple(point.bucket_counts)
    return getattr(point, point.WhichOneof("value"))


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
