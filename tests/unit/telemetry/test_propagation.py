"""Trace context in headers and events."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from uno import context
from uno.context import Context
from uno.telemetry import Tracer, extract_trace_context, inject_trace_context, outgoing_headers

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


class Event:
    def __init__(self, **meta: Any) -> None:
        self.meta = meta


def test_outgoing_headers_are_those_of_the_current_span() -> None:
    with Tracer().trace("order", correlation_id="order-1") as trace, trace.span("call") as span:
        headers: dict[str, str] = {"Accept": "text/plain"}
        assert inject_trace_context(headers) is headers
        assert headers == {"Accept": "text/plain", "traceparent": span.traceparent, "X-Correlation-ID": "order-1"}
        assert extract_trace_context(headers) == (trace.trace_id, "order-1", span.span_id)
    assert outgoing_headers() == {}


def test_inside_a_message_they_are_those_of_the_message() -> None:
    with context.use(Context("c-1", traceparent=PARENT)):
        assert outgoing_headers() == {"traceparent": PARENT, "X-Correlation-ID": "c-1"}


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        (f"00-{'a' * 32}-{'b' * 16}-00", f"00-{'a' * 32}-{'b' * 16}-00"),
        (f"00-{'a' * 32}-{'b' * 16}-03", PARENT),
        (f"01-{'a' * 32}-{'b' * 16}-09-later", PARENT),
        (f"01-{'a' * 32}-{'b' * 16}-02", f"00-{'a' * 32}-{'b' * 16}-00"),
        (f"01-{'a' * 32}-{'b' * 16}-01later", None),
        (f"01-{'a' * 32}-{'b' * 16}-01-\r\n", None),
        (f"00-{'a' * 32}-{'b' * 16}-01-", None),
        (f"ff-{'a' * 32}-{'b' * 16}-01", None),
    ],
)
def test_of_a_header_goes_on_what_is_known_of_it(header: str, sent: str | None) -> None:
    with context.use(Context("c-1", traceparent=header)):
        assert outgoing_headers().get("traceparent") == sent


@given(st.text(), st.text())
def test_nothing_that_is_no_header_goes_out(correlation_id: str, traceparent: str) -> None:
    with context.use(Context(correlation_id or None, traceparent=traceparent)):
        for value in outgoing_headers().values():
            assert value.isascii()
            assert value.isprintable()


@pytest.mark.parametrize("headers", [{}, {"traceparent": "x", "x-correlation-id": "a\r\nb"}])
def test_headers_that_say_nothing_valid_give_nothing(headers: dict[str, str]) -> None:
    assert extract_trace_context(headers) == (None, None, None)


def test_headers_are_read_whatever_their_case() -> None:
    assert extract_trace_context({"TraceParent": PARENT, "x-CORRELATION-id": "c"}) == ("a" * 32, "c", "b" * 16)


def test_an_event_outside_a_trace_gets_a_correlation_id_and_keeps_the_one_it_has() -> None:
    fresh, own = inject_trace_context(Event()), inject_trace_context(Event(correlation_id="mine"))
    assert set(fresh.meta) == {"correlation_id"}
    assert own.meta == {"correlation_id": "mine"}
    assert extract_trace_context(own) == (None, "mine", None)


def test_an_event_inside_a_trace_belongs_to_it() -> None:
    event = Event(correlation_id="old", trace_id="old", color="red")
    with Tracer().trace("order", correlation_id="order-1") as trace:
        inject_trace_context(event)
    root = trace.spans[0].span_id
    assert event.meta == {
        "correlation_id": "order-1",
        "trace_id": trace.trace_id,
        "parent_span_id": root,
        "color": "red",
    }
    assert extract_trace_context(event) == (trace.trace_id, "order-1", root)
