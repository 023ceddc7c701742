"""Rate, errors and duration of every message type, in memory, and gauges that are asked when somebody looks."""

import asyncio
import inspect
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from uno import clock
from uno.redact import said
from uno.telemetry.signals import count, emit

# Upper bounds in seconds; a last, unbounded bucket follows.
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Seconds a gauge has for its answer.
GAUGE_TIMEOUT = 2.0

Reading = float | Mapping[str, float] | None
Ask = Callable[[], Reading | Awaitable[Reading]]


class MessageMetrics:
    """Count, failures and a histogram of durations (seconds) for one message type."""

    __slots__ = ("buckets", "errors", "failures", "seconds")

    def __init__(self) -> None:
        self.failures = 0
        self.errors = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BUCKETS) + 1)

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def record(self, seconds: float) -> None:
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS, seconds)] += 1

    def to_dict(self) -> dict[str, Any]:
        return {"count": self.count, "failures": self.failures, "errors": self.errors, "seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class Gauge:
    """A figure that is asked for when somebody looks; `label` names what the keys of a mapping are.

    `total`: it is a counter, which only grows.
    """

    name: str
    help: str
    ask: Ask
    label: str = ""
    total: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """What a gauge said: one value under the label "", or one for each value of its label."""

    gauge: Gauge
    values: Mapping[str, float]


class Metrics:
    """The live registry: one `MessageMetrics` for each message name, and the gauges."""

    def __init__(self) -> None:
        self._messages: dict[str, MessageMetrics] = {}
        self._gauges: dict[str, Gauge] = {}
        self._failing: set[str] = set()

    def message(self, name: str) -> MessageMetrics:
        """The figures of the message called `name`, created when first asked for."""
        return self._messages.setdefault(name, MessageMetrics())

    @property
    def messages(self) -> Mapping[str, MessageMetrics]:
        """All message types by name."""
        return dict(sorted(self._messages.items()))

    def gauge(self, name: str, help: str, ask: Ask, *, label: str = "") -> None:
        """Show what `ask()` gives under `name`, asked at each look; `ask` may be async.

        None means that there is nothing to tell. A mapping gives one value for each of its keys,
        which become values of `label`; without a label the gauge fails. A second gauge of the same
        name takes the place of the first.
        """
        self._gauges[name] = Gauge(name, help, ask, label)

    def counter(self, name: str, help: str, ask: Ask, *, label: str = "") -> None:
        """The same for what only grows, counted by somebody else; Prometheus adds `_total` to `name`."""
        self._gauges[name] = Gauge(name, help, ask, label, total=True)

    async def figures(self) -> list[Figure]:
        """All gauges, asked at the same time; one that fails or is late is left out and told."""
        gauges = [self._gauges[name] for name in sorted(self._gauges)]
        found = await asyncio.gather(*(self._read(gauge) for gauge in gauges))
        return [figure for figure in found if figure is not None]

    async def _read(self, gauge: Gauge) -> Figure | None:
        try:
            figure = await _asked(gauge)
        # One gauge must not hide the others, or end the process; the signal names it.
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            self._left_out(gauge, error)
            return None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Something that it waits for was cancelled, not this.
            self._left_out(gauge, error)
            return None
        self._failing.discard(gauge.name)
        return figure

    def _left_out(self, gauge: Gauge, error: BaseException) -> None:
        """Told when it begins to fail, counted at each look."""
        if gauge.name in self._failing:
            count("gauge.failed")
        else:
            self._failing.add(gauge.name)
            emit("gauge.failed", gauge=gauge.name, error=said(error, str) or type(error).__name__)

    def to_dict(self) -> dict[str, Any]:
        return {name: metrics.to_dict() for name, metrics in self.messages.items()}


async def _asked(gauge: Gauge) -> Figure | None:
    async with clock.timeout(GAUGE_TIMEOUT):
        answer = gauge.ask()
        value = await answer if inspect.isawaitable(answer) else answer
    if value is None:
        return None
    if isinstance(value, Mapping) and not gauge.label:
        raise TypeError("it gives a mapping, and no label says what its keys are: gauge(..., label=...)")
    values = value if isinstance(value, Mapping) else {"": value}
    return Figure(gauge, {str(key): _number(one) for key, one in values.items()})


def _number(value: Any) -> float:
    """Raises `TypeError` for what is none; a text is none even if it looks like one."""
    if isinstance(value, str | bytes):
        raise TypeError(f"a {type(value).__name__} is no number")
    return float(value)
