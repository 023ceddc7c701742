"""The outermost middleware gives a message its context, a span and its figures, the innermost its handler a span."""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from uno import context
from uno.context import Context
from uno.errors import Misconfigured, UnoError
from uno.messages import Message, message_name
from uno.result import Failure
from uno.telemetry.catalogue import HANDLER, MESSAGE
from uno.telemetry.metrics import Metrics
from uno.telemetry.trace import Tracer
from uno.telemetry.watch import opened

CallNext = Callable[[Any], Awaitable[Any]]


def observed(metrics: Metrics, tracer: Tracer) -> Callable[[type[Message]], Callable[[Any, CallNext], Awaitable[Any]]]:
    """For each message type, the middleware that counts, times and traces it."""

    def for_message(message_type: type[Message]) -> Callable[[Any, CallNext], Awaitable[Any]]:
        name = MESSAGE.name(message=message_name(message_type))
        figures = metrics.message(name)

        async def observe(message: Any, call_next: CallNext) -> Any:
            outer = context.get()
            started = perf_counter()
            if outer is None:
                inner = Context()
                span = tracer.first(name, inner.correlation_id, started)
            else:
                inner = outer.caused()
                span = tracer.start(name, inner, started)
            inner.traceparent = span.traceparent
            token = context.enter(inner)
            try:
                result = await call_next(message)
                if result.__class__ is Failure:
                    figures.failures += 1
                    span.status = "failure"
                    context.note(result.error, inner)
                return result
            except BaseException as error:
                context.note(error, inner)
                if isinstance(error, UnoError) and not isinstance(error, Misconfigured):
                    figures.failures += 1
                    span.status = "failure"
                else:
                    figures.errors += 1
                    span.status = "error"
                raise
            finally:
                context.leave(token)
                ended = perf_counter()
                figures.record(ended - started)
                tracer.finish(span, ended)

        return observe

    return for_message


def handling(tracer: Tracer) -> Callable[[type[Message]], Callable[[Any, CallNext], Awaitable[Any]]]:
    """For each message type, the innermost middleware: a span around the handler alone."""

    def for_message(message_type: type[Message]) -> Callable[[Any, CallNext], Awaitable[Any]]:
        name = HANDLER.name(message=message_name(message_type))

        async def handle(message: Any, call_next: CallNext) -> Any:
            with opened(tracer, name) as span:
                result = await call_next(message)
                if result.__class__ is Failure:
                    span.status = "failure"
                return result

        return handle

    return for_message
