"""What a caller may: the access of endpoints, decorators and dependencies."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect

from uno import clock, context
from uno.api import (
    AuthMiddleware,
    AuthProvider,
    DIAPIRouter,
    TokenClaims,
    asgi,
    get_current_user,
    inject_params,
    require_auth,
    require_permissions,
)
from uno.app import App, Module, Route
from uno.bus import QueryBus, command_handler, query_handler
from uno.errors import Misconfigured, Unavailable
from uno.messages import Command, Query
from uno.security import Policies, Principal

# The permissions of whoever has the token.
PEOPLE = {"ada": ["items:read", "items:write"], "bob": ["items:read"], "eve": []}


class People(AuthProvider):
    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def validate_token(self, token: str) -> TokenClaims | None:
        self.asked[token] += 1
        if token == "away":
            raise Unavailable("The login service does not answer.")
        now = clock.now()
        return TokenClaims(token, now + timedelta(hours=1), now, PEOPLE[token]) if token in PEOPLE else None

    async def create_token(self, claims: TokenClaims | Mapping[str, Any]) -> str:
        raise NotImplementedError


class GetItem(Query[dict[str, Any]]):
    item_id: str


class ListItems(Query[list[str]]):
    pass


class CreateItem(Command[None]):
    title: str


class DeleteItem(Command[None]):
    item_id: str


handled: Counter[str] = Counter()


@query_handler(GetItem)
async def get(query: GetItem) -> dict[str, Any]:
    handled["get"] += 1
    current = context.current()
    return {"actor": current.actor, "source": current.actor_source}


@query_handler(ListItems)
async def list_items(query: ListItems) -> list[str]:
    handled["list"] += 1
    return [context.current().actor or "nobody"]


@command_handler(CreateItem)
async def create(command: CreateItem) -> None:
    handled["create"] += 1


@command_handler(DeleteItem)
async def delete(command: DeleteItem) -> None:
    handled["delete"] += 1


HANDLERS = [get, list_items, create, delete]
ROUTES = [
    GetItem,
    Route(ListItems, access="open"),
    Route(CreateItem, access="items:write"),
    Route(DeleteItem, access="gardener"),
]
POLICIES: Policies = {"gardener": ["items:read", "items:write"]}


@pytest.fixture
def provider() -> People:
    handled.clear()
    return People()


@pytest.fixture
def client(provider: People) -> TestClient:
    app = App(Module("shop", handlers=HANDLERS, routes=ROUTES), auth=provider, policies=POLICIES)
    return TestClient(asgi(app), raise_server_exceptions=False)


def bearer(name: str | None) -> dict[str, str]:
    return {} if name is None else {"Authorization": f"Bearer {name}"}


STATUSES = [
    ("GET", "/items/1", (401, 401, 200, 200, 200)),
    ("GET", "/items", (200, 200, 200, 200, 200)),
    ("POST", "/items", (401, 401, 403, 403, 201)),
    ("DELETE", "/items/1", (401, 401, 403, 403, 204)),
    ("HEAD", "/items/1", (401, 401, 200, 200, 200)),
]


@pytest.mark.parametrize(("method", "path", "statuses"), STATUSES)
def test_who_gets_in_is_said_by_the_access(
    client: TestClient, method: str, path: str, statuses: tuple[int, ...]
) -> None:
    body = {"title": "a lamp"} if method == "POST" else None
    found = [
        client.request(method, path, json=body, headers=bearer(name)).status_code
        for name in (None, "nobody", "eve", "bob", "ada")
    ]
    assert tuple(found) == statuses
    assert handled.total() == sum(status < 400 for status in statuses)


def test_the_subject_is_the_actor_and_no_header_is(client: TestClient) -> None:
    headers = bearer("bob") | {"X-User": "root", "X-Actor": "root"}
    assert client.get("/items/1", headers=headers).json() == {"actor": "bob", "source": "principal"}
    assert client.get("/items", headers=bearer("bob")).json() == ["bob"]
    assert client.get("/items", headers={"X-User": "root"}).json() == ["nobody"]
    assert client.get("/items", headers=bearer("nobody")).json() == ["nobody"]


def test_a_refusal_is_a_problem_with_a_challenge(client: TestClient) -> None:
    missing = client.get("/items/1")
    assert (missing.json()["type"], missing.headers["www-authenticate"]) == (
        "urn:uno:problem:unauthenticated",
        "Bearer",
    )
    invalid = client.get("/items/1", headers=bearer("nobody"))
    assert invalid.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    denied = client.post("/items", json={"title": "a lamp"}, headers=bearer("bob"))
    assert (denied.json()["type"], denied.headers["www-authenticate"]) == (
        "urn:uno:problem:forbidden",
        'Bearer error="insufficient_scope"',
    )
    assert denied.json()["detail"] == "This needs the permission items:write."
    assert denied.json()["correlation_id"] == denied.headers["x-correlation-id"]


def test_the_body_of_somebody_who_may_not_is_not_read(client: TestClient) -> None:
    response = client.post("/items", content=b"[1, 2", headers={"Content-Type": "application/json"})
    assert response.status_code == 401
    response = client.post("/items", content=b"[1, 2", headers=bearer("ada") | {"Content-Type": "application/json"})
    assert response.status_code == 400


def test_while_nobody_can_check_tokens_open_endpoints_work_and_others_are_503(client: TestClient) -> None:
    assert client.get("/items/1", headers=bearer("away")).status_code == 503
    assert client.get("/items", headers=bearer("away")).json() == ["nobody"]


def test_health_is_open(client: TestClient) -> None:
    assert client.get("/health/live").status_code == 200


def test_openapi_says_who_gets_in(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    guarded, is_open = document["paths"]["/items/{item_id}"]["get"], document["paths"]["/items"]["get"]
    assert guarded["security"] == [{"bearer": []}]
    assert {"401", "403"} <= guarded["responses"].keys()
    assert "security" not in is_open
    assert not {"401", "403"} & is_open["responses"].keys()


def test_without_a_provider_everything_is_open_and_says_so(provider: People) -> None:
    app = App(Module("shop", handlers=HANDLERS, routes=[GetItem]))
    assert app.auth is None
    client = TestClient(asgi(app))
    assert client.get("/items/1", headers=bearer("ada")).json() == {"actor": None, "source": "system"}
    assert "securitySchemes" not in client.get("/openapi.json").json()["components"]


def test_access_that_nobody_can_check_is_a_mistake() -> None:
    with pytest.raises(Misconfigured, match=r"DeleteItem asks for access 'gardener'.*App\(auth="):
        App(Module("shop", handlers=HANDLERS, routes=ROUTES), policies=POLICIES)


@pytest.mark.parametrize("policies", [{"gardener": []}, {"gardener": "items:read"}, {"open": ["items:read"]}])
def test_a_policy_that_does_not_say_what_it_seems_to_is_a_mistake(provider: People, policies: Policies) -> None:
    with pytest.raises(Misconfigured, match="wrong policy"):
        App(Module("shop", handlers=HANDLERS, routes=ROUTES), auth=provider, policies=policies)


def test_a_token_is_checked_once_per_request(provider: People) -> None:
    app = App(Module("shop", handlers=HANDLERS, routes=ROUTES), auth=provider)
    api = asgi(app)
    api.add_middleware(AuthMiddleware, provider=provider)
    assert TestClient(api).get("/items/1", headers=bearer("ada")).status_code == 200
    assert provider.asked == {"ada": 1}


# ── FastAPI's endpoints ──


class Body(BaseModel):
    title: str


def add_routes(api: Any, seen: Counter[str]) -> None:
    @api.get("/async/{number}")
    @require_auth
    async def asynchronous(number: int, word: str = "none") -> dict[str, Any]:
        seen["async"] += 1
        return {"number": number, "word": word}

    @api.get("/sync/{number}")
    @require_auth
    def synchronous(number: int) -> int:
        seen["sync"] += 1
        return number

    @api.get("/own")
    @require_auth
    async def with_its_own_request(request: Request) -> str | None:
        seen["own"] += 1
        user = get_current_user(request)
        return user and user.sub

    @api.post("/body")
    @require_permissions(["items:write", "items:read"])
    async def with_a_body_called_request(request: Body) -> str:
        seen["body"] += 1
        return request.title

    @api.get("/all")
    @require_permissions(["items:write", "items:read"], require_all=True)
    async def all_of_them() -> str:
        seen["all"] += 1
        return "all"

    @api.get("/dependency")
    async def depends(user: Annotated[TokenClaims, Depends(require_permissions(["items:write"]))]) -> str:
        seen["dependency"] += 1
        return user.sub

    @api.get("/user")
    async def anybody(user: Annotated[TokenClaims | None, Depends(get_current_user)]) -> str | None:
        seen["user"] += 1
        return user and user.sub

    @api.get("/needed", dependencies=[Depends(require_auth)])
    async def needed() -> str:
        seen["needed"] += 1
        return "needed"

    @api.websocket("/talk")
    async def talk(socket: WebSocket, user: Annotated[TokenClaims, Depends(require_auth)]) -> None:
        seen["talk"] += 1
        await socket.accept()
        await socket.send_text(user.sub)
        await socket.close()


@pytest.fixture
def seen() -> Counter[str]:
    return Counter()


@pytest.fixture(params=["FastAPI and AuthMiddleware", "asgi and App(auth=)"])
def fastapi(request: pytest.FixtureRequest, provider: People, seen: Counter[str]) -> TestClient:
    if request.param == "asgi and App(auth=)":
        api: FastAPI = asgi(App(Module("shop", handlers=HANDLERS, routes=ROUTES), auth=provider))
        add_routes(api, seen)
    else:
        api = FastAPI()
        add_routes(api, seen)
        api.add_middleware(Known, provider=provider)
    return TestClient(api)


class Known:
    """AuthMiddleware for those only who bring a token."""

    def __init__(self, app: Any, provider: AuthProvider) -> None:
        self.app, self.guarded = app, AuthMiddleware(app, provider)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        has_token = any(name == b"authorization" for name, _ in scope.get("headers", ()))
        await (self.guarded if has_token else self.app)(scope, receive, send)


DECORATED: dict[str, tuple[int, int, int, int]] = {
    "/async/7?word=x": (401, 200, 200, 200),
    "/sync/7": (401, 200, 200, 200),
    "/own": (401, 200, 200, 200),
    "/body": (401, 403, 200, 200),
    "/all": (401, 403, 403, 200),
    "/dependency": (401, 403, 403, 200),
    "/needed": (401, 200, 200, 200),
    "/user": (200, 200, 200, 200),
}


@pytest.mark.parametrize("path", DECORATED)
def test_a_decorated_endpoint_is_for_those_who_may(fastapi: TestClient, seen: Counter[str], path: str) -> None:
    found = []
    for name in (None, "eve", "bob", "ada"):
        method, body = ("POST", {"title": "a lamp"}) if path == "/body" else ("GET", None)
        found.append(fastapi.request(method, path, json=body, headers=bearer(name)))
    assert tuple(response.status_code for response in found) == DECORATED[path]
    assert seen.total() == sum(status == 200 for status in DECORATED[path])
    if DECORATED[path][0] == 401:
        assert found[0].headers["www-authenticate"] == "Bearer"


def test_parameters_and_results_stay_as_they_are(fastapi: TestClient) -> None:
    assert fastapi.get("/async/7?word=x", headers=bearer("ada")).json() == {"number": 7, "word": "x"}
    assert fastapi.get("/own", headers=bearer("ada")).json() == "ada"
    assert fastapi.get("/dependency", headers=bearer("ada")).json() == "ada"
    assert fastapi.post("/body", json={"title": "a lamp"}, headers=bearer("ada")).json() == "a lamp"
    assert fastapi.get("/async/seven", headers=bearer("ada")).status_code == 422
    parameters = fastapi.get("/openapi.json").json()["paths"]["/async/{number}"]["get"]["parameters"]
    assert [one["name"] for one in parameters] == ["number", "word"]


def test_a_socket_that_needs_a_user_is_refused_without(fastapi: TestClient, seen: Counter[str]) -> None:
    with pytest.raises(WebSocketDisconnect) as refused, fastapi.websocket_connect("/talk"):
        pass
    assert refused.value.code == 1008
    assert not seen
    with fastapi.websocket_connect("/talk", headers=bearer("ada")) as socket:
        assert socket.receive_text() == "ada"


@pytest.mark.parametrize("outer", ["auth", "services"])
def test_a_decorated_endpoint_can_ask_for_services(provider: People, outer: str) -> None:
    async def items(bus: QueryBus) -> list[str]:
        return (await bus.dispatch(ListItems())).unwrap()

    router = DIAPIRouter()
    made = require_auth(inject_params()(items)) if outer == "auth" else inject_params()(require_auth(items))
    router.get("/mine")(made)
    app = App(Module("shop", handlers=HANDLERS, routes=ROUTES), auth=provider)
    with TestClient(asgi(app, routers=[router])) as client:
        assert client.get("/mine").status_code == 401
        assert client.get("/mine", headers=bearer("bob")).json() == ["bob"]
    assert handled == {"list": 1}


class AskMe(Query[str]):
    pass


@query_handler(AskMe)
async def ask_me(query: AskMe, principal: Principal) -> str:
    handled["me"] += 1
    return principal.subject


def test_a_handler_and_a_route_can_ask_for_the_principal(provider: People) -> None:
    router = DIAPIRouter()

    @router.get("/permissions")
    async def permissions(principal: Principal) -> list[str]:
        return sorted(principal.permissions)

    app = App(
        Module("shop", handlers=[ask_me], routes=[Route(AskMe, method="GET", path="/me", access="open")]), auth=provider
    )
    with TestClient(asgi(app, routers=[router])) as client:
        assert (client.get("/me").status_code, client.get("/permissions").status_code) == (401, 401)
        assert client.get("/me", headers=bearer("ada")).json() == "ada"
        assert client.get("/permissions", headers=bearer("ada")).json() == ["items:read", "items:write"]
    assert handled == {"me": 1}


async def test_decorated_functions_can_be_called_by_hand() -> None:
    @require_permissions(["items:read"])
    async def read(request: Request) -> str:
        return "read"

    now = clock.now()
    request = Request({"type": "http", "state": {"user": TokenClaims("bob", now, now, ["items:read"])}})
    assert await read(request) == "read"
    assert await read(request=request) == "read"


@pytest.mark.parametrize("permissions", ["items:read", []])
def test_permissions_are_a_list_of_some(permissions: Any) -> None:
    with pytest.raises(Misconfigured, match="require_permissions"):
        require_permissions(permissions)


@pytest.mark.parametrize("permissions", [b"items:read", 5, [1], [""], PEOPLE.get])
def test_permissions_are_names(permissions: Any) -> None:
    with pytest.raises(Misconfigured, match="require_permissions (takes a list|was given)"):
        require_permissions(permissions)


BRACKETS: dict[str, tuple[Any, str]] = {
    "too many": (lambda: require_auth(), "@require_auth stands above the function .* leave the last brackets out"),  # type: ignore[call-overload]
    "twice": (lambda: require_permissions(["a"])(), r"@require_permissions\(.*leave the last brackets out"),  # type: ignore[call-overload]
    "none": (
        lambda: require_permissions(People.validate_token),
        r"as in @require_permissions\(\[.*not People.validate",
    ),  # type: ignore[arg-type]
    "a class": (lambda: require_auth(Body), "above the function of an endpoint; it was given Body"),
}


@pytest.mark.parametrize("name", BRACKETS)
def test_brackets_that_are_missing_or_too_many_are_told(name: str) -> None:
    make, sentence = BRACKETS[name]
    with pytest.raises(Misconfigured, match=sentence):
        make()


# ── nobody looks at tokens ──


def unguarded(kind: str, seen: Counter[str]) -> TestClient:
    api = asgi(App(Module("shop"))) if kind == "asgi" else FastAPI()
    add_routes(api, seen)
    if kind == "excluded":
        api.add_middleware(AuthMiddleware, provider=People(), exclude_paths=["*"])
    return TestClient(api)


@pytest.mark.parametrize("kind", ["asgi", "FastAPI", "excluded"])
@pytest.mark.parametrize("path", ["/async/7", "/sync/7", "/all", "/dependency", "/needed"])
def test_a_token_that_nothing_looks_at_is_a_bug_of_the_program(kind: str, path: str, seen: Counter[str]) -> None:
    client = unguarded(kind, seen)
    with pytest.raises(Misconfigured, match=r"add AuthMiddleware or give App\(auth=...\)"):
        client.get(path, headers={"authorization": "bearer ada"})
    assert not seen


@pytest.mark.parametrize("kind", ["asgi", "FastAPI", "excluded"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YWRhOmFkYQ=="}])
def test_without_a_token_it_stays_401(kind: str, headers: dict[str, str], seen: Counter[str]) -> None:
    assert unguarded(kind, seen).get("/needed", headers=headers).status_code == 401


def test_an_application_answers_500_and_logs_that_nothing_looks_at_tokens(
    seen: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    api = asgi(App(Module("shop")))
    add_routes(api, seen)
    client = TestClient(api, raise_server_exceptions=False)
    assert client.get("/needed", headers=bearer("ada")).status_code == 500
    assert "add AuthMiddleware" in caplog.text


def test_whoever_looks_at_tokens_otherwise_says_nobody(seen: Counter[str]) -> None:
    api = FastAPI()
    add_routes(api, seen)

    @api.middleware("http")
    async def own(request: Request, call_next: Any) -> Any:
        request.state.user = None
        return await call_next(request)

    assert TestClient(api).get("/needed", headers=bearer("ada")).status_code == 401
