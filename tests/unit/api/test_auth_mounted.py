"""One application inside another: each believes only the tokens of its own provider."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from uno import App, Module, Query, query_handler
from uno.api import AuthMiddleware, asgi, get_current_user, require_permissions
from uno.app import Route
from uno.context import current
from uno.security import JWTAuthProvider, JWTSettings
from uno.security.principal import current_principal

OUTER, INNER = (JWTAuthProvider(JWTSettings(secret_key=letter * 40)) for letter in "ab")


class ListSecrets(Query[list[str]]):
    pass


class Who(Query[list[str | None]]):
    pass


@query_handler(ListSecrets)
async def list_secrets(query: ListSecrets) -> list[str]:
    return ["of the admin"]


@query_handler(Who)
async def who(query: Who) -> list[str | None]:
    principal = current_principal()
    return [current().actor, None if principal is None else principal.subject]


def admin() -> FastAPI:
    routes = [Route(ListSecrets, access="boss", path="/boss"), Route(Who, access="open", method="GET", path="/who")]
    module = Module("admin", handlers=[list_secrets, who], routes=routes)
    app: FastAPI = asgi(App(module, auth=INNER, policies={"boss": ["boss"]}))

    @app.get("/own", dependencies=[Depends(require_permissions(["boss"]))])
    async def own() -> str:
        return "own"

    @app.get("/user")
    async def user(request: Request) -> bool:
        return get_current_user(request) is None

    return app


def of_uno() -> FastAPI:
    return asgi(App(Module("shop"), auth=OUTER))


def plain() -> Any:
    app = FastAPI()
    app.add_middleware(AuthMiddleware, provider=OUTER)
    return app


@pytest.mark.parametrize("outer", [of_uno, plain])
async def test_a_token_of_another_provider_opens_nothing_in_a_mounted_application(outer: Callable[[], FastAPI]) -> None:
    app, inner = outer(), admin()
    app.mount("/admin", inner)
    token = await OUTER.create_token({"sub": "mallory", "permissions": ["boss"]})
    headers = {"Authorization": f"Bearer {token}"}
    with TestClient(inner), TestClient(app) as client:
        assert client.get("/admin/boss", headers=headers).status_code == 401
        assert client.get("/admin/own", headers=headers).status_code == 401
        assert client.get("/admin/user", headers=headers).json() is True
        assert client.get("/admin/who", headers=headers).json() == [None, None]
