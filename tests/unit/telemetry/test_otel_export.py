"""To OpenTelemetry: over a real socket to a collector in this process, which may also be dead."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from uno import clock
from uno.errors import Misconfigured
from uno.settings import OtelSettings, load
from uno.telemetry import Metrics, OpenTelemetryExporter, Span, Telemetry, TraceContext, Tracer, span, use_tracer
from uno.telemetry.otel import BATCH, exporter
from uno.testing.otlp import Collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def dead_endpoint() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


def spans(count: int) -> TraceContext:
    trace = TraceContext()
    for n in range(count):
        trace.spans.append(Span(f"span {n}", trace.trace_id))
        trace.spans[-1].end()
    return trace


def test_spans_arrive_with_their_ids_times_and_attributes(collector: Collector) -> None:
    sending = OpenTelemetryExporter(collector.endpoint, service_name="shop", headers={"x-key": "k-1"})
    tracer = Tracer(export_func=sending.export)
    attributes = {"items": 3, "gift": True, "tags": ["a", "b"], "none": None}
    with pytest.raises(ValueError, match="broken"), tracer.trace("order", attributes=attributes) as trace:
        with trace.span("pay", {"card_token": "4711"}) as pay:
            pay.kind = "client"
            pay.add_event("asked", {"bank": "x"})
        raise ValueError("broken till")
    assert sending.flush()
    sending.close()
    order, paid = sorted(collector.spans, key=lambda one: one.name)
    root = trace.spans[0]
    assert (order.trace_id, order.span_id, order.parent_span_id) == (trace.trace_id, root.span_id, None)
    assert (paid.trace_id, paid.span_id, paid.parent_span_id) == (trace.trace_id, pay.span_id, root.span_id)
    assert order.attributes == {
        "items": 3,
        "gift": True,
        "tags": '["a", "b"]',
        "error": "broken till",
        "error_type": "ValueError",
    }
    assert (order.is_error, order.message, order.kind) == (True, "broken till", "internal")
    assert (paid.is_error, paid.kind, paid.events) == (False, "client", ("asked",))
    assert paid.attributes == {"card_token": "***"}
    assert order.end >= paid.end >= paid.start >= order.start > 0
    assert order.end / 1e9 == pytest.approx(clock.now().timestamp(), abs=60)
    assert order.resource["service.name"] == "shop"
    assert collector.requests[0]["x-key"] == "k-1"
    assert sending.dropped == 0


def test_a_refused_message_is_no_error_and_can_be_found(collector: Collector) -> None:
    sending = OpenTelemetryExporter(collector.endpoint)
    trace = spans(1)
    trace.spans[0].status = "failure"
    sending.export(trace)
    sending.close()
    [one] = collector.spans
    assert (one.is_error, one.attributes) == (False, {"uno.status": "failure"})


def test_many_spans_go_in_few_requests_and_closing_sends_what_is_left(collector: Collector) -> None:
    sending = OpenTelemetryExporter(collector.endpoint, interval=60)
    for _ in range(3):
        sending.export(spans(BATCH))
    sending.close()
    assert (len(collector.spans), len({one.span_id for one in collector.spans})) == (3 * BATCH, 3 * BATCH)
    assert len(collector.requests) <= 4
    sending.export(spans(2))
    sending.close()
    assert len(collector.spans) == 3 * BATCH + 2


def test_ids_that_are_none_are_dropped_and_counted(collector: Collector) -> None:
    sending = OpenTelemetryExporter(collector.endpoint)
    trace = TraceContext("trace-1")
    with trace.span("mine"):
        pass
    sending.export(trace)
    sending.export(spans(1))
    sending.close()
    assert ([one.name for one in collector.spans], sending.dropped) == (["span 0"], 1)


def test_a_dead_collector_breaks_nothing_and_what_it_misses_is_counted_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sending = OpenTelemetryExporter(dead_endpoint(), timeout=0.2, queue_size=100, interval=60)
    tracer = Tracer(export_func=sending.export)
    with caplog.at_level(logging.WARNING, logger="uno.otel"), use_tracer(tracer):
        for _ in range(500):
            with span("work"):
                pass
        assert len(sending._queue) <= 100
        assert sending.dropped >= 400
        sending.close(timeout=5)
    assert (sending.dropped, tracer.export_errors) == (500, 0)
    told = [vars(record) for record in caplog.records if record.name == "uno.otel"]
    assert [one["reason"] for one in told] == ["the queue is full"] * 9
    assert [one["dropped"] for one in told] == [1, 2, 4, 8, 16, 32, 64, 128, 256]


def test_a_collector_that_refuses_gets_its_next_spans_once_it_takes_them(collector: Collector) -> None:
    sending = OpenTelemetryExporter(collector.endpoint)
    collector.status = 400
    sending.export(spans(3))
    assert sending.flush()
    assert (sending.dropped, collector.spans) == (3, [])
    collector.status = 200
    sending.export(spans(2))
    sending.close()
    assert (sending.dropped, len(collector.spans)) == (3, 2)


def test_closing_does_not_wait_for_a_collector_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sending = OpenTelemetryExporter(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)
        sending.export(spans(5))
        sending.close(timeout=0.05)
        assert sending.dropped in (0, 5)  # the thread may still hold them; it ends with the process
        sending.export(spans(1))
        sending.close(timeout=0.05)


def test_a_script_that_ends_has_sent_its_spans(collector: Collector) -> None:
    program = """
