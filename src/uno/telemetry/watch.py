"""`span`: your own piece of work in the trace of the message around it."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from typing import Any

from uno import context, ids
from uno.context import Context
from uno.telemetry.spans import Span
from uno.telemetry.trace import Tracer, get_tracer
from uno.telemetry.traces import failed, get_current_trace


def span(name: str, /, **attributes: Any) -> AbstractContextManager[Span]:
    """A span around a block, in `async` and other code; an exception makes it an "error" and goes on."""
    trace = get_current_trace()
    if trace is not None and trace.late is None:
        return trace.span(name, attributes)
    return opened(get_tracer(), name, attributes=attributes)


@contextmanager
def opened(
    tracer: Tracer, name: str, *, kind: str = "internal", attributes: Mapping[str, Any] | None = None
) -> Iterator[Span]:
    """A span of `tracer` around a block, inside the span that the context names."""
    outer = context.get()
    around = outer or Context()
    made = tracer.start(name, around, perf_counter())
    if made.parent_span_id is None:
        # Another one may begin in the same context.
        made.span_id = ids.span_id()
    made.kind = kind
    if attributes:
        made.attributes.update(attributes)
    context.enter(around.replace(traceparent=made.traceparent))
    try:
        yield made
    except BaseException as error:
        failed(made, error)
        raise
    finally:
        context.enter(outer)
        tracer.finish(made, perf_counter())
