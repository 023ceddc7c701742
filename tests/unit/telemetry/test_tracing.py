"""Traces and spans of one's own, and that their exporters harm nobody."""

import asyncio
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from uno import clock, context
from uno.bus import Bus, command_handler, per_message
from uno.context import Context
from uno.messages import Command
from uno.telemetry import (
    Metrics,
    Span,
    TraceContext,
    Tracer,
    generate_id,
    get_correlation_id,
    get_current_trace,
    get_tracer,
    observed,
    outgoing_headers,
    set_tracer,
    signal_counts,
    span,
    use_tracer,
)
from uno.telemetry.spans import MAX_EVENTS, parse_traceparent
from uno.telemetry.traces import MAX_SPANS


class FakeClock(clock.SystemClock):
    moment = 0.0

    def monotonic(self) -> float:
        return self.moment


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    with use_tracer(Tracer("shop", keep=5)) as tracer:
        yield tracer


def named(spans: Any) -> list[str]:
    return [one.name for one in spans]


# ── spans ──


def test_a_generated_id_is_sixteen_hexadecimal_digits() -> None:
    assert re.fullmatch("[0-9a-f]{16}", generate_id())
    assert generate_id() != generate_id()


def test_a_span_by_itself() -> None:
    one = Span("work", "a" * 32, parent_span_id="b" * 16)
    assert (one.status, one.end_time, one.duration_ms, one.attributes, one.events) == ("ok", None, None, {}, [])
    one.set_attribute("rows", 3)
    one.add_event("halfway", {"left": 1})
    one.end("error")
    told = one.to_dict()
    assert (told["name"], told["trace_id"], told["parent_span_id"]) == ("work", "a" * 32, "b" * 16)
    assert (told["status"], told["attributes"]) == ("error", {"rows": 3})
    assert (told["events"][0]["name"], told["events"][0]["attributes"]) == ("halfway", {"left": 1})
    assert one.end_time is not None
    assert told["duration_ms"] == pytest.approx((one.end_time - one.start_time) * 1000, abs=0.01)


def test_a_span_is_made_with_attributes_that_are_its_own() -> None:
    given = {"rows": 3}
    one = Span("work", "a" * 32, attributes=given)
    one.set_attribute("rows", 4)
    assert (one.to_dict()["attributes"], given) == ({"rows": 4}, {"rows": 3})
    assert Span("work", "a" * 32, "b" * 16, None, 1.0).attributes == {}


def test_the_times_of_a_span_are_those_of_the_day() -> None:
    before = clock.now().timestamp()
    one = Span("work", "a" * 32)
    assert before - 0.2 <= one.start_time <= clock.now().timestamp() + 0.2


def test_a_span_keeps_a_bounded_number_of_events() -> None:
    one = Span("work", "a" * 32)
    for n in range(MAX_EVENTS + 10):
        one.add_event(str(n))
    assert len(one.events) == MAX_EVENTS


# ── traces ──


def test_a_trace_has_a_root_and_the_spans_inside(tracer: Tracer) -> None:
    with tracer.trace("process_order", correlation_id="order-123", attributes={"shop": 7}) as trace:
        with trace.span("validate") as inner:
            assert (trace.current_span, tracer.get_current_span()) == (inner, inner)
        with trace.span("save", {"table": "orders"}, rows=2):
            pass
        assert (get_current_trace(), tracer.get_current_trace(), get_correlation_id()) == (trace, trace, "order-123")
    assert (get_current_trace(), tracer.get_current_span(), get_correlation_id()) == (None, None, None)
    root, validate, save = trace.spans
    assert named(trace.spans) == ["process_order", "validate", "save"]
    assert [one.parent_span_id for one in trace.spans] == [None, root.span_id, root.span_id]
    assert {one.trace_id for one in trace.spans} == {trace.trace_id}
    assert save.attributes == {"table": "orders", "rows": 2}
    assert all(one.ended is not None for one in (root, validate, save))
    told = trace.to_dict()
    assert (told["correlation_id"], told["attributes"], len(told["spans"])) == ("order-123", {"shop": 7}, 3)
    assert tracer.get_trace(trace.trace_id) is trace
    assert context.get() is None


