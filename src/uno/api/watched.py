"""The span of a request; only where spans are exported."""

from time import perf_counter
from typing import Any

from starlette.types import Message, Scope, Send

from uno.context import Context
from uno.telemetry.catalogue import REQUEST
from uno.telemetry.spans import Span, parse_traceparent
from uno.telemetry.trace import Tracer


def begun(tracer: Tracer, scope: Scope, made: Context, *, remote: bool) -> Span:
    """The span of this request, inside the caller's if the request named one; `made` is inside it from now on."""
    now, method = perf_counter(), scope.get("method", "WEBSOCKET")
    given = parse_traceparent(made.traceparent)
    # Without a caller the trace id was made here, and its span id stands for this span.
    span = Span(method, *given, None, now) if given and not remote else tracer.start(method, made, now)
    span.kind = REQUEST.kind
    span.attributes.update({"http.request.method": method, "url.path": scope["path"]})
    made.traceparent = span.traceparent
    return span


def noting(span: Span, send: Send) -> Send:
    """`send` that notes the status of the response."""

    def answer(message: Message) -> Any:
        if message["type"] == "http.response.start":
            span.attributes["http.response.status_code"] = message["status"]
        return send(message)

    return answer


def ended(tracer: Tracer, span: Span, scope: Scope, error: BaseException | None) -> None:
    """Called by its route, once that is known: a path would be a name of its own for each id."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        span.attributes["http.route"] = route
        span.name = REQUEST.name(method=span.name, route=route)
    if error is not None or span.attributes.get("http.response.status_code", 0) >= 500:
        span.status = "error"
    if error is not None:
        span.attributes["error_type"] = type(error).__name__
    tracer.finish(span, perf_counter())
