"""What OpenAPI says, and that it is true."""

import threading
from collections import Counter
from types import new_class
from typing import Any, cast

import pytest
import schemathesis
from fastapi.openapi.utils import get_openapi
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel
from schemathesis.config import SchemathesisConfig

from uno.api import asgi
from uno.app import App, Module, Route
from uno.bus import command_handler, query_handler
from uno.messages import Command, Query


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operation(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(o for path in document["paths"].values() for o in path.values() if o["operationId"] == name)


def test_operation_ids_are_the_names_of_the_messages(document: dict[str, Any]) -> None:
    ids = {o["operationId"] for path in document["paths"].values() for o in path.values()}
    assert ids == {"CreateUser", "GetUser", "ListUsers", "UpdateUser", "DeleteUser", "GreetUser", "Fail"}


def test_an_operation_says_what_it_is(document: dict[str, Any]) -> None:
    create = operation(document, "CreateUser")
    assert (create["summary"], create["description"], create["tags"]) == ("Create user", "Make a user.", ["users"])


def test_a_body_is_the_message_with_its_constraints_and_examples(document: dict[str, Any]) -> None:
    create = operation(document, "CreateUser")
    assert create["requestBody"]["required"] is True
    assert create["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/CreateUser")
    schema = document["components"]["schemas"]["CreateUser"]
    assert schema["properties"]["email"]["examples"] == ["ada@example.org"]
    assert schema["properties"]["age"]["maximum"] == 150
    assert schema["additionalProperties"] is False


def test_a_body_has_no_field_of_the_path(document: dict[str, Any]) -> None:
    update = operation(document, "UpdateUser")
    assert [(p["name"], p["in"]) for p in update["parameters"]] == [("user_id", "path")]
    reference = update["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert list(document["components"]["schemas"][reference.rpartition("/")[2]]["properties"]) == ["email", "age"]


def test_a_body_without_required_fields_may_be_left_out(document: dict[str, Any]) -> None:
    assert operation(document, "GreetUser")["requestBody"].get("required", False) is False


def test_the_fields_of_a_query_are_parameters(document: dict[str, Any]) -> None:
    parameters = {p["name"]: p for p in operation(document, "ListUsers")["parameters"]}
    assert list(parameters) == ["limit", "ages", "prefix"]
    assert parameters["limit"]["schema"]["maximum"] == 100
    assert parameters["ages"]["schema"]["type"] == "array"
    assert {p["in"] for p in parameters.values()} == {"query"}


def test_results_have_their_schemas(document: dict[str, Any]) -> None:
    created = operation(document, "CreateUser")["responses"]["201"]["content"]["application/json"]["schema"]
    assert created == {"$ref": "#/components/schemas/User"}
    listed = operation(document, "ListUsers")["responses"]["200"]["content"]["application/json"]["schema"]
    assert listed["items"] == {"$ref": "#/components/schemas/User"}
    assert "content" not in operation(document, "DeleteUser")["responses"]["204"]


def test_every_error_is_a_problem_document_and_nothing_else(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for one in path.values():
            errors = {s: r for s, r in one["responses"].items() if s == "default" or s[0] in "45"}
            assert {"400", "422", "default"} <= errors.keys()
            assert all(list(r["content"]) == ["application/problem+json"] for r in errors.values())
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "errors" in document["components"]["schemas"]["Problem"]["properties"]


def test_fastapis_own_recipe_for_a_document_of_ones_own_works(app: App) -> None:
    made = get_openapi(title="mine", version="1", routes=asgi(app).routes)
    assert operation(made, "CreateUser")["summary"] == "Create user"


def test_the_document_is_made_on_the_first_request_and_again_after_a_new_route(app: App) -> None:
    api = asgi(app)
    assert api.openapi_schema is None
    client = TestClient(api)
    first = client.get("/openapi.json").json()
    assert client.get("/openapi.json").json() == first

    class Body(BaseModel):
        size: int

    @api.post("/own")
    async def own(body: Body) -> None: ...

    second = client.get("/openapi.json").json()
    assert list(second["paths"]["/own"]["post"]["responses"]["422"]["content"]) == ["application/problem+json"]


def test_a_model_called_problem_keeps_its_name() -> None:
    class Problem(BaseModel):
        riddle: str

    class SolveRiddle(Command[Problem]):
        riddle: str

    @command_handler(SolveRiddle)
    async def solve(command: SolveRiddle) -> Problem:
        return Problem(riddle=command.riddle)

    document = asgi(App(Module("m", handlers=[solve], routes=[SolveRiddle]))).openapi()
    assert list(document["components"]["schemas"]["Problem"]["properties"]) == ["riddle"]
    assert "errors" in document["components"]["schemas"]["UnoProblem"]["properties"]


def test_one_message_at_two_paths_has_two_operation_ids() -> None:
    class PokeThing(Command[None]):
        pass

    @command_handler(PokeThing)
    async def poke(command: PokeThing) -> None: ...

    routes = [Route(PokeThing, path="/poke"), Route(PokeThing, path="/prod")]
    document = asgi(App(Module("m", handlers=[poke], routes=routes))).openapi()
    ids = [o["operationId"] for path in document["paths"].values() for o in path.values()]
    assert ids == ["PokeThing_post_poke", "PokeThing_post_prod"]


def test_the_application_does_what_its_document_says(app: App) -> None:
    """Schemathesis: requests made from the document, good ones and bad ones."""
    api = asgi(app)
    document = api.openapi()
    del document["paths"]["/fail"]  # it fails on purpose
    statuses: Counter[int] = Counter()
    # NUL is text to JSON Schema, but PostgreSQL has no place for it: another test looks at its refusal.
    config = SchemathesisConfig.from_dict({"generation": {"allow-x00": False}})
    operations = list(schemathesis.openapi.from_dict(document, config=config).get_all_operations())
    for found in operations:
        operation = found.ok()
        # Any text is an id: a path alone cannot be wrong.
        bad = [schemathesis.GenerationMode.NEGATIVE] if operation.body or operation.query else []
        for mode in (schemathesis.GenerationMode.POSITIVE, *bad):

            @settings(max_examples=10, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                response = case.call(app=api)
                statuses[response.status_code] += 1
                case.validate_response(response)

            check()
    assert len(operations) == 6
    assert statuses[201] > 5
    assert statuses[422] > 5
    assert 500 not in statuses


def test_an_application_with_hundreds_of_queries_has_its_document() -> None:
    def query(number: int) -> type[Query[str]]:
        fields = {"__module__": __name__, "__annotations__": {"text": str}}
        made: Any = new_class(f"ListThing{number}", (Query[str],), exec_body=lambda body: body.update(fields))
        return cast(type[Query[str]], made)

    def handler(message: type[Query[str]]) -> Any:
        @query_handler(message)
        async def handle(asked: Any) -> str:
            return str(asked.text)

        handle.__qualname__ = f"handle_{message.__name__}"
        return handle

    queries = [query(number) for number in range(200)]
    app = App(Module("many", handlers=[handler(one) for one in queries], routes=queries))
    assert len(asgi(app).openapi()["paths"]) == 200


def test_the_description_is_made_in_a_thread_and_once(app: App) -> None:
    api: Any = asgi(app)
    make, made = api.openapi, []

    def recorded() -> dict[str, Any]:
        is_there = api.openapi_schema is not None
        made.append((threading.current_thread().name.partition("_")[0], is_there))
        found: dict[str, Any] = make()
        return found

    api.openapi = recorded
    with TestClient(api) as client:
        asked = [threading.Thread(target=client.get, args=("/openapi.json",)) for _ in range(4)]
        for one in asked:
            one.start()
        for one in asked:
            one.join()
        document = client.get("/openapi.json").json()
    assert document == make()
    assert {thread for thread, is_there in made if not is_there} == {"uno.work"}
