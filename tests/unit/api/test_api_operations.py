"""A message over HTTP: what goes in, and what comes out."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel, ConfigDict, Field

from uno.api import asgi
from uno.app import App, Module, Route
from uno.bus import command_handler, query_handler
from uno.errors import Misconfigured
from uno.messages import Command, Message, Query

JSON = {"Content-Type": "application/json"}
ADA = {"email": "ada@example.org", "age": 36}


def fields(response: Any) -> list[str]:
    return [error["field"] for error in response.json()["errors"]]


def answering(message: type[Message], answer: Any, **route: Any) -> TestClient:
    """A client of an application whose one message is answered by `answer(message)`."""

    async def handle(message: Any) -> Any:
        return answer(message)

    mark = command_handler if issubclass(message, Command) else query_handler
    mark(message)(handle)  # type: ignore[arg-type]
    return TestClient(asgi(App(Module("m", handlers=[handle], routes=[Route(message, **route)]))))


# ── the usual way ──


def test_a_creation_answers_201_with_the_location_of_what_it_made(client: TestClient) -> None:
    response = client.post("/users", json=ADA)
    assert response.status_code == 201
    assert response.json() == {"id": "1", "email": "ada@example.org", "age": 36, "version": 0}
    assert response.headers["location"] == "/users/1"
    assert client.get(response.headers["location"]).json() == response.json()


def test_what_is_private_or_was_not_kept_is_not_in_the_response(client: TestClient) -> None:
    assert "hunter2" not in client.post("/users", json=ADA).text


def test_a_list_is_an_array_and_its_query_is_read_by_type(client: TestClient) -> None:
    for age in (10, 20, 30):
        client.post("/users", json={"email": f"u{age}@example.org", "age": age})
    assert [u["age"] for u in client.get("/users?ages=10&ages=30").json()] == [10, 30]
    assert [u["age"] for u in client.get("/users?limit=2").json()] == [10, 20]
    assert [u["age"] for u in client.get("/users?prefix=u2&limit=5").json()] == [20]


def test_an_update_takes_its_id_from_the_path(client: TestClient) -> None:
    client.post("/users", json=ADA)
    assert client.put("/users/1", json={"email": "new@example.org", "age": 1}).json()["email"] == "new@example.org"


def test_a_deletion_answers_204_without_a_body(client: TestClient) -> None:
    client.post("/users", json=ADA)
    response = client.delete("/users/1")
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers
    assert client.get("/users/1").status_code == 404


def test_nothing_is_null_where_the_status_has_a_body(client: TestClient) -> None:
    client.post("/users", json=ADA)
    response = client.post("/users/1/greet", json={})
    assert (response.status_code, response.text) == (200, "null")


def test_a_body_may_be_missing_where_no_field_of_it_is_required(client: TestClient) -> None:
    client.post("/users", json=ADA)
    assert client.post("/users/1/greet").status_code == 200


def test_head_has_the_headers_of_get_and_no_body(client: TestClient) -> None:
    client.post("/users", json=ADA)
    got, head = client.get("/users/1"), client.head("/users/1")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


def test_options_names_the_methods(client: TestClient) -> None:
    response = client.options("/users/1")
    assert response.status_code == 204
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


# ── what is wrong with the input ──


def test_all_errors_are_in_one_list(client: TestClient) -> None:
    response = client.post("/users", json={"email": "x", "age": "many", "nick": "a"})
    assert response.status_code == 422
    assert fields(response) == ["email", "age", "nick"]


def test_errors_of_path_query_and_body_are_in_one_list() -> None:
    class MoveThing(Command[None]):
        thing_id: int
        to: str

    client = answering(MoveThing, lambda m: None)
    response = client.post("/things/x/move?fast=1", json={"to": 3})
    assert fields(response) == ["thing_id", "to", "fast"]
    assert response.status_code == 400


def test_an_unknown_query_parameter_is_refused_by_name(client: TestClient) -> None:
    response = client.get("/users?limit=x&sort=age")
    assert response.status_code == 400
    assert fields(response) == ["limit", "sort"]


def test_a_wrong_query_parameter_is_not_valid(client: TestClient) -> None:
    response = client.get("/users?limit=1000")
    assert response.status_code == 422
    assert fields(response) == ["limit"]


def test_a_parameter_that_is_no_list_is_given_once(client: TestClient) -> None:
    response = client.get("/users?limit=1&limit=2")
    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "repeated"


def test_a_path_field_is_no_query_parameter(client: TestClient) -> None:
    assert client.get("/users/1?user_id=2").status_code == 400


def test_a_query_that_is_not_utf8_is_refused(client: TestClient) -> None:
    assert client.get("/users?prefix=%ff").status_code == 400


def test_a_body_that_says_something_else_than_the_path_is_refused(client: TestClient) -> None:
    client.post("/users", json=ADA)
    response = client.put("/users/1", json={**ADA, "user_id": "2"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["code"] == "conflict"


def test_a_body_may_repeat_the_path(client: TestClient) -> None:
    client.post("/users", json=ADA)
    assert client.put("/users/1", json={**ADA, "user_id": "1"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"email": "a@b.c", ', 400),
        (b'{"email": "a@b.c", "age": NaN}', 400),
        (b'{"email": "a@b.c", "age": Infinity}', 400),
        (b'{"email": "a@b.c", "age": 1e999}', 400),
        (b'{"email": "a@b.c", "age": 1, "age": 1}', 400),
        (b'{"email": "a@b.c", "age": ' + b"1" * 1900 + b"}", 422),
        (b'{"email": "\xff", "age": 1}', 400),
        (b'{"email": "\\ud800abc", "age": 1}', 400),
        (b"[" * 1900, 400),
        (b"[" * 900 + b"]" * 900, 400),
        (b'["a@b.c", 1]', 422),
        (b"null", 422),
        (b'"text"', 422),
        (b" ", 400),
        (b"", 422),
    ],
)
def test_a_body_that_is_no_proper_object_is_refused(client: TestClient, body: bytes, status: int) -> None:
    response = client.post("/users", content=body, headers=JSON)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert client.get("/users").json() == []


NUL = {"message": "It has a NUL character.", "code": "null_character"}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_nul_character_in_a_path_is_named(client: TestClient, method: str) -> None:
    response = client.request(method, "/users/a%00b")
    assert (response.status_code, response.json()["errors"]) == (422, [{"field": "user_id", **NUL}])


def test_a_nul_character_in_a_query_is_named_beside_what_else_is_wrong(client: TestClient) -> None:
    response = client.get("/users?prefix=%00&limit=0")
    assert (response.status_code, fields(response)) == (422, ["prefix", "limit"])
    assert client.get("/users?prefix=%2500").status_code == 200


def test_a_nul_character_in_a_body_is_named_and_nothing_is_written(client: TestClient) -> None:
    response = client.post("/users", content=b'{"email": "a@b.c\\u0000", "age": 1}', headers=JSON)
    assert (response.status_code, response.json()["errors"]) == (422, [{"field": "email", **NUL}])
    assert client.get("/users").json() == []
    spelled = client.post("/users", content=b'{"email": "a@b.c\\\\u0000", "age": 1}', headers=JSON)
    assert (spelled.status_code, spelled.json()["email"]) == (201, "a@b.c\\u0000")


def test_a_nul_character_in_path_and_body_is_named_in_both(client: TestClient) -> None:
    response = client.put("/users/a%00b", content=b'{"email": "\\u0000", "age": 1}', headers=JSON)
    assert (response.status_code, fields(response)) == (422, ["email", "user_id"])


def test_a_nul_character_is_found_however_deep_it_is() -> None:
    class KeepThing(Command[None]):
        tags: dict[str, list[Any]]

    client = answering(KeepThing, lambda m: None)
    body = b'{"tags": {"a": ["x", {"b": "\\u0000"}], "\\u0000": []}}'
    response = client.post("/things/keep", content=body, headers=JSON)
    assert (response.status_code, fields(response)) == (422, ["tags", "tags.a.1.b"])
    deep = b'{"tags": {"a": ' + b"[" * 180 + b'"\\u0000"' + b"]" * 180 + b"}}"
    assert client.post("/things/keep", content=deep, headers=JSON).status_code == 422


def test_a_key_that_is_given_twice_is_named_also_inside(client: TestClient) -> None:
    response = client.post("/users", content=b'{"email": {"a": 1, "a": 2}}', headers=JSON)
    assert response.status_code == 400
    assert fields(response) == ["a"]


def test_many_keys_given_twice_are_refused_in_no_time(client: TestClient) -> None:
    body = b"{" + b",".join(b'"k%d":1' % (n % 90) for n in range(180)) + b"}"
    assert client.post("/users", content=body, headers=JSON).status_code == 400


def test_a_flood_of_errors_is_cut_short() -> None:
    class CountThings(Command[None]):
        numbers: list[int]

    response = answering(CountThings, lambda m: None).post("/things/count", json={"numbers": ["x"] * 5000})
    assert len(response.json()["errors"]) == 100
    assert "and 4995 more" in response.json()["detail"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
def test_a_body_that_does_not_say_it_is_json_is_refused(client: TestClient, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = client.post("/users", content=json.dumps(ADA).encode(), headers=headers)
    assert response.status_code == 415
    assert response.headers["accept"] == "application/json"


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"]
)
def test_json_by_any_of_its_names_is_read(client: TestClient, content_type: str) -> None:
    body = json.dumps(ADA).encode()
    assert client.post("/users", content=body, headers={"Content-Type": content_type}).status_code == 201


def test_a_large_body_is_refused(client: TestClient) -> None:
    response = client.post("/users", json={"email": "a" * 3000, "age": 1})
    assert response.status_code == 413
    assert response.json()["type"] == "urn:uno:problem:content-too-large"
    assert response.headers["connection"] == "close"


def test_a_large_body_in_chunks_is_refused(client: TestClient) -> None:
    read = []

    def chunks() -> Any:
        for n in range(100):
            read.append(n)
            yield b" " * 1000

    response = client.post("/users", content=chunks(), headers=JSON)
    assert response.status_code == 413


def test_a_large_body_is_refused_where_nothing_would_read_it(client: TestClient) -> None:
    for path in ("/nothing", "/openapi.json"):
        response = client.post(path, content=b" " * 3000)
        assert (response.status_code, response.headers["content-type"]) == (413, "application/problem+json")


def test_an_id_with_sql_in_it_is_only_an_unknown_id(client: TestClient) -> None:
    assert client.get("/users/1'%20OR%20'1'='1").status_code == 404


@pytest.mark.parametrize("text", [b"36", b"36.0", b"3.6e1", b"3600E-2", b"0.36e+2"])
def test_a_whole_number_is_an_integer_however_it_is_written(client: TestClient, text: bytes) -> None:
    response = client.post("/users", content=b'{"email": "a@b.c", "age": %s}' % text, headers=JSON)
    assert response.json()["age"] == 36


@pytest.mark.parametrize("text", [b"3.65e1", b"1e19999", b"1e300", b"-2e300"])
def test_what_nobody_means_as_a_whole_number_is_none(client: TestClient, text: bytes) -> None:
    response = client.post("/users", content=b'{"email": "a@b.c", "age": %s}' % text, headers=JSON)
    assert response.status_code in (400, 422)
    # The number is not written out with its hundreds of digits.
    assert len(response.content) < 600


# ── kinds of values ──


class Colour(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    name: str
    hex_code: str = Field(alias="hexCode")


def test_values_have_their_types_in_and_out() -> None:
    @dataclass
    class Price:
        amount: Decimal
        at: datetime

    class PriceThing(Command[dict[str, Price]]):
        thing_id: UUID
        amount: Decimal
        colour: Colour

    def answer(m: PriceThing) -> dict[str, Price]:
        return {str(m.thing_id): Price(m.amount, datetime(2026, 1, 2, tzinfo=UTC))}

    id = "12345678-1234-5678-1234-567812345678"
    body = {"amount": "0.12345678901234568", "colour": {"name": "red", "hexCode": "#f00"}}
    response = answering(PriceThing, answer).post(f"/things/{id}/price", json=body)
    assert response.json() == {id: {"amount": "0.12345678901234568", "at": "2026-01-02T00:00:00Z"}}


def test_fields_go_by_their_aliases() -> None:
    class FindThings(Query[list[str]]):
        page_size: int = Field(alias="pageSize")

    client = answering(FindThings, lambda m: ["x"] * m.page_size, method="GET", path="/things")
    assert client.get("/things?pageSize=2").json() == ["x", "x"]
    assert fields(client.get("/things")) == ["pageSize"]


class Level(IntEnum):
    LOW = 1


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "40", 40),
        (int, "007", 7),
        (int, "forty", None),
        (int, "true", None),
        (Annotated[int, Field(lt=5)] | None, "4", 4),
        (Annotated[int, Field(lt=5)] | None, "5", None),
        (float, "1.5", 1.5),
        (float, "-2", -2.0),
        (float, "nan", None),
        (bool, "true", True),
        (Level, "1", 1),
        (Level, "2", None),
        (Literal[1, 2], "2", 2),
        (Literal["a"], "a", "a"),
        (str, "1", "1"),
        (int | str, "1", "1"),
        (date, "2026-01-02", "2026-01-02"),
        (Decimal, "1.50", "1.50"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_path_beside_a_body_is_read_by_type(annotation: Any, text: str, value: Any, strict: bool) -> None:
    config = ConfigDict(strict=strict)
    given = {"__annotations__": {"thing_id": annotation}, "model_config": config, "__module__": __name__}
    move: Any = type(Command)("MoveThing", (Command,), given)
    response = answering(move, lambda m: m.thing_id).post(f"/things/{text}/move")
    if value is None:
        assert (response.status_code, fields(response)) == (422, ["thing_id"])
    else:
        assert response.json() == value


@pytest.mark.parametrize("age", ["36", 36.5, True, None, [36], {"age": 36}])
def test_a_value_of_another_json_type_is_refused(client: TestClient, age: Any) -> None:
    response = client.post("/users", json={**ADA, "age": age})
    assert (response.status_code, fields(response)) == (422, ["age"])


def test_a_strict_message_takes_lists_from_its_query() -> None:
    class ListThings(Query[int]):
        model_config = ConfigDict(strict=True)
        ids: set[int] = set()
        fast: bool = False

    client = answering(ListThings, lambda m: sum(m.ids) + m.fast)
    assert client.get("/things?ids=1&ids=2&fast=true").json() == 4


def test_a_result_without_a_declared_type_is_written_as_it_is() -> None:
    @dataclass
    class Thing:
        size: float

    class MeasureThing(Command):  # type: ignore[type-arg]
        pass

    client = answering(MeasureThing, lambda m: {"thing": Thing(float("inf")), "seen": [UUID(int=1)]})
    expected = {"thing": {"size": None}, "seen": ["00000000-0000-0000-0000-000000000001"]}
    assert client.post("/things/measure").json() == expected


def test_a_result_that_is_declared_later_is_found() -> None:
    client = answering(GetLater, lambda m: Later(name="x"))
    assert client.get("/laters/1").json() == {"name": "x"}


class GetLater(Query["Later"]):
    later_id: str


class Later(BaseModel):
    name: str


def test_a_location_knows_the_path_it_is_below_of_and_quotes_the_id() -> None:
    class CreateNote(Command[str]):
        book: str

    class GetNote(Query[str]):
        book: str
        note_id: str

    @command_handler(CreateNote)
    async def create(command: CreateNote) -> str:
        return "a/b c"

    @query_handler(GetNote)
    async def get(query: GetNote) -> str:
        return query.note_id

    routes = [Route(CreateNote, path="/books/{book}/notes"), Route(GetNote, path="/books/{book}/notes/{note_id}")]
    client = TestClient(asgi(App(Module("notes", handlers=[create, get], routes=routes))))
    assert client.post("/books/my%20book/notes").headers["location"] == "/books/my%20book/notes/a%2Fb%20c"


def test_a_literal_segment_comes_before_a_parameter_whatever_the_order() -> None:
    class GetThing(Query[str]):
        thing_id: str

    class GetMine(Query[str]):
        pass

    @query_handler(GetThing)
    async def get(query: GetThing) -> str:
        return query.thing_id

    @query_handler(GetMine)
    async def mine(query: GetMine) -> str:
        return "mine"

    module = Module("things", handlers=[get, mine], routes=[GetThing, Route(GetMine, path="/things/mine")])
    client = TestClient(asgi(App(module)))
    assert client.get("/things/mine").json() == "mine"
    assert client.get("/things/yours").json() == "yours"


def test_a_path_below_a_mount_is_found() -> None:
    from fastapi import FastAPI

    class GetThing(Query[str]):
        thing_id: str

    inner = answering(GetThing, lambda m: m.thing_id).app
    outer = FastAPI()
    outer.mount("/shop/{shop}", inner)
    assert TestClient(outer).get("/shop/3/things/7").json() == "7"


def test_a_query_field_with_a_structure_is_a_start_up_problem() -> None:
    class ListThings(Query[list[str]]):
        colour: Colour | None = None
        words: dict[str, str] = {}
        sizes: list[int] = []

    with pytest.raises(Misconfigured) as caught:
        answering(ListThings, lambda m: [])
    assert [p.message.split(" ")[0] for p in caught.value.problems] == [
        f"{ListThings.__qualname__}.colour",
        f"{ListThings.__qualname__}.words",
    ]
