"""What every request passes first: its context, its correlation id, the size of its body."""

from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uno import clock, context, ids
from uno.api import watched
from uno.api.idempotency import KEYED, NAME
from uno.api.problems import ambiguous_length, problem_response, too_large
from uno.context import Context, external_id
from uno.telemetry import trace
from uno.telemetry.spans import is_trace_id, parse_traceparent, plain_traceparent
from uno.telemetry.trace import Tracer

_READ = frozenset({b"x-correlation-id", b"x-request-id", b"traceparent", b"content-length", b"transfer-encoding", NAME})
_LONGEST_LENGTH = 18  # digits; more are no number of bytes that anybody sends
# How much of a refused body is read: a socket closed with bytes unread resets the client's connection,
# and it never sees the answer.
_DRAINED_BODIES, _DRAINED_BYTES, _DRAINED_SECONDS = 16, 16 * 1024 * 1024, 2.0


class Entrance:
    """ASGI middleware around everything else, so that every response carries the correlation id.

    A request's own `X-Correlation-ID` (or `X-Request-ID`) is kept if it is harmless, its W3C
    `traceparent` if it is valid. Nothing else in the context comes from a header. A body of more
    than `max_body_bytes` is refused: what is still coming is thrown away, up to a bound.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.limit = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        found = {name: value for name, value in scope["headers"] if name in _READ}
        if NAME in found:
            scope[KEYED] = True
        made = _context(found)
        token = context.enter(made)
        answer = _echoing(send, made.correlation_id.encode())
        tracer = trace.detail
        try:
            if tracer is not None:
                await self._watched(tracer, scope, found, receive, answer)
            elif scope["type"] == "http":
                await self._http(scope, found, receive, answer)
            else:
                await self.app(scope, receive, answer)
        finally:
            context.leave(token)

    async def _watched(
        self, tracer: Tracer, scope: Scope, found: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        """The same with a span around it."""
        caller = found.get(b"traceparent", b"").decode("latin-1")
        span = watched.begun(tracer, scope, context.current(), remote=parse_traceparent(caller) is not None)
        failure: BaseException | None = None
        try:
            if scope["type"] == "http":
                await self._http(scope, found, receive, watched.noting(span, send))
            else:
                await self.app(scope, receive, send)
        except BaseException as error:
            failure = error
            raise
        finally:
            watched.ended(tracer, span, scope, failure)

    async def _http(self, scope: Scope, found: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        length = found.get(b"content-length")
        refusal = None
        if length is not None and b"transfer-encoding" in found:
            # Whoever stands in front may believe the one, the server behind it the other.
            refusal = ambiguous_length()
        elif length is not None and length.isdigit():
            if len(length) <= _LONGEST_LENGTH and int(length) <= self.limit:
                await self.app(scope, receive, send)
                return
            refusal = too_large(self.limit)
        elif length is None and b"transfer-encoding" not in found and scope.get("http_version", "").startswith("1"):
            # There is no body without one of them (RFC 9112, section 6.3).
            await self.app(scope, receive, send)
            return
        # No server counts this body: without a length it may have any.
        body = _Body(receive, self.limit)
        send = _answering_late(send, body)
        if refusal is None:
            await self.app(scope, body.receive, send)
        else:
            body.refused = True
            await problem_response(refusal, scope)(scope, receive, send)


def _context(found: dict[bytes, bytes]) -> Context:
    if not found:
        return Context()
    text = {name: value.decode("latin-1") for name, value in found.items()}
    given = external_id(text.get(b"x-correlation-id")) or external_id(text.get(b"x-request-id"))
    parent = plain_traceparent(text.get(b"traceparent"))
    if parent is not None:
        return Context(given, traceparent=parent)
    if given is None or is_trace_id(given):
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


class _Body:
    """Reads a body up to `limit` bytes."""

    __slots__ = ("ended", "limit", "read", "refused", "source")

    def __init__(self, source: Receive, limit: int) -> None:
        self.source = source
        self.limit = limit
        self.read = 0
        self.ended = self.refused = False

    async def receive(self) -> Message:
        message = await self._next()
        if self.read > self.limit:
            self.refused = True
            raise too_large(self.limit)
        return message

    async def drain(self) -> None:
        """Throw away what is left of a refused body."""
        most = max(_DRAINED_BODIES * self.limit, _DRAINED_BYTES)
        with suppress(TimeoutError):
            async with clock.timeout(_DRAINED_SECONDS):
                while not self.ended and self.read < most:
                    await self._next()

    async def _next(self) -> Message:
        message = await self.source()
        self.read += len(message.get("body", b""))
        self.ended = not message.get("more_body")
        return message


def _answering_late(send: Send, body: _Body) -> Send:
    """Ends the response to a refused body when that is drained: the server closes after the end."""

    async def answer(message: Message) -> None:
        is_last = message["type"] == "http.response.body" and not message.get("more_body")
        if not (is_last and body.refused):
            await send(message)
            return
        await send({**message, "more_body": True})
        await body.drain()
        await send({"type": "http.response.body", "body": b""})

    return answer
