"""The metrics page in Prometheus' text format; needs the extra `metrics`."""

from collections.abc import Iterator, Sequence

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from uno.telemetry.metrics import BUCKETS, Figure, MessageMetrics, Metrics
from uno.telemetry.signals import signal_counts

__all__ = ["CONTENT_TYPE", "MessageCollector", "exposition"]

_BOUNDS = [*map(repr, BUCKETS), "+Inf"]


class MessageCollector(Collector):
    """Reads `metrics` when it is asked, so nothing is counted twice.

    Register it where you have a registry of your own; `figures` are the gauges, read before.
    """

    def __init__(self, metrics: Metrics, figures: Sequence[Figure] = ()) -> None:
        self._metrics = metrics
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield from _of_messages(self._metrics)
        yield _of_signals()
        for figure in self._figures:
            yield _of_gauge(figure)


def _of_messages(metrics: Metrics) -> Iterator[Metric]:
    seconds = HistogramMetricFamily("uno_message_seconds", "Messages by duration, in seconds.", labels=["message"])
    failed = CounterMetricFamily("uno_message_failures", "Messages that ended in a Failure.", labels=["message"])
    broke = CounterMetricFamily("uno_message_errors", "Messages that ended in a bug.", labels=["message"])
    for name, figures in metrics.messages.items():
        seconds.add_metric([name], buckets=_cumulated(figures), sum_value=figures.seconds)
        failed.add_metric([name], figures.failures)
        broke.add_metric([name], figures.errors)
    yield from (seconds, failed, broke)


def _cumulated(figures: MessageMetrics) -> list[tuple[str, float]]:
    """Prometheus' buckets count everything below their bound."""
    total, found = 0, []
    for bound, count in zip(_BOUNDS, figures.buckets, strict=True):
        total += count
        found.append((bound, float(total)))
    return found


def _of_signals() -> Metric:
    family = CounterMetricFamily("uno_signals", "How often each noteworthy thing happened.", labels=["signal"])
    for name, count in sorted(signal_counts().items()):
        family.add_metric([name], count)
    return family


def _of_gauge(figure: Figure) -> Metric:
    gauge = figure.gauge
    made = CounterMetricFamily if gauge.total else GaugeMetricFamily
    family = made(gauge.name, gauge.help, labels=[gauge.label] if gauge.label else None)
    for key, value in sorted(figure.values.items()):
        family.add_metric([key] if gauge.label else [], value)
    return family


async def exposition(metrics: Metrics) -> bytes:
    """All metrics as text, of the media type `CONTENT_TYPE`; the gauges are asked now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MessageCollector(metrics, await metrics.figures()))
    return generate_latest(registry)