import sys
from uno.telemetry import OpenTelemetryExporter, Tracer
with Tracer(export_func=OpenTelemetryExporter(sys.argv[1], interval=60).export).trace("script"):
    pass
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program, collector.endpoint], check=True)
    assert [one.name for one in collector.spans] == ["script"]


def test_a_forked_process_sends_too(collector: Collector) -> None:
    sending = OpenTelemetryExporter(collector.endpoint)
    sending.export(spans(1))
    assert sending.flush()
    program = """
import os, sys
from uno.telemetry import OpenTelemetryExporter, Tracer
sending = OpenTelemetryExporter(sys.argv[1], interval=60)
with Tracer(export_func=sending.export).trace("parent"):
    pass
sending.flush()
child = os.fork()
with Tracer(export_func=sending.export).trace("after" if child else "child"):
    pass
sending.close()
if child:
    sys.exit(os.waitpid(child, 0)[1])
"""
    subprocess.run([sys.executable, "-c", program, collector.endpoint], check=True, env=os.environ)
    sending.close()
    assert sorted(one.name for one in collector.spans) == ["after", "child", "parent", "span 0"]


# ── a provider of the user's ──


def test_without_an_endpoint_spans_go_through_the_provider_of_the_sdk() -> None:
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    sending = OpenTelemetryExporter(provider=provider)
    assert sending.available
    with Tracer(export_func=sending.export).trace("order") as trace, trace.span("pay"):
        pass
    sending.close()
    found = {one.name: one for one in memory.get_finished_spans()}
    assert {format(one.context.trace_id, "032x") for one in found.values()} == {trace.trace_id}
    assert [format(found[one.name].context.span_id, "016x") for one in trace.spans] == [s.span_id for s in trace.spans]
    assert found["pay"].parent is not None
    assert found["pay"].parent.span_id == found["order"].context.span_id


def test_where_no_sdk_is_set_up_exporting_does_nothing() -> None:
    sending = OpenTelemetryExporter()
    assert not sending.available
    sending.export(spans(3))
    assert (sending.dropped, sending._thread) == (0, None)


# ── metrics ──


