"""What every request passes first: its context, its correlation id, the size of its body."""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uno import context, ids
from uno.api.problems import problem_response, too_large
from uno.context import Context, external_id
from uno.telemetry.trace import parse_traceparent

_READ = frozenset({b"x-correlation-id", b"x-request-id", b"traceparent", b"content-length", b"transfer-encoding"})
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")


class Entrance:
    """ASGI middleware around everything else, so that every response carries the correlation id.

    A request's own `X-Correlation-ID` (or `X-Request-ID`) is kept if it is harmless, its W3C
    `traceparent` if it is valid. Nothing else in the context comes from a header. A body of more
    than `max_body_bytes` is refused without being read to its end.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.limit = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        found = {name: value for name, value in scope["headers"] if name in _READ}
        made = _context(found)
        token = context.enter(made)
        answer = _echoing(send, made.correlation_id.encode())
        try:
            length = found.get(b"content-length")
            if length is not None and length.isdigit() and int(length) > self.limit:
                await problem_response(too_large(self.limit), scope)(scope, receive, answer)
                return
            if b"transfer-encoding" in found:
                receive = _limited(receive, self.limit)
            await self.app(scope, receive, answer)
        finally:
            context.leave(token)


def _context(found: dict[bytes, bytes]) -> Context:
    if not found:
        return Context()
    text = {name: value.decode("latin-1") for name, value in found.items()}
    given = external_id(text.get(b"x-correlation-id")) or external_id(text.get(b"x-request-id"))
    parent = text.get(b"traceparent")
    if parse_traceparent(parent):
        return Context(given, traceparent=parent)
    if given is None or _TRACE_ID.fullmatch(given):
        return Context(given)
    # Such an id cannot name a trace: spans and problems agree on this one.
    return Context(given, traceparent=f"00-{ids.trace_id()}-{ids.span_id()}-01")


def _echoing(send: Send, correlation_id: bytes) -> Send:
    header = (b"x-correlation-id", correlation_id)

    def answer(message: Message):  # type: ignore[no-untyped-def] # what send gives back: no coroutine of its own
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), header]
        return send(message)

    return answer


def _limited(receive: Receive, limit: int) -> Receive:
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise too_large(limit)
        return message

    return bounded
