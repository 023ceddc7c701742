"""To OpenTelemetry: finished spans and figures, from a thread of their own; needs the extra `otel`.

    tracer = Tracer(export_func=OpenTelemetryExporter("http://collector:4318").export)

Whoever makes a span only puts it into a bounded queue. What the collector does not take in time is
dropped and counted.
"""

import asyncio
import atexit
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from uno import clock
from uno.redact import redact
from uno.settings import OtelSettings
from uno.telemetry.metrics import Figure, Metrics
from uno.telemetry.otel_wire import Collector, Copier, Snapshot, global_provider, is_live
from uno.telemetry.signals import emit, signal_counts
from uno.telemetry.spans import Span
from uno.telemetry.traces import TraceContext

# Spans in one request to the collector.
BATCH = 512
# Seconds that closing waits for the last request, and then for the thread.
GRACE = 5.0


class OpenTelemetryExporter:
    """Sends spans to the collector at `endpoint`, the base URL of an OTLP/HTTP receiver.

    Without one they go to `provider`, or to the provider that was set as OpenTelemetry's global
    one: then its sampler, processors and resource apply. `queue_size` spans may wait; they are
    sent every `interval` seconds or when a batch is full. `timeout` in seconds is for one request
    and its repetitions.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        service_name: str = "uno",
        headers: Mapping[str, str] | None = None,
        provider: Any = None,
        queue_size: int = 4096,
        interval: float = 1.0,
        timeout: float = 10.0,
    ) -> None:
        self._endpoint = endpoint
        self._provider = provider
        self._options = (service_name, dict(headers or {}), timeout)
        self._interval = interval
        self._size = queue_size
        self._queue: deque[Span] = deque()
        self._moment: Snapshot | None = None
        self._state = threading.Condition()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._collector: Collector | None = None
        self._stop = threading.Event()
        # Given in, and got rid of in whichever way.
        self._given = self._settled = 0
        self._lost = 0

    def __repr__(self) -> str:
        return f"OpenTelemetryExporter({redact(self._endpoint or 'a provider')!r}, dropped={self._lost})"

    @property
    def available(self) -> bool:
        """Whether spans get anywhere: there is an endpoint, or the SDK's provider."""
        return self._endpoint is not None or is_live(self._provider or global_provider())

    @property
    def dropped(self) -> int:
        """Spans, and snapshots of the metrics, that nobody took."""
        return self._lost

    def export(self, trace: TraceContext) -> None:
        """Put the spans of a trace into the queue; never waits, never raises."""
        if not self.available:
            return
        with self._state:
            room = self._size - len(self._queue)
            taken = trace.spans[: max(room, 0)]
            self._queue.extend(taken)
            self._given += len(trace.spans)
            over = len(trace.spans) - len(taken)
        if over:
            self._drop(over, "the queue is full")
        self._start()
        if len(self._queue) >= BATCH:
            self._wake.set()

    def export_metrics(self, metrics: Metrics, figures: Sequence[Figure]) -> None:
        """Send the figures of this moment; the collector keeps up with the newest."""
        with self._state:
            replaced, self._moment = self._moment, Snapshot(metrics.messages, figures, signal_counts())
            self._given += 1
        if replaced is not None:
            self._drop(1, "newer figures came first")
        self._start()
        self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """At the end of the block everything goes out, then it closes."""
        self._start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.close)

    @asynccontextmanager
    async def pushing(self, metrics: Metrics, *, interval: float = 60.0) -> AsyncIterator[None]:
        """Sends the figures every `interval` seconds and at the end of the block; what gauges ask must outlive it."""
        stopped = asyncio.Event()
        task = asyncio.create_task(self._push(metrics, interval, stopped), name="uno.metrics")
        try:
            yield
        finally:
            # Not cancelled: a gauge may be in the middle of a question to the database.
            stopped.set()
            await task

    async def _push(self, metrics: Metrics, interval: float, stopped: asyncio.Event) -> None:
        last = False
        while not last:
            with suppress(TimeoutError):
                async with clock.timeout(interval):
                    await stopped.wait()
            last = stopped.is_set()
            self.export_metrics(metrics, await metrics.figures())

    def flush(self, timeout: float = GRACE) -> bool:
        """Wait until everything given in so far is gone; False if it took longer. For scripts and tests."""
        with self._state:
            wanted = self._given
        self._wake.set()
        with self._state:
            return self._state.wait_for(lambda: self._settled >= wanted, timeout)

    def close(self, timeout: float = GRACE) -> None:
        """Send what is left, for at most `timeout` seconds. What is given in later opens it again."""
        thread = self._thread
        if thread is None:
            return
        self._stop.set()
        self._wake.set()
        thread.join(timeout)
        collector = self._collector
        if thread.is_alive() and collector is not None:
            collector.close()
            thread.join(1.0)
        self._thread = None
        atexit.unregister(self.close)
        self._forget()

    def _forget(self) -> None:
        with self._state:
            left = len(self._queue)
            self._queue.clear()
        if left:
            self._drop(left, "closed")

    def _start(self) -> None:
        """The thread is there, and in a forked child again."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._state:
            if self._thread is None or not self._thread.is_alive():
                # Here and not on the thread: while a program ends nothing of this can be begun any more.
                self._collector, self._stop = self._open(), threading.Event()
                work = (self._collector, self._stop)
                self._thread = threading.Thread(target=self._run, args=work, name="uno.otel", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def _run(self, collector: Collector | None, stop: threading.Event) -> None:
        """The thread: copies what waits and sends it."""
        copier = Copier(collector.provider if collector else self._provider or global_provider())
        last = False
        while not last:
            self._wake.wait(self._interval)
            self._wake.clear()
            last = stop.is_set()
            while batch := self._next():
                self._send(batch, copier, collector)
            self._send_moment(collector)
        if collector is not None:
            collector.close()

    def _open(self) -> Collector | None:
        return None if self._endpoint is None else Collector(self._endpoint, *self._options)

    def _next(self) -> list[Span]:
        with self._state:
            return [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]

    def _send(self, batch: list[Span], copier: Copier, collector: Collector | None) -> None:
        copied = 0
        for span in batch:
            with suppress(ValueError):  # ids from outside that are none; counted below
                copier.copy(span)
                copied += 1
        if collector is not None and not self._delivered(collector.send_spans):
            copied = 0
        self._settle(len(batch), len(batch) - copied)

    def _send_moment(self, collector: Collector | None) -> None:
        with self._state:
            moment, self._moment = self._moment, None
        if moment is not None:
            sent = collector is not None and self._delivered(lambda: collector.send_metrics(moment))
            self._settle(1, 0 if sent else 1)

    def _delivered(self, send: Callable[[], bool]) -> bool:
        try:
            return send()
        except Exception:  # the thread must live on; what was to be sent is counted as dropped, and told
            return False

    def _settle(self, count: int, lost: int) -> None:
        with self._state:
            self._settled += count - lost
            self._state.notify_all()
        if lost:
            self._drop(lost, "the collector did not take it")

    def _drop(self, count: int, reason: str) -> None:
        with self._state:
            before, self._lost = self._lost, self._lost + count
            self._settled += count
            self._state.notify_all()
        # Once for each doubling: telling must not become a flood of its own.
        if before.bit_length() != self._lost.bit_length():
            emit("otel.dropped", dropped=self._lost, reason=reason)


def exporter(settings: OtelSettings) -> OpenTelemetryExporter:
    """The exporter that these settings, with an endpoint, describe."""
    given = settings.headers.get_secret_value() if settings.headers is not None else ""
    pairs = (pair.partition("=") for pair in given.split(",") if pair.strip())
    return OpenTelemetryExporter(
        settings.endpoint,
        service_name=settings.service_name,
        headers={name.strip().lower(): value.strip() for name, _, value in pairs},
        queue_size=settings.queue_size,
        interval=settings.interval,
        timeout=settings.timeout,
    )
