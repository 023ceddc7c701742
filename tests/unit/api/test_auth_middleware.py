"""AuthMiddleware in front of an application of anybody's."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from uno import clock, context
from uno.api import AuthMiddleware, AuthProvider, TokenClaims, register_error_handlers
from uno.errors import Misconfigured, Unavailable
from uno.security import current_principal


class Names(AuthProvider):
    """The token of ada is `ada`; there are others that do not work."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def validate_token(self, token: str) -> TokenClaims | None:
        self.asked[token] += 1
        await asyncio.sleep(0)
        if token == "away":
            raise Unavailable("The login service does not answer.")
        if token == "bug":
            raise RuntimeError("token bug")
        now = clock.now()
        end = now if token == "expired" else now + timedelta(hours=1)
        return TokenClaims(token, end, now, ["read"]) if token in ("ada", "bob", "expired") else None

    async def create_token(self, claims: TokenClaims | Mapping[str, Any]) -> str:
        raise NotImplementedError


@pytest.fixture
def provider() -> Names:
    return Names()


@pytest.fixture
def seen() -> Counter[str]:
    return Counter()


def make_api(seen: Counter[str]) -> FastAPI:
    api = FastAPI()
    register_error_handlers(api)

    @api.api_route("/{path:path}", methods=["GET", "POST", "OPTIONS"])
    async def anything(path: str, request: Request) -> dict[str, Any]:
        seen[path] += 1
        await asyncio.sleep(0)
        principal, current = current_principal(), context.get()
        return {
            "user": getattr(getattr(request.state, "user", None), "sub", None),
            "principal": principal and principal.subject,
            "actor": current and current.actor,
            "source": current and current.actor_source,
        }

    @api.websocket("/talk")
    async def talk(socket: WebSocket) -> None:
        seen["talk"] += 1
        await socket.accept()
        await socket.send_text(str(socket.state.user.sub))
        await socket.close()

    return api


def client_of(app: ASGIApp) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def client(provider: Names, seen: Counter[str]) -> TestClient:
    api = make_api(seen)
    api.add_middleware(AuthMiddleware, provider=provider, exclude_paths=["/public", "/public/*", "/health*"])
    return client_of(api)


def test_the_user_is_known_inside_and_forgotten_outside(client: TestClient, seen: Counter[str]) -> None:
    response = client.get("/reports", headers={"Authorization": "Bearer ada"})
    assert response.json() == {"user": "ada", "principal": "ada", "actor": "ada", "source": "principal"}
    assert (current_principal(), context.get()) == (None, None)
    assert seen == {"reports": 1}


MISSING = {"none": {}, "x_user": {"X-User": "ada"}, "cookie": {"Cookie": "token=ada"}}
MALFORMED: dict[str, list[tuple[str, str]]] = {
    "basic": [("Authorization", "Basic YWRhOmFkYQ==")],
    "no_scheme": [("Authorization", "ada")],
    "no_token": [("Authorization", "Bearer")],
    "blank_token": [("Authorization", "Bearer  ")],
    "two_tokens": [("Authorization", "Bearer ada bob")],
    "joined": [("Authorization", "Bearer ada, Bearer bob")],
    "two_headers": [("Authorization", "Bearer ada"), ("Authorization", "Bearer bob")],
    "twice_the_same": [("Authorization", "Bearer ada"), ("authorization", "Bearer ada")],
    "quoted": [("Authorization", 'Bearer "ada"')],
    "too_long": [("Authorization", "Bearer " + "a" * 9000)],
}


