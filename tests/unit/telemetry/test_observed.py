"""Figures and spans of messages: what they say, and that they do not grow for ever."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from uno import context
from uno.bus import Bus, command_handler, per_message
from uno.context import Context
from uno.errors import Conflict, Forbidden, Misconfigured
from uno.messages import Command, message_name
from uno.telemetry import Metrics, Span, Tracer, observed
from uno.telemetry.metrics import BUCKETS, MessageMetrics
from uno.telemetry.spans import parse_traceparent


class Sell(Command[str]):
    how: str = "well"


class Pack(Command[None]):
    pass


@command_handler(Sell)
async def sell(message: Sell) -> str:
    match message.how:
        case "failing":
            raise Conflict("sold out")
        case "bug":
            raise ZeroDivisionError
        case "misconfigured":
            raise Misconfigured("no till")
    return context.current().correlation_id


async def ask(bus: Bus, how: str = "well") -> Any:
    return await bus.dispatch(Sell(how=how))


class Shop:
    def __init__(self, *handlers: object, keep: int = 512, inner: Any = None) -> None:
        self.metrics, self.tracer = Metrics(), Tracer(keep=keep)
        middleware = [per_message(observed(self.metrics, self.tracer)), *([inner] if inner else [])]
        self.bus = Bus([sell, *handlers], middleware=middleware)

    @property
    def spans(self) -> list[Span]:
        return list(self.tracer.finished)

    def figures(self) -> dict[str, Any]:
        return {k: v for k, v in self.metrics.to_dict()[message_name(Sell)].items() if k != "seconds"}


async def test_what_worked_failed_and_broke_is_counted() -> None:
    shop = Shop()
    assert (await ask(shop.bus)).is_success
    assert (await ask(shop.bus, "failing")).is_failure
    for how, error in (("bug", ZeroDivisionError), ("misconfigured", Misconfigured)):
        with pytest.raises(error):
            await ask(shop.bus, how)
    assert shop.figures() == {"count": 4, "failures": 1, "errors": 2}
    assert [s.status for s in shop.spans] == ["ok", "failure", "error", "error"]


async def test_a_refusal_by_an_inner_middleware_is_a_failure_and_no_bug() -> None:
    async def nobody(message: object, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        raise Forbidden("not you")

    shop = Shop(inner=nobody)
    assert isinstance((await ask(shop.bus)).error, Forbidden)
    assert shop.figures() == {"count": 1, "failures": 1, "errors": 0}
    assert shop.spans[0].status == "failure"


async def test_a_message_from_nowhere_gets_a_context_of_its_own() -> None:
    shop = Shop()
    first, second = [(await ask(shop.bus)).value for _ in range(2)]
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second
    assert context.get() is None


async def test_a_message_inside_a_context_keeps_its_correlation_id() -> None:
    shop = Shop()
    outer = Context("order-42", actor="ada")
    with context.use(outer):
        assert (await ask(shop.bus)).value == "order-42"
        assert context.current() is outer
    assert outer.traceparent is None


async def test_what_a_message_causes_is_in_its_trace_and_knows_its_cause() -> None:
    seen: list[Context] = []

    @command_handler(Pack)
    async def pack(message: Pack, bus: Bus) -> None:
        seen.append(context.current())
        await ask(bus)

    async def remember(message: object, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        if isinstance(message, Sell):
            seen.append(context.current())
        return await call_next(message)

    shop = Shop(pack, inner=remember)
    await shop.bus.dispatch(Pack())
    inner, outer = shop.spans
    assert inner.trace_id == outer.trace_id
    assert inner.parent_span_id == outer.span_id
    assert outer.parent_span_id is None
    cause, effect = seen
    assert effect.causation_id == cause.message_id
    assert effect.message_id != cause.message_id


async def test_a_trace_that_came_with_the_request_goes_on() -> None:
    shop = Shop()
    with context.use(Context("c", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")):
        await ask(shop.bus)
    [span] = shop.spans
    assert (span.trace_id, span.parent_span_id) == ("a" * 32, "b" * 16)


@pytest.mark.parametrize("correlation_id", ["order-42", "z" * 32, "0" * 32, "A" * 32, "a" * 16 + "0" * 16, "f" * 32])
async def test_every_span_is_valid_for_w3c_whatever_the_correlation_id_is(correlation_id: str) -> None:
    shop = Shop()
    with context.use(Context(correlation_id)):
        await ask(shop.bus)
        await ask(shop.bus)
    one, two = shop.spans
    for span in (one, two):
        assert parse_traceparent(span.traceparent) == (span.trace_id, span.span_id)
    assert one.span_id != two.span_id


@given(correlation_id=st.text("0af-Z", min_size=1, max_size=40), message_id=st.none() | st.text(max_size=31))
def test_a_span_is_valid_in_any_context(correlation_id: str, message_id: str | None) -> None:
    span = Tracer().start("x", Context(correlation_id, message_id), 0.0)
    assert parse_traceparent(span.traceparent) is not None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        f"ff-{'a' * 32}-{'b' * 16}-01",
        f"00-{'A' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'b' * 16}-01\n",
        f"00-{'a' * 31}-{'b' * 16}-01",
    ],
)
def test_a_broken_traceparent_is_none(header: str | None) -> None:
    assert parse_traceparent(header) is None


async def test_only_the_last_spans_are_kept() -> None:
    shop = Shop(keep=10)
    for _ in range(50):
        await ask(shop.bus)
    assert len(shop.spans) == 10
    assert shop.figures()["count"] == 50
    assert list(shop.metrics.to_dict()) == [message_name(Sell)]


@given(st.lists(st.floats(0, 1e6)))
def test_a_histogram_stays_as_small_as_it_began_and_counts_all(durations: list[float]) -> None:
    figures = MessageMetrics()
    for duration in durations:
        figures.record(duration)
    assert len(figures.buckets) == len(BUCKETS) + 1
    assert figures.count == len(durations)
    assert figures.seconds == pytest.approx(sum(durations))
    for n, bound in enumerate(BUCKETS):
        assert sum(figures.buckets[: n + 1]) == sum(d <= bound for d in durations)


async def test_a_span_has_a_beginning_and_an_end() -> None:
    shop = Shop()
    await ask(shop.bus)
    [span] = shop.spans
    assert span.name == message_name(Sell)
    assert span.ended is not None
    assert span.ended >= span.started
