"""Requests to uno's endpoints go past FastAPI's middleware only as long as nobody could tell."""

from typing import Any

import httpx2
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from uno.api import asgi
from uno.app import App, Module, Route
from uno.bus import query_handler
from uno.errors import Conflict
from uno.messages import Query

calls: list[str] = []


class Greet(Query[str]):
    name: str


class Odd(Exception):
    """A bug."""


@query_handler(Greet)
async def greet(message: Greet) -> str:
    calls.append(message.name)
    if message.name == "taken":
        raise Conflict("There is one.")
    if message.name == "odd":
        raise Odd("odd")
    return f"hello {message.name}"


def made() -> FastAPI:
    calls.clear()
    return asgi(App(Module("greet", handlers=[greet], routes=[Route(Greet, "GET", "/greet", access="open")])))


async def get(api: ASGIApp, path: str, **options: Any) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=api, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://greet") as client:
        return await client.request(options.pop("method", "GET"), path, **options)


async def test_errors_are_answered_as_ever_and_handlers_run_once() -> None:
    api = made()
    conflict, bug = await get(api, "/greet?name=taken"), await get(api, "/greet?name=odd")
    assert (conflict.status_code, conflict.json()["detail"]) == (409, "There is one.")
    assert (bug.status_code, bug.json()["type"]) == (500, "urn:uno:problem:internal")
    assert calls == ["taken", "odd"]
    assert (await get(api, "/greet?nane=x")).status_code == 400
    assert (await get(api, "/greet", method="POST")).status_code == 405
    assert (await get(api, "/nothing")).status_code == 404


async def test_the_application_s_own_handlers_of_errors_are_asked() -> None:
    api = made()

    @api.exception_handler(Odd)
    async def tell(_request: Request, error: Exception) -> Response:
        return JSONResponse({"odd": str(error)}, 418)

    answer = await get(api, "/greet?name=odd")
    assert (answer.status_code, answer.json(), calls) == (418, {"odd": "odd"}, ["odd"])


async def test_middleware_and_routes_in_front_see_everything() -> None:
    seen: list[str] = []

    class Seeing:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["path"])
            await self.app(scope, receive, send)

    api = made()
    api.add_middleware(Seeing)
    assert (await get(api, "/greet?name=Ada")).json() == "hello Ada"
    assert seen == ["/greet"]

    async def other(_request: Request) -> Response:
        return Response("other")

    api = made()
    api.router.routes.insert(0, StarletteRoute("/greet", other))
    assert (await get(api, "/greet?name=Ada")).text == "other"


async def test_an_answer_that_cannot_be_sent_is_not_sent_again() -> None:
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])
        raise OSError("gone")

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/greet", "query_string": b"name=Ada"}
    try:
        await made()({**scope, "headers": [], "raw_path": b"/greet", "root_path": ""}, receive, send)
    except OSError:
        sent.append("error")
    assert (sent, calls) == (["http.response.start", "error"], ["Ada"])
