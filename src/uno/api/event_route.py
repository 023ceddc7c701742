"""The endpoint of an event as a route of FastAPI's own."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from fastapi import Request
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Scope

from uno.api.collisions import Sole, refuse_clash
from uno.api.events import reader
from uno.api.openapi import parameters
from uno.api.problems import answer
from uno.app.endpoints import Endpoint
from uno.bus.idempotency import Reply

Ask: TypeAlias = Callable[[Request, Scope], Awaitable[Reply]]
Read: TypeAlias = Callable[[Scope, bytes], Any]
_READ = "__uno_read__"
_FASTAPIS = (http_exception_handler, request_validation_exception_handler)


class EventRoute(Sole, APIRoute):
    """Answers with a problem document where the application has no handler of its own for an error.

    Those in `left` it leaves to FastAPI.
    """

    left: tuple[type[Exception], ...] = ()

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                refuse_clash(request.scope, request.scope.get("route"))
                try:
                    return await handle(request)
                except RequestValidationError:
                    await self._read_again(request)
                    raise
            except Exception as error:  # answered here or by the application; a bug is in the log
                if isinstance(error, self.left) or _is_answered(request, error):
                    raise
                return await answer(request, error)

        return handler

    async def _read_again(self, request: Request) -> None:
        """Say what is wrong as uno says it, if that is in what uno reads."""
        read: Read | None = getattr(self.endpoint, _READ, None)
        if read is not None:
            read(_scope(request), await request.body())


def _is_answered(request: Request, error: Exception) -> bool:
    """Whether somebody chose how the application answers such an error."""
    handlers = request.app.exception_handlers
    found = next((handlers[cls] for cls in type(error).__mro__ if cls in handlers), None)
    return found is not None and found not in _FASTAPIS


def _scope(request: Request) -> Scope:
    # A converter of Starlette's may have made a number of a parameter.
    return {**request.scope, "path_params": {name: str(value) for name, value in request.path_params.items()}}


def route_function(endpoint: Endpoint, ask: Ask, read: Read | None = None) -> Callable[..., Awaitable[Response]]:
    """What FastAPI calls. It knows the parameters from the signature; the request is read as uno reads it."""

    async def respond(uno_request: Request, **_: Any) -> Response:
        status, headers, body = await ask(uno_request, _scope(uno_request))
        response = Response(body, status)
        response.raw_headers[:] = headers
        return response

    own = inspect.Parameter("uno_request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    setattr(respond, _READ, read or reader(endpoint))
    respond.__name__ = endpoint.name
    respond.__signature__ = inspect.Signature([own, *parameters(endpoint)])  # type: ignore[attr-defined]
    return respond