def test_spans_can_be_opened_and_closed_by_hand() -> None:
    trace = TraceContext("trace-1", "order-1")
    outer = trace.start_span("outer")
    inner = trace.start_span("inner", {"n": 1})
    assert (inner.trace_id, inner.parent_span_id, trace.current_span) == ("trace-1", outer.span_id, inner)
    trace.end_span(status="error")
    assert (inner.status, trace.current_span) == ("error", outer)
    trace.end_span("cancelled")
    assert (outer.status, trace.current_span) == ("cancelled", None)
    trace.end_span()
    assert named(trace.spans) == ["outer", "inner"]
    assert context.get() is None


def test_an_exception_ends_its_spans_as_errors_and_goes_on(tracer: Tracer) -> None:
    with pytest.raises(ValueError, match="postgresql"), tracer.trace("a") as trace, trace.span("b"):
        raise ValueError("no postgresql://ada:hunter2@db/shop")
    for one in trace.spans:
        assert one.status == "error"
        assert one.attributes == {"error": "no postgresql://ada:***@db/shop", "error_type": "ValueError"}
    assert context.get() is None


async def test_tasks_beside_each_other_have_their_own_current_span(tracer: Tracer) -> None:
    met = asyncio.Barrier(3)

    async def work(trace: TraceContext, name: str) -> None:
        with trace.span(name) as mine:
            await met.wait()
            assert trace.current_span is mine
            with trace.span(f"{name} inner"):
                await met.wait()

    with tracer.trace("all") as trace:
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(work(trace, name))
    ids = {one.span_id: one.name for one in trace.spans}
    parents = {one.name: ids.get(one.parent_span_id or "") for one in trace.spans}
    assert parents == {"all": None} | dict.fromkeys("abc", "all") | {f"{n} inner": n for n in "abc"}


async def test_messages_inside_a_trace_are_part_of_it_and_so_are_spans_inside_messages(tracer: Tracer) -> None:
    class Pack(Command[str]):
        pass

    @command_handler(Pack)
    async def pack(message: Pack) -> str:
        with span("fold", sides=4) as fold:
            return f"{fold.trace_id} {fold.parent_span_id} {context.current().correlation_id}"

    bus = Bus([pack], middleware=[per_message(observed(Metrics(), tracer))])
    with tracer.trace("order", correlation_id="order-9") as trace:
        inside = (await bus.dispatch(Pack())).unwrap()
    alone = (await bus.dispatch(Pack())).unwrap()
    packs = [one for one in tracer.finished if one.name.endswith("Pack")]
    assert [one.parent_span_id for one in packs] == [trace.spans[0].span_id, None]
    assert inside == f"{trace.trace_id} {packs[0].span_id} order-9"
    assert alone.split()[:2] == [packs[1].trace_id, packs[1].span_id]
    assert named(trace.spans) == ["order", "fold"]
    assert named(tracer.finished).count("fold") == 2


