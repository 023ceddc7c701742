"""What the program tells about itself: logs, spans and metrics."""

from uno.telemetry.logs import configure_logging, get_logger
from uno.telemetry.metrics import Metrics
from uno.telemetry.observe import observed
from uno.telemetry.signals import emit
from uno.telemetry.trace import Span, Tracer

__all__ = ["Metrics", "Span", "Tracer", "configure_logging", "emit", "get_logger", "observed"]
