"""The resources of a FastAPI application: closed with it, and shown to those who may see them."""

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.testclient import TestClient

from uno import clock
from uno.aio import ResourceMonitor, get_async_manager, get_resource_monitor, get_resource_registry
from uno.api import (
    AuthMiddleware,
    AuthProvider,
    TokenClaims,
    asgi,
    create_health_endpoint,
    create_resource_monitoring_endpoints,
    setup_resource_management,
)
from uno.app import App, Module
from uno.errors import Misconfigured
from uno.health import Check


class Tokens(AuthProvider):
    """The token is the permission."""

    async def validate_token(self, token: str) -> TokenClaims:
        return TokenClaims("somebody", clock.now() + timedelta(hours=1), clock.now(), [token])

    async def create_token(self, claims: TokenClaims | Mapping[str, Any]) -> str:
        raise NotImplementedError


class Cache:
    def __init__(self, story: list[str]) -> None:
        self.story = story

    async def start(self) -> None:
        self.story.append("started")

    async def close(self) -> None:
        self.story.append("closed")


def plain(story: list[str]) -> FastAPI:
    app = FastAPI()
    setup_resource_management(app)

    @app.get("/open")
    async def use() -> str:
        registry = get_resource_registry()
        await registry.register("cache", Cache(story), depends_on="payments" if "payments" in registry else ())
        registry.breaker("payments", failure_threshold=1).record_failure()
        return "done"

    return app


def test_resources_are_closed_with_the_application() -> None:
    story: list[str] = []
    with TestClient(plain(story)) as client:
        assert client.get("/open").json() == "done"
        assert story == ["started"]
    assert story == ["started", "closed"]


def test_set_up_twice_it_is_set_up_once_and_asgi_has_done_it() -> None:
    story: list[str] = []
    app = plain(story)
    setup_resource_management(app)
    assert len(app.user_middleware) == 1
    api = asgi(App())
    setup_resource_management(api)
    assert api.user_middleware == []


def test_health_without_checks_says_how_the_resources_are() -> None:
    app = plain([])
    create_health_endpoint(app)
    with TestClient(app) as client:
        assert client.get("/health").json()["checks"] == []
        client.get("/open")
        found = client.get("/health")
    assert (found.status_code, found.json()["status"]) == (200, "degraded")
    assert found.json()["checks"][0]["message"] == "payments is unhealthy"


@pytest.fixture
def monitor() -> Iterator[ResourceMonitor]:
    monitor = get_resource_monitor()
    yield monitor
    monitor.remove_health_check("disk")


def test_health_without_resources_asks_what_is_registered_to_be_asked(monitor: ResourceMonitor) -> None:
    app = FastAPI()
    create_health_endpoint(app)
    monitor.register_health_check("disk", lambda: 1 / 0)
    with TestClient(app) as client:
        found = client.get("/health")
    assert (found.status_code, found.json()["status"]) == (503, "unhealthy")
    assert found.json()["checks"][0]["message"] == "disk is unhealthy: division by zero"


def test_health_of_an_app_has_its_own_checks_and_the_resources(monitor: ResourceMonitor) -> None:
    api = asgi(App(Module("shop", checks=[Check("till", lambda: None)]), database="sqlite:///:memory:"))
    create_health_endpoint(api)
    monitor.register_health_check("disk", lambda: True)
    with TestClient(api) as client:
        found = client.get("/health").json()
        assert {check["name"]: check["status"] for check in found["checks"]} == {
            "database": "healthy",
            "till": "healthy",
            "resources": "healthy",
        }
        assert client.portal is not None
        client.portal.call(api.state.uno.database.close)
        found = client.get("/health")
    assert found.status_code == 503
    assert {check["name"] for check in found.json()["checks"] if check["status"] == "unhealthy"} == {
        "database",
        "resources",
    }


@pytest.mark.parametrize(
    "function", [setup_resource_management, create_health_endpoint, create_resource_monitoring_endpoints]
)
def test_an_app_is_not_what_answers_requests(function: Callable[[Any], None]) -> None:
    with pytest.raises(Misconfigured, match=rf"{function.__name__}\(\) takes what answers requests: api = asgi\(app\)"):
        function(App())


