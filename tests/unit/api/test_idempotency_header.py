"""`Idempotency-Key` at endpoints: which take it, and what OpenAPI says of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from uno.api import ModuleRouter, asgi
from uno.app import App, Module, Route
from uno.bus import command_handler, query_handler
from uno.messages import Command, Query
from uno.modules import Event, EventInput, EventOutput, ModuleHost, handles

KEY = {"Idempotency-Key": "k"}


class CountUp(Command[int]):
    by: int = 1


class CountItems(Query[int]):
    pass


@dataclass
class Wanted(EventInput):
    title: str


@dataclass
class Made(EventOutput):
    id: str
    title: str


class CreateItem(Event[Wanted, Made]):
    pass


class GetItem(Event[Wanted, Made]):
    pass


class Items(Module):
    def __init__(self) -> None:
        super().__init__("items", routes=[CreateItem, Route(GetItem, path="/items", method="GET")])
        self.made = 0

    @handles(CreateItem)
    async def create(self, wanted: Wanted) -> Made:
        self.made += 1
        if wanted.title == "bad" and self.made == 1:
            raise RuntimeError("a bug")
        return Made(str(self.made), wanted.title)

    @handles(GetItem)
    async def get(self, wanted: Wanted) -> Made:
        self.made += 1
        return Made(str(self.made), wanted.title)


def counting() -> Module:
    count = 0

    @command_handler(CountUp)
    async def up(command: CountUp) -> int:
        nonlocal count
        count += command.by
        return count

    @query_handler(CountItems)
    async def items(query: CountItems) -> int:
        return count

    routes = [Route(CountUp, path="/count"), Route(CountItems, path="/count", method="GET")]
    return Module("counting", handlers=[up, items], routes=routes)


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = App(Items(), counting(), database="sqlite://")
    with TestClient(asgi(app), raise_server_exceptions=False) as client:
        yield client


def test_an_event_with_a_key_is_handled_once(client: TestClient) -> None:
    first, again = (client.post("/items", json={"title": "Lamp"}, headers=KEY) for _ in range(2))
    assert (first.status_code, first.json()) == (201, {"id": "1", "title": "Lamp"})
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert client.post("/items", json={"title": "Lamp"}).json()["id"] == "2"


def test_an_event_that_failed_is_handled_again(client: TestClient) -> None:
    answers = [client.post("/items", json={"title": "bad"}, headers=KEY) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 201, 201]
    assert answers[1].json() == answers[2].json() == {"id": "2", "title": "bad"}


def test_what_only_reads_is_asked_anew(client: TestClient) -> None:
    assert [client.get("/items?title=a", headers=KEY).json()["id"] for _ in range(2)] == ["1", "2"]
    assert client.post("/count", json={}, headers=KEY).json() == 1
    assert client.get("/count", headers={"Idempotency-Key": '"'}).json() == 1


def test_openapi_has_the_header_where_it_counts(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    taking = {
        (path, method)
        for path, operations in paths.items()
        for method, one in operations.items()
        if any(p["name"] == "Idempotency-Key" and p["in"] == "header" for p in one.get("parameters", ()))
    }
    assert taking == {("/items", "post"), ("/count", "post")}
    answers = paths["/count"]["post"]["responses"]
    assert "is being worked on" in answers["409"]["description"]
    assert "another request" in answers["422"]["description"]
    assert list(answers["409"]["content"]) == ["application/problem+json"]


@pytest.fixture
def forgetful() -> Iterator[TestClient]:
    with TestClient(asgi(App(Items(), counting()))) as client:
        yield client


def test_an_application_without_a_database_refuses_keys_and_does_not_offer_them(forgetful: TestClient) -> None:
    for path, body in (("/count", {}), ("/items", {"title": "x"})):
        refused = forgetful.post(path, json=body, headers=KEY)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == "Idempotency-Key"
        assert "is no database" in refused.json()["detail"]
    assert forgetful.post("/count", json={}).json() == 1
    assert "Idempotency-Key" not in forgetful.get("/openapi.json").text


def test_a_middleware_that_answers_by_itself_is_not_stored() -> None:
    async def answering(message: Any, call_next: Any) -> Any:
        return 42 if isinstance(message, CountUp) and message.by == 9 else await call_next(message)

    app = App(counting(), database="sqlite://", middleware=[answering])
    with TestClient(asgi(app)) as client:
        answers = [client.post("/count", json={"by": 9}, headers=KEY) for _ in range(2)]
        assert [(one.status_code, one.json()) for one in answers] == [(200, 42)] * 2
        assert "idempotency-replayed" not in answers[1].headers


def test_a_router_of_modules_beside_an_application_knows_no_keys() -> None:
    host, api = ModuleHost(), FastAPI()
    host.register(Items())
    ModuleRouter(host).register_event(CreateItem).mount(api)
    with TestClient(api) as client:
        assert [client.post("/items", json={"title": "x"}, headers=KEY).json()["id"] for _ in range(2)] == ["1", "2"]
