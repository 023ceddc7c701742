"""The files of this room that need an extra."""

from uno.extras import Extra

OTEL = Extra(
    "otel",
    "Sending telemetry to OpenTelemetry needs the extra 'otel'",
    ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
    "uno.telemetry.otel",
)
PROMETHEUS = Extra(
    "metrics", "The metrics page needs the extra 'metrics'", ("prometheus_client",), "uno.telemetry.prometheus"
)