def test_the_grace_period_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNO_GRACE", "0.25")
    app, own = FastAPI(), FastAPI()
    setup_resource_management(app)
    setup_resource_management(own, grace=3)
    for one, grace in (app, 0.25), (own, 3):
        with TestClient(one) as client:
            assert client.portal is not None
            assert client.portal.call(lambda: get_async_manager().grace) == grace


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_told_to_stop_it_is_not_ready_and_still_alive(path: str) -> None:
    with TestClient(asgi(App())) as client:
        assert client.get(path).status_code == 200
        assert client.portal is not None
        client.portal.call(lambda: get_async_manager().request_shutdown())
        found = client.get(path)
        assert found.status_code == 503
        assert found.json()["checks"][0]["message"] == "the process was told to stop"
        assert found.headers["connection"] == "close"
        assert client.get("/health/live").status_code == 200


# ── looking ──


Ways = ["/management/resources", "/management/resources/payments", "/management/health"]


@pytest.mark.parametrize("path", Ways)
def test_unless_it_is_opened_nobody_looks_at_them(path: str) -> None:
    app = plain([])
    create_resource_monitoring_endpoints(app)
    with TestClient(app) as client:
        assert client.get(path).status_code == 401


@pytest.mark.parametrize(
    ("access", "token", "status"),
    [
        ("management", "management", 200),
        ("management", "other", 403),
        ("authenticated", "other", 200),
        ("authenticated", None, 401),
        ("open", "other", 200),
    ],
)
def test_who_may_looks_at_them(access: str, token: str | None, status: int) -> None:
    app = plain([])
    app.add_middleware(AuthMiddleware, provider=Tokens())
    create_resource_monitoring_endpoints(app, access=access)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with TestClient(app) as client:
        assert client.get("/open", headers={"Authorization": "Bearer x"}).status_code == 200
        for path in Ways:
            assert client.get(path, headers=headers).status_code == status


def test_what_is_shown_is_what_is_there() -> None:
    app = plain([])
    create_resource_monitoring_endpoints(app, "/ops/", access="open")
    with TestClient(app) as client:
        client.get("/open")
        found = client.get("/ops/resources").json()["resources"]
        assert found["cache"] == {"type": "Cache", "health": "unknown", "message": "", "depends_on": [], "figures": {}}
        assert found["payments"]["health"] == "unhealthy"
        assert client.get("/ops/resources/payments").json() == found["payments"]
        assert client.get("/ops/resources/nothing").status_code == 404
        assert client.get("/ops/health").json()["overall_health"] == "unhealthy"


@pytest.mark.parametrize("app", [None, APIRouter(), FastAPI])
@pytest.mark.parametrize(
    "function", [setup_resource_management, create_health_endpoint, create_resource_monitoring_endpoints]
)
def test_what_is_no_application_is_refused(function: Callable[[Any], None], app: object) -> None:
    with pytest.raises(Misconfigured, match=rf"^{function.__name__}\(\) takes an application of FastAPI, not "):
        function(app)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"grace": "10"}, "grace of .* is a number, not '10'"),
        ({"linger": "1"}, "linger of .* is a number, not '1'"),
        ({"linger": math.nan}, "linger of .* is a number, not nan"),
        ({"grace": -1}, "grace of .* is 0 seconds or more, not -1"),
        ({"linger": -3}, "linger of .* is 0 seconds or more, not -3"),
        ({"grace": 1, "linger": 5}, "linger of .* is within the grace of 1 s, not 5 s"),
    ],
)
def test_seconds_that_cannot_be_are_refused_at_the_call(given: dict[str, Any], why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        setup_resource_management(FastAPI(), **given)


def test_a_grace_that_is_shorter_than_the_usual_linger_needs_no_other_one() -> None:
    setup_resource_management(FastAPI(), grace=0.5)


def test_paths_that_are_taken_are_refused() -> None:
    app = FastAPI()
    create_resource_monitoring_endpoints(app)
    with pytest.raises(Misconfigured, match="GET /management/resources"):
        create_resource_monitoring_endpoints(app)
