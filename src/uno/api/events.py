"""From a request to an event and back: the same for `asgi(app)` and for a `ModuleRouter`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias
from urllib.parse import quote

from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from uno.api.forms import form, maker
from uno.api.idempotency import KEYED, once
from uno.api.problems import CREATED, OK, WITHOUT_BODY, cause_of, raise_as_bug
from uno.api.request import WITHOUT_BODY as BODILESS, body_reader, query_reader, read_body
from uno.api.response import Encoders, checked, id_of
from uno.app.endpoints import Endpoint
from uno.bus.idempotency import Reply
from uno.errors import UnoError
from uno.modules.errors import EventHandlingError, EventUnhandled
from uno.modules.event import output_type
from uno.modules.fields import gives_nothing

Handle: TypeAlias = Callable[[Any], Awaitable[Any]]
Headers: TypeAlias = list[tuple[bytes, bytes]]
Answer: TypeAlias = Callable[[Scope, bytes], Awaitable[Reply]]

_JSON = (b"content-type", b"application/json")
_SUCCESS = b'{"success":true}'


class Handled(BaseModel):
    """The event was handled, and has nothing to say."""

    success: bool = True


def promised(event: Any) -> Any:
    """What the response to an event is, for OpenAPI."""
    return Handled if gives_nothing(event) else output_type(event)


def event_app(endpoint: Endpoint, answer: Answer) -> ASGIApp:
    """One endpoint as an ASGI application."""
    has_body = endpoint.method not in BODILESS

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        status, headers, body = await answer(scope, await read_body(receive) if has_body else b"")
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app


def answering(
    endpoint: Endpoint, endpoints: Sequence[Endpoint], handle: Handle, encoders: Encoders, *, keyed: bool = False
) -> Answer:
    """Reads the input, has the event handled and says what came of it. `keyed`: with an `Idempotency-Key`, once."""
    read = reader(endpoint)
    make = maker(endpoint.message, endpoint.path_fields)
    reply = _replier(endpoint, endpoints, encoders)

    async def answer(scope: Scope, body: bytes) -> Reply:
        event = make(read(scope, body))
        try:
            if keyed and KEYED in scope:
                return await once(scope, body, lambda _result: reply(event, scope), lambda: handle(event))
            event = await handle(event)
        except EventHandlingError as error:
            cause = cause_of(error)
            # Without its old traceback: an error may be a constant, and would grow with every request.
            raise (cause.with_traceback(None) if isinstance(cause, UnoError) else cause) from cause.__cause__
        except BaseException as error:
            raise_as_bug(error)
            raise
        return reply(event, scope)

    return answer


def reader(endpoint: Endpoint) -> Callable[[Scope, bytes], BaseModel]:
    """Reads the input of an event, wherever its endpoint has it."""
    model = form(endpoint.message, endpoint.path_fields)
    if endpoint.method not in BODILESS:
        return body_reader(model, endpoint.path_fields)
    read = query_reader(model, endpoint.path_fields)
    return lambda scope, _body: read(scope)


def _replier(endpoint: Endpoint, endpoints: Sequence[Endpoint], encoders: Encoders) -> Callable[[Any, Scope], Reply]:
    event, status = endpoint.message, endpoint.status
    # Nothing is promised where the output has no fields: what is there all the same is shown as it is.
    output = None if gives_nothing(event) else output_type(event)
    encode = checked(encoders.encode(output, exclude_none=endpoint.exclude_none), event, output)
    id_field = _id_field(endpoint, endpoints)

    def reply(event: Any, scope: Scope) -> Reply:
        if not event.handled:
            raise EventUnhandled(f"Nothing here handles {event.name or type(event).__qualname__}.")
        if status in WITHOUT_BODY:
            return status, [], b""
        if event.output is None or (output is None and _is_empty(event.output)):
            return OK, _headers(_SUCCESS), _SUCCESS
        body = encode(event.output)
        headers = _headers(body)
        found = None if id_field is None else id_of(event.output, id_field)
        if found is not None:
            headers.append((b"location", f"{_here(scope)}/{quote(str(found), safe='')}".encode("ascii")))
        return status, headers, body

    return reply


def _is_empty(output: Any) -> bool:
    return is_dataclass(output) and not fields(output)


def _headers(body: bytes) -> Headers:
    return [_JSON, (b"content-length", b"%d" % len(body))]


def _id_field(endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> str | None:
    """The placeholder of the endpoint that gets what this one creates."""
    if endpoint.status != CREATED:
        return None
    below = endpoint.path.rstrip("/")
    found = (one.path_fields[-1] for one in endpoints if one.method == "GET" and one.shape == f"{below}/{{}}")
    return next(found, None)


def _here(scope: Scope) -> str:
    """The path of the request as the client wrote it, wherever the application is mounted."""
    path, root = scope["path"].rstrip("/"), scope.get("root_path", "")
    return quote(path if path.startswith(root) else root + path)
