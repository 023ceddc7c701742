"""The telemetry of one application: its metrics, its tracer and, where the settings name a collector, its exporter."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uno.settings import OtelSettings
from uno.telemetry.extras import OTEL
from uno.telemetry.metrics import Metrics
from uno.telemetry.trace import Tracer, chosen_tracer, use_tracer

if TYPE_CHECKING:
    from uno.telemetry.otel import OpenTelemetryExporter


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What an application counts and traces, and who is told."""

    metrics: Metrics
    tracer: Tracer
    settings: OtelSettings
    exporter: "OpenTelemetryExporter | None" = None

    @classmethod
    def of(cls, settings: OtelSettings) -> "Telemetry":
        """As the settings say; a tracer given to `set_tracer` goes first if it exports by itself.

        Raises `Misconfigured` where a collector is named and the extra `otel` is missing.
        """
        exporter: Any = None
        if settings.endpoint is not None:
            exporter = OTEL.load().exporter(settings)
        chosen = chosen_tracer()
        if chosen is not None and (chosen.exports or exporter is None):
            return cls(Metrics(), chosen, settings, exporter)
        return cls(Metrics(), Tracer(settings.service_name, exporter and exporter.export), settings, exporter)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Makes the tracer that of the process; at the end what is left goes out. Around everything that is traced."""
        with use_tracer(self.tracer):
            if self.exporter is None:
                yield
                return
            async with self.exporter.running():
                yield

    @asynccontextmanager
    async def pushing(self) -> AsyncIterator[None]:
        """Sends the metrics from time to time. Inside everything that the gauges ask."""
        if self.exporter is None or not self.settings.metrics_interval:
            yield
            return
        async with self.exporter.pushing(self.metrics, interval=self.settings.metrics_interval):
            yield
