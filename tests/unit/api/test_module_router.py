"""ModuleRouter on a plain FastAPI application: what comes in reaches the module, what it says goes out."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from uno.api import (
    AuthProvider,
    ModuleRouter,
    RESTConvention,
    RouteConvention,
    RouteInfo,
    TokenClaims,
    api_endpoint,
    asgi,
    exclude_from_api,
)
from uno.api.convention import HTTPMethod
from uno.api.problems import register_error_handlers
from uno.app import App
from uno.errors import Conflict, Misconfigured, NotFound
from uno.modules import Event, EventInput, EventOutput, Module, ModuleHost, ModuleHostConfig

JSON = {"Content-Type": "application/json"}


@dataclass
class UserOutput(EventOutput):
    id: str = ""
    name: str = ""
    nick: str | None = None


@dataclass
class CreateUserInput(EventInput):
    name: str
    age: int = 0
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.name == "root":
            raise ValueError("root is taken")


class CreateUser(Event[CreateUserInput, UserOutput]):
    """Make a user."""

    name = "users.create"


@dataclass
class UserIdInput(EventInput):
    user_id: str


class GetUser(Event[UserIdInput, UserOutput]):
    pass


class ListUsersInput(BaseModel):
    page: int = Field(1, ge=1)
    since: date | None = None
    tags: list[str] = []


class ListUsers(Event[ListUsersInput, UserOutput]):
    name = "users.list"


@dataclass
class RenameInput(EventInput):
    user_id: int
    name: str


class UpdateUser(Event[RenameInput, UserOutput]):
    pass


class DeleteUser(Event[UserIdInput, EventOutput]):
    pass


class ActivateUser(Event[UserIdInput, EventOutput]):
    name = "users.activate"


class ExportUsers(Event[EventInput, UserOutput]):
    name = "users.export"


@dataclass
class FailInput(EventInput):
    how: str


class Fail(Event[FailInput, UserOutput]):
    pass


class Forgotten(Event[EventInput, EventOutput]):
    pass


EVENTS = [CreateUser, GetUser, ListUsers, UpdateUser, DeleteUser, ActivateUser, Fail, Forgotten]
ERRORS: dict[str, Exception] = {
    "conflict": Conflict("The name is taken."),
    "missing": NotFound("User", "7"),
    "bug": RuntimeError("password=hunter2"),
    "misconfigured": Misconfigured("password=hunter2"),
}


class Nobody(AuthProvider):
    async def validate_token(self, token: str) -> TokenClaims | None:
        return None

    async def create_token(self, claims: TokenClaims | Mapping[str, Any]) -> str:
        raise NotImplementedError


class Users(Module):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[Event[Any, Any]] = []

    def can_handle(self, event: Event[Any, Any]) -> bool:
        return not isinstance(event, Forgotten)

    async def handle(self, event: Event[Any, Any]) -> None:
        self.seen.append(event)
        if isinstance(event, Fail):
            raise ERRORS[event.input.how]
        if isinstance(event, CreateUser):
            event.output = UserOutput(id="a b", name=event.input.name)
        elif isinstance(event, GetUser | UpdateUser):
            event.output = UserOutput(id=str(event.input.user_id))
        event.handled = True


@pytest.fixture
def users() -> Users:
    return Users()


@pytest.fixture
def router(users: Users) -> Iterator[ModuleRouter]:
    with ModuleHost(ModuleHostConfig()).register(users) as host:
        router = ModuleRouter(host)
        for event in EVENTS:
            router.register_event(event)
        yield router


@pytest.fixture(params=[True, False], ids=["with_error_handlers", "without_error_handlers"])
def client(request: pytest.FixtureRequest, router: ModuleRouter) -> TestClient:
    app = FastAPI()
    if request.param:
        register_error_handlers(app)
    router.mount(app, prefix="/api/v1")
    return TestClient(app, raise_server_exceptions=False)


def fields(response: Any) -> list[str]:
    assert response.headers["content-type"] == "application/problem+json"
    return [error["field"] for error in response.json()["errors"]]


# ── what goes right ──


def test_a_creation_answers_201_with_the_location_of_what_it_made(client: TestClient, users: Users) -> None:
    response = client.post("/api/v1/users", json={"name": "Ada", "tags": ["x"]})
    assert (response.status_code, response.json()) == (201, {"id": "a b", "name": "Ada", "nick": None})
    assert response.headers["location"] == "/api/v1/users/a%20b"
    assert client.get(response.headers["location"]).json()["id"] == "a b"
    assert [one.input for one in users.seen] == [CreateUserInput("Ada", 0, ["x"]), UserIdInput("a b")]


def test_the_query_of_a_list_reaches_the_input_with_its_types(client: TestClient, users: Users) -> None:
    response = client.get("/api/v1/users?page=3&since=2026-01-31&tags=a&tags=b")
    assert (response.status_code, response.json()) == (200, {"success": True})
    assert [one.input for one in users.seen] == [ListUsersInput(page=3, since=date(2026, 1, 31), tags=["a", "b"])]


def test_an_update_has_its_id_in_the_path_and_the_rest_in_the_body(client: TestClient, users: Users) -> None:
    assert client.put("/api/v1/users/7", json={"name": "Bob"}).json()["id"] == "7"
    assert [one.input for one in users.seen] == [RenameInput(7, "Bob")]


def test_a_deletion_without_output_answers_204(client: TestClient, users: Users) -> None:
    response = client.delete("/api/v1/users/7")
    assert (response.status_code, response.content, len(users.seen)) == (204, b"", 1)


def test_what_is_handled_without_output_is_a_success(client: TestClient, users: Users) -> None:
    response = client.post("/api/v1/users/7/activate", json={})
    assert (response.status_code, response.json(), len(users.seen)) == (200, {"success": True}, 1)


# ── what goes wrong ──

WRONG: dict[str, tuple[str, str, Any, int, list[str]]] = {
    "missing": ("POST", "/users", {}, 422, ["name"]),
    "wrong_type": ("POST", "/users", {"name": 1}, 422, ["name"]),
    "text_for_a_number": ("POST", "/users", {"name": "a", "age": "5"}, 422, ["age"]),
    "unknown_field": ("POST", "/users", {"name": "a", "nmae": "b"}, 422, ["nmae"]),
    "query_type": ("GET", "/users?page=many", None, 422, ["page"]),
    "query_range": ("GET", "/users?page=0", None, 422, ["page"]),
    "unknown_parameter": ("GET", "/users?pages=1", None, 400, ["pages"]),
    "given_twice": ("GET", "/users?page=1&page=2", None, 400, ["page"]),
    "path_type": ("PUT", "/users/seven", {"name": "a"}, 422, ["user_id"]),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_a_problem_that_names_the_field_and_no_module_is_asked(
    client: TestClient, users: Users, wrong: tuple[str, str, Any, int, list[str]]
) -> None:
    method, path, body, status, wanted = wrong
    response = client.request(method, f"/api/v1{path}", json=body)
    assert (response.status_code, fields(response), users.seen) == (status, wanted, [])


def test_a_dataclass_may_refuse_its_values(client: TestClient, users: Users) -> None:
    response = client.post("/api/v1/users", json={"name": "root"})
    assert (response.status_code, response.json()["detail"], users.seen) == (422, "root is taken", [])


def test_a_body_that_is_no_json_is_a_problem(client: TestClient, users: Users) -> None:
    assert client.post("/api/v1/users", content=b"{", headers=JSON).status_code == 400
    assert client.post("/api/v1/users", content=b"name=a").status_code == 415
    assert users.seen == []


def test_an_event_that_nobody_handles_is_501(client: TestClient) -> None:
    response = client.post("/api/v1/forgotten", json={})
    assert (response.status_code, response.json()["detail"]) == (501, "Nothing here handles Forgotten.")
    assert response.json()["type"] == "urn:uno:problem:not-implemented"


@pytest.mark.parametrize(
    ("how", "status", "detail"),
    [
        ("conflict", 409, "The name is taken."),
        ("missing", 404, "There is no User with id '7'."),
        ("bug", 500, "Something went wrong. The log says what, under this correlation id."),
        ("misconfigured", 500, "Something went wrong. The log says what, under this correlation id."),
    ],
)
def test_an_error_of_a_handler_is_its_problem_and_a_bug_tells_nothing(
    client: TestClient, users: Users, caplog: pytest.LogCaptureFixture, how: str, status: int, detail: str
) -> None:
    response = client.post("/api/v1/fail", json={"how": how})
    assert (response.status_code, response.json()["detail"], len(users.seen)) == (status, detail, 1)
    assert response.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in response.text
    assert ("hunter2" in caplog.text) is (status == 500)


def test_a_host_that_keeps_errors_to_itself_still_answers_500(users: Users) -> None:
    with ModuleHost(ModuleHostConfig(propagate_exceptions=False)).register(users) as host:
        app = FastAPI()
        ModuleRouter(host).register_event(Fail).mount(app)
        response = TestClient(app).post("/fail", json={"how": "conflict"})
    assert (response.status_code, response.json()["detail"]) == (500, "Something went wrong. The log says what.")
    assert len(users.seen) == 1


def test_an_output_of_another_type_is_a_bug(users: Users) -> None:
    class Wrong(Users):
        async def handle(self, event: Event[Any, Any]) -> None:
            event.output, event.handled = {"id": 1}, True

    with ModuleHost(ModuleHostConfig()).register(Wrong()) as host:
        app = FastAPI()
        ModuleRouter(host).register_event(GetUser).mount(app)
        assert TestClient(app).get("/users/1").status_code == 500


def test_the_applications_own_handler_of_an_error_is_asked(router: ModuleRouter) -> None:
    app = FastAPI()
    router.mount(app)

    @app.exception_handler(Conflict)
    async def mine(_request: Any, error: Exception) -> JSONResponse:
        return JSONResponse({"mine": str(error)}, 418)

    response = TestClient(app).post("/fail", json={"how": "conflict"})
    assert (response.status_code, response.json()) == (418, {"mine": "The name is taken."})


# ── which events, and where ──


def test_what_is_excluded_hidden_or_there_already_is_left_out(router: ModuleRouter) -> None:
    @exclude_from_api
    class Secret(Event[EventInput, EventOutput]):
        pass

    @api_endpoint(include_in_schema=False)
    class Hidden(Event[EventInput, EventOutput]):
        pass

    before = len(router.router.routes)
    assert router.register_event(Secret).register_event(Hidden).register_event(CreateUser) is router
    assert len(router.router.routes) == before == len(router.discovered_events)


def test_a_literal_path_comes_before_a_parameter_whatever_the_order(users: Users) -> None:
    @api_endpoint(path="/users/newest", method="GET")
    class GetNewest(Event[EventInput, EventOutput]):
        pass

    with ModuleHost(ModuleHostConfig()).register(users) as host:
        app = FastAPI()
        ModuleRouter(host).register_event(GetUser).register_event(GetNewest).mount(app)
        client = TestClient(app)
        client.get("/users/newest")
        client.get("/users/oldest")
    assert [type(one) for one in users.seen] == [GetNewest, GetUser]


def test_a_convention_of_ones_own_decides(users: Users) -> None:
    class Flat(RouteConvention):
        def get_route(self, event_class: type[Event[Any, Any]]) -> RouteInfo:
            return RouteInfo(f"/rpc/{event_class.__name__}", HTTPMethod.POST)

    with ModuleHost(ModuleHostConfig()).register(users) as host:
        app = FastAPI()
        router = ModuleRouter(host, Flat())
        router.register_event(GetUser).mount(app)
        assert TestClient(app).post("/rpc/GetUser", json={"user_id": "1"}).json()["id"] == "1"
    assert isinstance(ModuleRouter(host).convention, RESTConvention)


def test_an_id_that_the_input_has_no_field_for_is_in_meta(users: Users, caplog: pytest.LogCaptureFixture) -> None:
    class GetThing(Event[EventInput, EventOutput]):
        pass

    with caplog.at_level(logging.INFO), ModuleHost(ModuleHostConfig()).register(users) as host:
        app = FastAPI()
        ModuleRouter(host).register_event(GetThing).mount(app)
        assert TestClient(app).get("/things/7").status_code == 200
    assert users.seen[0].meta["id"] == "7"
    assert "the input of" in caplog.text


# ── collisions ──


def test_two_events_on_one_path_are_an_error_at_mount_that_names_both(router: ModuleRouter) -> None:
    @api_endpoint(path="/users/{name}", method="GET")
    class FetchUser(Event[CreateUserInput, EventOutput]):
        pass

    router.register_event(FetchUser)
    with pytest.raises(Misconfigured, match=r"GetUser and .*FetchUser have the same path"):
        router.mount(FastAPI())


def test_a_path_that_the_application_has_already_is_an_error_at_mount(router: ModuleRouter) -> None:
    app = FastAPI()

    @app.get("/api/users/{id}")
    async def mine(id: str) -> str:
        return id

    with pytest.raises(Misconfigured, match="mine and GetUser have the same path"):
        router.mount(app, prefix="/api")


def test_mounting_twice_on_one_prefix_is_an_error_and_on_two_is_not(router: ModuleRouter, users: Users) -> None:
    app = FastAPI()
    router.mount(app, "/a")
    router.mount(app, "/b")
    with pytest.raises(Misconfigured, match="have the same path"):
        router.mount(app, "/a")
    client = TestClient(app)
    assert [client.get(f"/{prefix}/users/1").status_code for prefix in "ab"] == [200, 200]
    assert len(users.seen) == 2


def late(app: FastAPI, path: str) -> None:
    @app.get(path)
    async def late() -> str:
        return "late"


def test_with_a_path_added_after_mount_the_application_does_not_start(router: ModuleRouter) -> None:
    app = FastAPI()
    router.mount(app)
    late(app, "/users/{id}")
    with pytest.raises(Misconfigured, match="GetUser and late have the same path"), TestClient(app):
        pass


def test_nor_does_one_that_includes_the_router_where_it_was_mounted(router: ModuleRouter) -> None:
    outer, app = APIRouter(), FastAPI()
    router.mount(outer, "/v1")
    app.include_router(outer, prefix="/api")
    late(app, "/api/v1/users/{id}")
    with pytest.raises(Misconfigured, match="GetUser and late have the same path"), TestClient(app):
        pass


def test_where_no_lifespan_is_run_only_the_path_that_clashes_is_an_error(router: ModuleRouter, users: Users) -> None:
    outer, app = APIRouter(), FastAPI()
    router.mount(outer, "/a")
    router.mount(outer, "/b")
    app.include_router(outer, prefix="/api")
    late(app, "/api/a/users/{id}")
    client = TestClient(app)
    asked = ("/api/a/users", "/api/a/users/1", "/api/b/users/1")
    assert [client.get(path).status_code for path in asked] == [200, 500, 200]
    assert [type(one) for one in users.seen] == [ListUsers, GetUser]


# ── FastAPI's own ways ──


def test_dependencies_of_an_including_router_run(router: ModuleRouter, users: Users) -> None:
    def refuse() -> None:
        raise HTTPException(403, "Not you.")

    outer = APIRouter(dependencies=[Depends(refuse)])
    router.mount(outer)
    app = FastAPI()
    app.include_router(outer, prefix="/v2")
    response = TestClient(app).get("/v2/users/1")
    assert (response.status_code, response.json()["detail"], users.seen) == (403, "Not you.", [])


def test_permissions_that_an_event_asks_for_are_looked_for(users: Users) -> None:
    @api_endpoint(required_permissions=["users:admin"])
    class PurgeUsers(Event[EventInput, EventOutput]):
        pass

    with ModuleHost(ModuleHostConfig()).register(users) as host:
        app = FastAPI()
        ModuleRouter(host).register_event(PurgeUsers).mount(app)
        response = TestClient(app).post("/users/purge", json={})
    assert (response.status_code, users.seen) == (401, [])
    assert response.headers["content-type"] == "application/problem+json"


def test_what_an_event_says_means_the_same_in_an_app(users: Users) -> None:
    @api_endpoint(
        path="/seen",
        method="put",
        tags=["x"],
        summary="Look.",
        description="Around.",
        deprecated=True,
        required_permissions=["users:read"],
        public=True,
    )
    class LookAround(Event[EventInput, UserOutput]):
        pass

    class Looking(Users):
        name = "looking"
        routes = (LookAround,)

    routed = FastAPI()
    ModuleRouter(ModuleHost(ModuleHostConfig()).register(users)).register_event(LookAround).mount(routed)
    clients = TestClient(routed), TestClient(asgi(App(Looking(), auth=Nobody())))
    alone, of_app = (client.get("/openapi.json").json()["paths"]["/seen"]["put"] for client in clients)
    shared = ("tags", "summary", "description", "deprecated", "operationId")
    assert {name: alone[name] for name in shared} == {name: of_app[name] for name in shared}
    assert [client.put("/seen", json={}).status_code for client in clients] == [401, 401]


def test_openapi_has_the_schemas_of_inputs_and_outputs(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    create = document["paths"]["/api/v1/users"]["post"]
    assert create["operationId"] == "CreateUser"
    assert create["description"] == "Make a user."
    schemas = document["components"]["schemas"]
    body = create["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert set(schemas[body]["properties"]) == {"name", "age", "tags"}
    assert schemas[body]["required"] == ["name"]
    made = create["responses"]["201"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert set(schemas[made]["properties"]) == {"id", "name", "nick"}
    listed = {one["name"] for one in document["paths"]["/api/v1/users"]["get"]["parameters"]}
    assert listed == {"page", "since", "tags"}
    assert "application/problem+json" in create["responses"]["422"]["content"]
