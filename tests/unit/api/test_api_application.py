"""`asgi(app)`: one lifespan, one table of routes, and what is wrong with both."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from uno.api import asgi
from uno.app import App, Module, Route
from uno.bus import query_handler
from uno.errors import Misconfigured
from uno.messages import Query


class GetThing(Query[str]):
    thing_id: str


@query_handler(GetThing)
async def get_thing(query: GetThing) -> str:
    return query.thing_id


def make_app(**options: Any) -> App:
    return App(Module("things", handlers=[get_thing], routes=[GetThing]), **options)


# ── one lifespan ──


def test_the_lifespan_is_unos_with_the_users_inside_and_that_of_routers() -> None:
    seen: list[str] = []

    class Noted(Module):
        async def on_load(self) -> None:
            seen.append("module loads")

        async def on_unload(self) -> None:
            seen.append("module unloads")

    @asynccontextmanager
    async def mine(app: App) -> AsyncIterator[None]:
        seen.append("mine starts")
        yield
        seen.append("mine stops")

    @asynccontextmanager
    async def of_router(api: Any) -> AsyncIterator[None]:
        seen.append("router starts")
        yield
        seen.append("router stops")

    api = asgi(App(Noted("n"), lifespan=mine), routers=[APIRouter(lifespan=of_router)])
    with TestClient(api):
        assert seen == ["module loads", "mine starts", "router starts"]
    assert seen[3:] == ["router stops", "mine stops", "module unloads"]


def test_a_second_lifespan_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"give yours to App\(lifespan=\.\.\.\)"):
        asgi(make_app(), lifespan=lambda api: None)


def test_on_event_is_reported_because_it_would_never_run() -> None:
    router = APIRouter()

    def warm_up() -> None: ...

    router.add_event_handler("startup", warm_up)
    with pytest.raises(Misconfigured) as caught:
        asgi(make_app(), routers=[router])
    assert "warm_up is registered with on_event, which never runs beside a lifespan" in str(caught.value)


def test_on_event_on_the_application_is_reported_when_it_starts() -> None:
    api = asgi(make_app())
    api.router.add_event_handler("shutdown", print)
    with pytest.raises(Misconfigured, match="print is registered with on_event"), TestClient(api):
        pass


# ── clashes ──


def test_a_clash_with_a_fastapi_route_names_both() -> None:
    router = APIRouter(prefix="/things")

    @router.get("/{id}")
    async def read_thing(id: str) -> str:
        return id

    outer = APIRouter()
    outer.include_router(router)
    with pytest.raises(Misconfigured) as caught:
        asgi(make_app(), routers=[outer])
    [problem] = caught.value.problems
    assert (problem.kind, problem.where) == ("route clash", "GET /things/{id}")
    assert "The message GetThing" in problem.message
    assert "read_thing" in problem.message


def test_a_clash_that_comes_later_is_found_when_the_application_starts() -> None:
    api = asgi(make_app())

    @api.get("/things/{number}")
    async def read(number: int) -> int:
        return number

    with pytest.raises(Misconfigured, match="have the same path"), TestClient(api):
        pass


def test_two_fastapi_routes_on_one_path_are_a_clash() -> None:
    router = APIRouter()

    @router.get("/x/{a}")
    async def first(a: str) -> str:
        return a

    @router.get("/x/{b}")
    async def second(b: str) -> str:
        return b

    @router.get("/x/{c:int}")
    async def other(c: int) -> int:
        return c

    with pytest.raises(Misconfigured) as caught:
        asgi(make_app(), routers=[router])
    assert [p.where for p in caught.value.problems] == ["GET /x/{b}"]


def test_all_problems_of_the_web_are_in_one_error() -> None:
    router = APIRouter()
    router.add_event_handler("startup", print)
    router.add_api_route("/things/{x}", get_thing, methods=["GET"])

    class ListThings(Query[str]):
        words: dict[str, str]

    @query_handler(ListThings)
    async def list_things(query: ListThings) -> str:
        return ""

    module = Module("m", handlers=[get_thing, list_things], routes=[GetThing, ListThings])
    with pytest.raises(Misconfigured) as caught:
        asgi(App(module), routers=[router])
    assert [p.kind for p in caught.value.problems] == ["on_event", "route clash", "structured query field"]


def test_a_path_without_a_slash_is_a_problem() -> None:
    module = Module("m", handlers=[get_thing], routes=[Route(GetThing, path="things/{thing_id}")])
    with pytest.raises(Misconfigured, match="does not begin with a slash"):
        asgi(App(module))


# ── beside FastAPI ──


def test_another_method_on_the_same_path_is_the_users() -> None:
    api = asgi(make_app())

    @api.put("/things/{thing_id}")
    async def put(thing_id: str) -> str:
        return f"put {thing_id}"

    with TestClient(api) as client:
        assert client.put("/things/1").json() == "put 1"
        assert client.get("/things/1").json() == "1"


def test_every_route_is_listed_by_itself() -> None:
    api = asgi(make_app(), routers=[])
    found = [(getattr(r, "path", None), getattr(r, "methods", None)) for r in api.routes]
    assert ("/things/{thing_id}", {"GET"}) in found


def test_the_url_of_an_endpoint_is_found_by_its_name() -> None:
    api = asgi(make_app())
    assert api.url_path_for("GetThing", thing_id="7") == "/things/7"


def test_middleware_of_the_user_is_around_unos_endpoints() -> None:
    api = asgi(make_app())

    class Signed:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def signed(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"x-signed", b"yes")]
                await send(message)

            await self.app(scope, receive, signed)

    api.add_middleware(Signed)
    with TestClient(api) as client:
        assert client.get("/things/1").headers["x-signed"] == "yes"


def test_an_error_handler_of_the_user_comes_before_unos() -> None:
    from fastapi.responses import PlainTextResponse

    from uno.errors import NotFound

    @query_handler(GetThing)
    async def missing(query: GetThing) -> str:
        raise NotFound("Thing", "1")

    api = asgi(App(Module("m", handlers=[missing], routes=[GetThing])))
    api.add_exception_handler(NotFound, lambda request, error: PlainTextResponse("gone fishing", 410))
    with TestClient(api) as client:
        assert client.get("/things/1").text == "gone fishing"


# ── the number of routes ──


def many(routes: int) -> App:
    def make(n: int) -> tuple[Any, Route]:
        message = type(Query)(f"GetPart{n}", (Query,), {"__annotations__": {"id": str}, "__module__": __name__})

        @query_handler(message)
        async def answer(query: Any) -> str:
            return str(query.id)

        return answer, Route(message, path=f"/parts{n:03d}/{{id}}")

    made = [make(n) for n in range(routes)]
    return App(Module("parts", handlers=[handler for handler, _ in made], routes=[route for _, route in made]))


async def calls_of(api: FastAPI, path: str) -> int:
    """How many Python functions a request calls."""
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    statuses: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    count = 0

    def counted(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        await api(scope, receive, send)
    finally:
        sys.setprofile(None)
    assert statuses[0] == 200
    return count


@pytest.mark.may_block
async def test_the_last_of_many_routes_takes_no_more_calls_than_the_first() -> None:
    app = many(300)
    api = asgi(app)
    async with app.lifespan():
        await calls_of(api, "/parts000/warm")
        first, last = await calls_of(api, "/parts000/7"), await calls_of(api, "/parts299/7")
    assert first == last