async def test_metrics_arrive_with_histograms_counters_and_gauges(collector: Collector) -> None:
    metrics = Metrics()
    for seconds in (0.00005, 0.02, 0.02, 60.0):
        metrics.message("shop.Sell").record(seconds)
    metrics.message("shop.Sell").failures = 2
    metrics.gauge("shop_pool", "Connections.", lambda: {"idle": 3, "in_use": 1}, label="state")
    metrics.gauge("shop_lag_seconds", "How late.", lambda: 0.5)
    sending = OpenTelemetryExporter(collector.endpoint, service_name="shop")
    async with sending.running(), sending.pushing(metrics, interval=60):
        pass
    found = {one.name: one for one in collector.metrics}
    count, total, buckets = found["uno.message.duration"].points["shop.Sell",]
    assert (count, total, sum(buckets), buckets[0], buckets[-1]) == (4, pytest.approx(60.04005), 4, 1, 1)
    assert found["uno.message.duration"].unit == "s"
    assert found["uno.message.failures"].points["shop.Sell",] == 2
    assert found["shop_pool"].points == {("idle",): 3, ("in_use",): 1}
    assert found["shop_lag_seconds"].points == {(): 0.5}
    assert found["shop_pool"].resource["service.name"] == "shop"


async def test_figures_are_sent_again_and_again_while_it_runs(collector: Collector) -> None:
    metrics = Metrics()
    metrics.gauge("shop_one", "One.", lambda: 1)
    sending = OpenTelemetryExporter(collector.endpoint)
    async with sending.running(), sending.pushing(metrics, interval=0.01), clock.timeout(20):
        while sum(one.name == "shop_one" for one in collector.metrics) < 3:
            await asyncio.sleep(0.005)


# ── settings ──


async def test_settings_with_an_endpoint_give_an_application_its_exporter(collector: Collector) -> None:
    settings = OtelSettings(endpoint=collector.endpoint, service_name="till", headers="X-Key=k=1, other = two")  # type: ignore[arg-type]
    telemetry = Telemetry.of(settings)
    async with telemetry.running():
        with span("inside"):
            pass
    [one] = collector.spans
    assert (one.name, one.resource["service.name"]) == ("inside", "till")
    assert (collector.requests[0]["x-key"], collector.requests[0]["other"]) == ("k=1", "two")


async def test_settings_without_an_endpoint_export_nothing() -> None:
    telemetry = Telemetry.of(OtelSettings())
    assert (telemetry.exporter, telemetry.tracer.exports) == (None, False)
    async with telemetry.running():
        with span("inside"):
            pass
    assert [one.name for one in telemetry.tracer.finished] == ["inside"]


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://collector", "http://ada:hunter2@collector:4318"])
def test_an_endpoint_that_is_none_is_refused_without_repeating_it(endpoint: str) -> None:
    with pytest.raises(Misconfigured, match="UNO_OTEL_ENDPOINT") as caught:
        load(otel={"endpoint": endpoint})
    assert "hunter2" not in str(caught.value)


def test_the_headers_are_a_secret() -> None:
    settings: Any = OtelSettings(endpoint="http://collector", headers="key=hunter2")  # type: ignore[arg-type]
    assert "hunter2" not in f"{settings!r} {exporter(settings)!r}"


@pytest.mark.parametrize(
    "headers", ["hunter2", "x-key=1,hunter2", "=hunter2", "x key=hunter2", "x-key=hunter2\r\nx: y"]
)
def test_headers_that_are_none_are_refused_without_being_shown(headers: str) -> None:
    with pytest.raises(Misconfigured, match="UNO_OTEL_HEADERS: .*name=value") as caught:
        load(otel={"headers": headers})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match="name=value") as bare:
        cast(Any, OtelSettings)(headers=headers)
    assert "hunter2" not in str(bare.value)


@pytest.mark.parametrize("headers", ["", "x-key=1", "X-Key = a=b , authorization=Bearer 4711,"])
def test_headers_are_names_and_values(headers: str) -> None:
    assert load(otel={"headers": headers}).otel.headers is not None