@pytest.mark.parametrize("headers", MISSING.values(), ids=MISSING.keys())
def test_without_a_token_it_is_401(client: TestClient, seen: Counter[str], headers: dict[str, str]) -> None:
    response = client.get("/reports", headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:uno:problem:unauthenticated"
    assert not seen


@pytest.mark.parametrize("headers", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_header_is_401_and_nobody_is_asked(
    client: TestClient, provider: Names, seen: Counter[str], headers: list[tuple[str, str]]
) -> None:
    response = client.get("/reports", headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert not seen
    assert not provider.asked


@pytest.mark.parametrize("token", ["nobody", "expired"])
def test_an_invalid_or_expired_token_is_401(client: TestClient, seen: Counter[str], token: str) -> None:
    response = client.post("/reports", headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, response.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert "detail" in response.json()
    assert token not in response.text
    assert not seen


def test_the_scheme_is_written_in_any_case(client: TestClient) -> None:
    assert client.get("/reports", headers={"Authorization": "bEARER ada"}).json()["user"] == "ada"


def test_a_provider_that_cannot_tell_is_503_and_one_with_a_bug_500(client: TestClient, seen: Counter[str]) -> None:
    away = client.get("/reports", headers={"Authorization": "Bearer away"})
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    bug = client.get("/reports", headers={"Authorization": "Bearer bug"})
    assert (bug.status_code, bug.json()["type"]) == (500, "urn:uno:problem:internal")
    assert not seen


@pytest.mark.parametrize("path", ["/public", "/public/", "/public/a/b", "/healthz"])
def test_an_excluded_path_needs_no_token(client: TestClient, provider: Names, seen: Counter[str], path: str) -> None:
    response = client.get(path, headers={"Authorization": "Bearer ada", "X-User": "ada"})
    assert response.json() == {"user": None, "principal": None, "actor": None, "source": None}
    assert seen.total() == 1
    assert not provider.asked


TRICKS = [
    "/Public", "/public/../reports", "/public/..", "/reports/../public", "//public", "/public//../reports",
    "/public/./a", "/./public", "/public\\..\\reports", "/reports\0/public", "/publicity", "public", "",
]  # fmt: skip


@pytest.mark.parametrize("path", TRICKS)
async def test_a_path_that_only_looks_excluded_needs_a_token(provider: Names, path: str) -> None:
    # As a server hands it over: no client in between to tidy it up.
    reached, sent = [], []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])

    async def send(message: Any) -> None:
        sent.append(message.get("status"))

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    await AuthMiddleware(app, provider, ["/public", "/public/*"])(scope, None, send)  # type: ignore[arg-type]
    assert (reached, sent[0]) == ([], 401)


@pytest.mark.parametrize("patterns", ["/public/*", b"/public/*", [""], [None], ["/public", 5]])
def test_paths_to_exclude_are_a_list_of_patterns(provider: Names, patterns: Any) -> None:
    with pytest.raises(Misconfigured, match="exclude_paths of AuthMiddleware"):
        AuthMiddleware(FastAPI(), provider, exclude_paths=patterns)


def test_by_default_only_health_is_excluded(provider: Names, seen: Counter[str]) -> None:
    client = client_of(AuthMiddleware(make_api(seen), provider))
    paths = ["/health", "/health/live", "/health/ready", "/healthy", "/docs", "/metrics", "/"]
    assert [client.get(path).status_code for path in paths] == [200, 200, 200, 401, 401, 401, 401]
    assert client_of(AuthMiddleware(make_api(seen), provider, [])).get("/health").status_code == 401
    assert seen.total() == 3


def test_below_another_application_the_paths_are_its_own(provider: Names, seen: Counter[str]) -> None:
    inner = make_api(seen)
    inner.add_middleware(AuthMiddleware, provider=provider, exclude_paths=["/public"])
    outer = FastAPI()
    outer.mount("/inner", inner)
    client = client_of(outer)
    assert client.get("/inner/public").status_code == 200
    assert client.get("/inner/reports").status_code == 401
    assert seen.total() == 1


def test_a_socket_is_opened_with_a_token_only(client: TestClient, seen: Counter[str]) -> None:
    for headers in ({}, {"Authorization": "Bearer nobody"}):
        with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/talk", headers=headers):
            pass
        assert refused.value.code == 1008
    assert not seen
    with client.websocket_connect("/talk", headers={"Authorization": "Bearer ada"}) as socket:
        assert socket.receive_text() == "ada"


def test_start_and_stop_pass_through(provider: Names) -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "lifespan.startup":
            told.append(message["type"])
            await send({"type": "lifespan.startup.complete"})
        told.append(message["type"])
        await send({"type": "lifespan.shutdown.complete"})

    with TestClient(AuthMiddleware(app, provider)):
        assert told == ["lifespan.startup"]
    assert told == ["lifespan.startup", "lifespan.shutdown"]


async def test_requests_at_the_same_time_are_of_different_users(provider: Names) -> None:
    met = asyncio.Barrier(2)
    found: dict[str, str] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with met:
            principal = current_principal()
        assert principal is not None
        found[scope["path"]] = principal.subject

    async def ask(name: str) -> None:
        headers = [(b"authorization", f"Bearer {name}".encode())]
        scope = {"type": "http", "path": f"/{name}", "headers": headers}
        await AuthMiddleware(app, provider)(scope, None, None)  # type: ignore[arg-type]
        assert current_principal() is None

    async with asyncio.TaskGroup() as group:
        for name in ("ada", "bob"):
            group.create_task(ask(name))
    assert found == {"/ada": "ada", "/bob": "bob"}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [("x", "is a str, without validate_token; it takes an AuthProvider"), (None, "is a NoneType"), (Names, r"Names\(")],
)
def test_a_provider_that_is_none_is_refused_when_it_is_given(wrong: Any, sentence: str) -> None:
    with pytest.raises(Misconfigured, match=sentence):
        AuthMiddleware(FastAPI(), wrong)
