"""Who is being answered: clients that go away, and what they are told when the process stops.

A client that goes away cancels its handler: it would work for nobody. Nothing looks for that in the first moments of a
request, since most are over before it could matter.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uno.aio import AsyncManager
from uno.api.problems import problem_response
from uno.errors import Unavailable
from uno.resilience.commits import explained
from uno.telemetry import emit

# Seconds between two looks at the requests that are being answered: a handler is cancelled by the second at the latest.
LOOK = 0.25
_BODY = (b"content-length", b"transfer-encoding")
_CLOSE = (b"connection", b"close")
_EVENTS = b"text/event-stream"
_LAST: Message = {"type": "http.response.body", "body": b"", "more_body": False}
_GONE: Message = {"type": "http.disconnect"}


class Presence:
    """The requests of one application that are being answered."""

    def __init__(self) -> None:
        # Whether no connection is to be used again.
        self.closing = False
        self.open: dict[Answering, None] = {}
        self.timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Look at the requests from time to time, as long as there are some."""
        # In no context: the request that happens to come first has nothing to do with it.
        self.timer = asyncio.get_running_loop().call_later(LOOK, self._look, context=Context())

    def _look(self) -> None:
        self.timer = None
        for request in self.open:
            request.look()
        if self.open:
            self.begin()

    @contextmanager
    def stopping_with(self, manager: AsyncManager, linger: float) -> Iterator[None]:
        """Once the manager is told to stop no connection is used again; `linger` seconds later event streams end."""
        forget = manager.on_stopping(lambda: self._stop(linger))
        try:
            yield
        finally:
            forget()
            self.closing = False
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

    def _stop(self, linger: float) -> None:
        self.closing = True
        asyncio.get_running_loop().call_later(linger, self.end_streams, context=Context())

    def end_streams(self) -> None:
        """Streams of events end for the client as they should: it connects again, to another process."""
        for request in list(self.open):
            request.end_stream()


class Answering:
    """One request, and the task that answers it; `receive` and `send` are what the application is given."""

    # Most requests never need the others: defaults of the class cost nothing.
    answered = False
    # Whether this has cancelled it: nobody is there any more, or the stream is over.
    cancelled = False
    _begun: Message | None = None
    # Whether the whole body was read, and whether somebody waits for more right now.
    _ended = _is_asked = _seen = False
    _kept: Message | None = None
    watch: asyncio.Task[None] | None = None

    def __init__(self, presence: Presence, scope: Scope, receive: Receive, send: Send) -> None:
        self._presence = presence
        self._task = asyncio.current_task()
        self._scope = scope
        self._source = receive
        self._send = send

    async def receive(self) -> Message:
        if self._kept is not None:
            message, self._kept = self._kept, None
            return message
        if self.watch is not None:
            await asyncio.wait([self.watch])
            return _GONE
        self._is_asked = True
        try:
            message = await self._source()
        finally:
            self._is_asked = False
        self._ended = not message.get("more_body")
        return message

    # What it gives back is the server's own: no coroutine around it.
    def send(self, message: Message) -> Any:
        if message["type"] == "http.response.start":
            self._begun = message
            if self._presence.closing:
                message["headers"] = [*message.get("headers", ()), _CLOSE]
        elif not message.get("more_body"):
            self.answered = True
        return self._send(message)

    # ── clients that go away ──

    def look(self) -> None:
        """The second look begins to wait for the client's going away, where nobody else reads what it sends."""
        if self._seen and self.watch is None and not self._is_asked and (self._ended or not self._has_body()):
            self.watch = asyncio.create_task(self._watching(), name="uno.presence")
        self._seen = True

    def _has_body(self) -> bool:
        return any(name in _BODY and value != b"0" for name, value in self._scope["headers"])

    async def _watching(self) -> None:
        message = await self._source()
        if message["type"] == "http.request":  # the empty body, for which nobody has asked yet
            self._kept = message
            message = await self._source()
        if not self.answered and message["type"] == "http.disconnect":
            emit("request.abandoned", method=self._scope.get("method"), path=self._scope.get("path"))
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None and not self.cancelled:
            self.cancelled = True
            self._task.cancel()

    def end_stream(self) -> None:
        """End it for the client as it should: what answers it is cancelled first."""
        if self._is_stream() and not self.answered:
            self._cancel()

    def _is_stream(self) -> bool:
        headers = () if self._begun is None else self._begun.get("headers", ())
        return any(value.startswith(_EVENTS) for name, value in headers if name == b"content-type")

    # ── the end ──

    def is_alone(self) -> bool:
        """Whether nobody else has cancelled the task; what this has done is taken back."""
        return self.cancelled and self._task is not None and self._task.uncancel() == 0

    async def end(self) -> None:
        """The response of a stream that was cancelled ends here."""
        if self._is_stream() and not self.answered:
            await self.send(_LAST)

    async def refuse(self, error: asyncio.CancelledError) -> None:
        """It was cancelled because the process stops, and its client is still there."""
        if self._begun is None:
            told = explained(error, "The server stops.") or Unavailable("The server stops; try again.")
            problem = problem_response(told, self._scope)
            await problem(self._scope, self.receive, self.send)


class Attended:
    """ASGI middleware around everything else: each request is one of `presence`."""

    def __init__(self, app: ASGIApp, presence: Presence) -> None:
        self.app = app
        self.presence = presence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        presence = self.presence
        request = Answering(presence, scope, receive, send)
        presence.open[request] = None
        if presence.timer is None:
            presence.begin()
        try:
            await self.app(scope, request.receive, request.send)
            if request.cancelled:
                request.is_alone()  # somebody swallowed it; no trace of it is left
        except asyncio.CancelledError as error:
            await self._cancelled(request, error)
        finally:
            del presence.open[request]
            if request.watch is not None:
                request.watch.cancel()

    async def _cancelled(self, request: Answering, error: asyncio.CancelledError) -> None:
        if request.is_alone():
            await request.end()
            return
        if self.presence.closing:
            error.__uno_logged__ = True  # type: ignore[attr-defined] # that some were cut off is told once for all
            await request.refuse(error)
        raise error
