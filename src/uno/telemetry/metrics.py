"""Rate, errors and duration of every message type, in memory."""

from bisect import bisect_left
from typing import Any

# Upper bounds in seconds; a last, unbounded bucket follows.
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


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


class Metrics:
    """The live registry: one `MessageMetrics` for each message name."""

    def __init__(self) -> None:
        self._messages: dict[str, MessageMetrics] = {}

    def message(self, name: str) -> MessageMetrics:
        """The figures of the message called `name`, created when first asked for."""
        return self._messages.setdefault(name, MessageMetrics())

    def to_dict(self) -> dict[str, Any]:
        return {name: metrics.to_dict() for name, metrics in sorted(self._messages.items())}