def test_a_trace_inside_a_message_goes_on_with_the_one_around_it(tracer: Tracer) -> None:
    with context.use(Context("c-1", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")), tracer.trace("import") as trace:
        pass
    assert (trace.trace_id, trace.correlation_id, trace.spans[0].parent_span_id) == ("a" * 32, "c-1", "b" * 16)


def test_spans_outside_of_everything_are_traces_of_their_own(tracer: Tracer) -> None:
    with span("one"), span("inner"):
        pass
    with span("two"):
        pass
    inner, one, two = tracer.finished
    assert named((inner, one, two)) == ["inner", "one", "two"]
    assert inner.parent_span_id == one.span_id
    assert one.trace_id != two.trace_id
    assert all(parse_traceparent(each.traceparent) for each in (inner, one, two))


def test_two_spans_of_one_context_have_ids_of_their_own(tracer: Tracer) -> None:
    with context.use(Context()):
        for _ in range(2):
            with span("work"):
                pass
    first, second = tracer.finished
    assert (first.trace_id, first.span_id) != (second.trace_id, second.span_id)
    assert first.trace_id == second.trace_id


# ── what is kept ──


def test_only_the_last_traces_and_a_bounded_number_of_spans_are_kept(tracer: Tracer) -> None:
    made = []
    for n in range(20):
        with tracer.trace(str(n)) as trace:
            made.append(trace.trace_id)
    assert [tracer.get_trace(id) is not None for id in made] == [False] * 15 + [True] * 5
    with tracer.trace("wide") as trace:
        for n in range(MAX_SPANS + 9):
            with trace.span(str(n)):
                pass
    assert (len(trace.spans), trace.dropped, len(tracer.finished)) == (MAX_SPANS, 10, 5)


def test_traces_can_be_forgotten_all_or_by_age(tracer: Tracer) -> None:
    with clock.use(FakeClock()) as time:
        for moment in (0.0, 50.0, 100.0):
            time.moment = moment
            with tracer.trace(str(moment)):
                pass
        assert tracer.clear_traces(older_than=60) == 1
        assert tracer.clear_traces() == 2
        assert tracer.clear_traces() == 0


def test_threads_may_trace_while_others_forget() -> None:
    tracer, wrong = Tracer(keep=100), []
    ended = threading.Event()

    def work(do: Callable[[], object]) -> None:
        try:
            while not ended.is_set():
                do()
        except Exception as error:  # told below
            wrong.append(error)
            ended.set()

    def make() -> None:
        with tracer.trace("work"):
            pass

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        doing = [make, make, make, lambda: tracer.clear_traces(older_than=3600), tracer.clear_traces]
        threads = [threading.Thread(target=work, args=(do,)) for do in doing]
        for one in threads:
            one.start()
        ended.wait(0.5)
        ended.set()
        for one in threads:
            one.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []


# ── export ──


def test_a_trace_is_exported_when_it_ends_and_any_other_span_by_itself() -> None:
    exported: list[TraceContext] = []
    with use_tracer(Tracer(export_func=exported.append)) as tracer:
        with tracer.trace("order") as trace, span("inside"):
            assert exported == []
        with span("alone"):
            pass
    assert exported[0] is trace
    assert [named(one.spans) for one in exported] == [["order", "inside"], ["alone"]]


async def test_what_the_caller_does_not_keep_is_not_exported_and_goes_on_unkept() -> None:
    class Pack(Command[str]):
        pass

    @command_handler(Pack)
    async def pack(message: Pack) -> str:
        with span("fold"):
            return outgoing_headers()["traceparent"]

    exported: list[TraceContext] = []
    header = f"00-{'a' * 32}-{'b' * 16}"
    sent = {}
    with use_tracer(Tracer(export_func=exported.append)) as tracer:
        bus = Bus([pack], middleware=[per_message(observed(Metrics(), tracer))])
        for flags in ("00", "01"):
            with context.use(Context(traceparent=f"{header}-{flags}")):
                sent[flags] = [(await bus.dispatch(Pack())).unwrap()]
                with tracer.trace("own"):
                    sent[flags] += [outgoing_headers()["traceparent"], (await bus.dispatch(Pack())).unwrap()]
    assert [[(one[:35], one[-2:]) for one in sent[flags]] for flags in sent] == [
        [(header[:35], "00")] * 3,
        [(header[:35], "01")] * 3,
    ]
    assert len(exported) == 4
    assert {one.sampled for trace in exported for one in trace.spans} == {True}
    assert [one.sampled for one in tracer.finished].count(False) == 5


async def test_a_span_that_outlives_its_trace_is_exported_when_it_ends() -> None:
    exported: list[TraceContext] = []
    go = asyncio.Event()

    async def late(trace: TraceContext) -> None:
        with trace.span("late"):
            await go.wait()

    tracer = Tracer(export_func=exported.append)
    with tracer.trace("order") as trace:
        task = asyncio.create_task(late(trace))
        await asyncio.sleep(0)
    assert [named(one.spans) for one in exported] == [["order"]]
    go.set()
    await task
    assert [named(one.spans) for one in exported] == [["order"], ["late"]]


def test_an_exporter_that_fails_harms_nobody_and_is_counted_and_told_seldom(caplog: pytest.LogCaptureFixture) -> None:
    def broken(trace: TraceContext) -> None:
        raise ConnectionError("no collector")

    tracer = Tracer(export_func=broken)
    before = signal_counts().get("trace.export_failed", 0)
    with caplog.at_level(logging.WARNING, logger="uno.trace"):
        for _ in range(100):
            with tracer.trace("work"):
                pass
    assert tracer.export_errors == 100
    assert len(caplog.records) == 7
    assert signal_counts()["trace.export_failed"] - before == 7


# ── the tracer of the process ──


def test_the_tracer_of_the_process_can_be_set() -> None:
    first = get_tracer()
    mine = Tracer(service_name="mine")
    set_tracer(mine)
    try:
        assert get_tracer() is mine
        with use_tracer(Tracer()) as inner:
            assert get_tracer() is inner
        assert get_tracer() is mine
    finally:
        set_tracer(None)
    assert get_tracer() is first
