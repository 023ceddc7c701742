"""Health and metrics on any FastAPI application, and what `asgi` has of them itself."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from uno import clock
from uno.api import add_health_endpoints, add_metrics_endpoint, asgi, create_health_endpoint
from uno.app import App, Module
from uno.bus import command_handler
from uno.errors import Misconfigured
from uno.health import Check, HealthCheck, HealthStatus
from uno.messages import Command
from uno.modules import Event, EventInput, EventOutput, ModuleHost, ModuleHostConfig, module
from uno.resilience import CircuitBreaker, DeadLetterQueue
from uno.settings import ApiSettings, Settings


class Later(clock.SystemClock):
    """An hour after everything that was made before."""

    def monotonic(self) -> float:
        return super().monotonic() + 3600


async def broken() -> None:
    raise ConnectionError("no route to cache")


def statuses(client: TestClient, *paths: str) -> list[int]:
    return [client.get(path).status_code for path in paths]


def paths(prefix: str) -> list[str]:
    return [prefix, f"{prefix}/live", f"{prefix}/ready"]


@pytest.mark.parametrize(
    ("answer", "live", "expected"),
    [
        (HealthStatus.HEALTHY, True, [200, 200, 200]),
        (HealthStatus.DEGRADED, True, [200, 200, 200]),
        (HealthStatus.UNHEALTHY, True, [503, 503, 503]),
        (HealthStatus.UNHEALTHY, False, [503, 200, 503]),
    ],
)
def test_degraded_still_answers_and_unhealthy_does_not(answer: HealthStatus, live: bool, expected: list[int]) -> None:
    health = HealthCheck(version="1.2")
    health.add_check("cache", lambda: answer, liveness=live)
    app = FastAPI()
    add_health_endpoints(app, health, prefix="/status")
    client = TestClient(app)
    assert statuses(client, *paths("/status")) == expected
    report = client.get("/status").json()
    assert (report["status"], report["version"]) == (answer.value, "1.2")
    assert client.get("/status").headers["cache-control"] == "no-store"


def test_a_host_without_modules_is_degraded() -> None:
    app = FastAPI()
    with ModuleHost(ModuleHostConfig()) as host:
        add_health_endpoints(app, HealthCheck(host))
        response = TestClient(app).get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")


def test_one_health_endpoint_says_that_the_process_answers() -> None:
    app = FastAPI()
    create_health_endpoint(app)
    assert TestClient(app).get("/health").json()["status"] == "healthy"


def test_a_second_registration_of_a_path_is_an_error_that_names_it() -> None:
    app = FastAPI()
    add_health_endpoints(app, HealthCheck())
    with pytest.raises(Misconfigured, match="GET /health") as raised:
        add_health_endpoints(app, HealthCheck())
    assert len(raised.value.problems) == 3
    with pytest.raises(Misconfigured, match="have the same path"):
        create_health_endpoint(app, path="/health/live")


def test_a_path_that_the_application_has_is_an_error() -> None:
    app = FastAPI()

    @app.get("/metrics")
    async def mine() -> str:
        return "mine"

    with ModuleHost(ModuleHostConfig()) as host, pytest.raises(Misconfigured, match="mine and the endpoint /metrics"):
        add_metrics_endpoint(app, host)


def with_a_late_route() -> FastAPI:
    app = FastAPI()
    add_health_endpoints(app, HealthCheck())

    @app.get("/health/live")
    async def late() -> str:
        return "late"

    return app


async def started(app: FastAPI) -> tuple[list[dict[str, Any]], BaseException | None]:
    """What a server is told that starts the application, and what it raises."""
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        told.append(message)

    try:
        await app({"type": "lifespan", "state": {}}, receive, send)
    except Misconfigured as error:
        return told, error
    return told, None


async def test_with_a_route_that_comes_later_on_the_same_path_the_application_does_not_start() -> None:
    told, error = await started(with_a_late_route())
    assert [one["type"] for one in told] == ["lifespan.startup.failed"]
    assert "/health/live and late have the same path" in told[0]["message"]
    assert "GET /health/live" in str(error)


async def test_the_applications_own_lifespan_runs_where_nothing_clashes_and_not_where_something_does() -> None:
    ran: list[str] = []

    @asynccontextmanager
    async def own(_app: FastAPI) -> AsyncIterator[dict[str, str]]:
        ran.append("began")
        yield {"pool": "open"}
        ran.append("ended")

    app = FastAPI(lifespan=own)
    add_health_endpoints(app, HealthCheck())
    add_health_endpoints(app, HealthCheck(), "/status")
    with TestClient(app) as client:
        assert client.app_state == {"pool": "open"}
    assert ran == ["began", "ended"]
    app.get("/status")(lambda: "late")
    _, error = await started(app)
    assert (error is None, ran) == (False, ["began", "ended"])


def test_where_no_lifespan_is_run_only_the_path_that_clashes_is_an_error() -> None:
    client = TestClient(with_a_late_route(), raise_server_exceptions=False)
    assert statuses(client, *paths("/health")) == [200, 500, 200]
    assert [client.head(path).status_code for path in paths("/health")] == [200, 500, 200]
    outer = FastAPI()
    outer.mount("/inner", with_a_late_route())
    inner = TestClient(outer, raise_server_exceptions=False)
    assert statuses(inner, *paths("/inner/health")) == [200, 500, 200]
    with pytest.raises(Misconfigured, match="/health/live and late have the same path"):
        TestClient(with_a_late_route()).get("/health/live")


# ── metrics ──


class Ping(Command[str]):
    pass


def pinging() -> Module:
    @command_handler(Ping)
    async def ping(_command: Ping) -> str:
        return "pong"

    return Module("ping", handlers=[ping], routes=[Ping])


@pytest.mark.parametrize("opened", [{"metrics": True}, {}], ids=["by_argument", "by_setting"])
def test_metrics_of_an_application_are_prometheus_text(opened: dict[str, Any]) -> None:
    app = App(pinging(), settings=Settings(api=ApiSettings(metrics=not opened)))
    with TestClient(asgi(app, **opened)) as client:
        assert [client.post("/ping", json={}).json() for _ in range(3)] == ["pong"] * 3
        page = client.get("/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    [line] = [
        line for line in page.text.splitlines() if line.startswith("uno_message_seconds_count{") and "Ping" in line
    ]
    assert line.endswith(" 3.0")


def test_metrics_are_closed_unless_they_are_opened() -> None:
    with TestClient(asgi(App())) as client:
        assert statuses(client, "/metrics", "/health") == [404, 200]


def test_metrics_of_an_application_go_where_the_user_wants_them() -> None:
    app = App(pinging())
    plain = FastAPI()
    add_metrics_endpoint(plain, app, "/internal/metrics")
    assert "uno_message_seconds" in TestClient(plain).get("/internal/metrics").text


class Greet(Event[EventInput, EventOutput]):
    name = "app.greet"


@module(name="Greeter")
class Greeter(Module):
    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, Greet)

    def handle(self, event: Event[Any, Any]) -> None:
        event.handled = True


def test_metrics_of_a_host_are_json() -> None:
    config = ModuleHostConfig(
        enable_metrics=True, circuit_breaker=CircuitBreaker(), dead_letter_queue=DeadLetterQueue(max_size=3)
    )
    app = FastAPI()
    with ModuleHost(config).register(Greeter()) as host:
        add_metrics_endpoint(app, host, version="2.0")
        host.handle(Greet())
        found = TestClient(app).get("/metrics").json()
    assert found.pop("uptime_seconds") >= 0
    assert found.pop("events")["events_handled"] == 1
    assert found == {
        "version": "2.0",
        "modules": {"count": 1, "names": ["Greeter"]},
        "resilience": {
            "rate_limiter": False,
            "circuit_breaker": True,
            "retry_policy": False,
            "dead_letter_queue": True,
        },
        "circuit_breaker_state": "closed",
        "dlq_size": 0,
    }


def test_a_host_that_counts_nothing_says_so() -> None:
    app = FastAPI()
    with ModuleHost(ModuleHostConfig()) as host:
        add_metrics_endpoint(app, host)
        assert TestClient(app).get("/metrics").json()["events"] == {"metrics_enabled": False}


# ── asgi ──


def test_health_of_an_application_asks_every_check() -> None:
    with TestClient(asgi(App(Module("m", checks=[Check("cache", broken)])))) as client:
        assert statuses(client, *paths("/health")) == [503, 200, 503]
        assert client.get("/health").json()["checks"][0]["message"] == "no route to cache"


@pytest.mark.parametrize(
    ("of_app", "of_api"), [({"version": "1.2"}, {}), ({}, {"version": "1.2"})], ids=["of_the_app", "of_the_api"]
)
def test_health_of_an_application_says_its_version_and_since_when(of_app: Any, of_api: Any) -> None:
    app = App(**of_app)
    with clock.use(Later()), TestClient(asgi(app, **of_api)) as client:
        reports = [client.get(path).json() for path in paths("/health")]
        assert client.get("/openapi.json").json()["info"]["version"] == "1.2"
    assert [one["version"] for one in reports] == ["1.2"] * 3
    assert all(one["uptime_seconds"] > 60 for one in reports)


def test_health_of_an_application_goes_where_the_user_wants_it() -> None:
    app = App(Module("m", checks=[Check("cache", broken)]), version="1.2")
    app.health_check.add_check("disk", lambda: True)
    plain = FastAPI()
    add_health_endpoints(plain, app, "/status")
    client = TestClient(plain)
    assert statuses(client, *paths("/status")) == [503, 200, 503]
    report = client.get("/status").json()
    assert report["version"] == "1.2"
    assert {one["name"] for one in report["checks"]} == {"cache", "disk"}


def test_the_frameworks_own_health_gives_way_to_the_users(caplog: pytest.LogCaptureFixture) -> None:
    api = asgi(App(Module("m", checks=[Check("cache", broken)])), metrics=True)
    add_health_endpoints(api, HealthCheck())

    @api.get("/metrics")
    async def mine() -> str:
        return "mine"

    with caplog.at_level(logging.INFO, "uno.api"), TestClient(api) as client:
        assert statuses(client, *paths("/health")) == [200, 200, 200]
        assert client.get("/metrics").json() == "mine"
    assert caplog.text.count("is the application's own") == 4


def test_two_of_the_users_are_an_error_at_start() -> None:
    api = asgi(App())
    add_health_endpoints(api, HealthCheck())

    @api.get("/health")
    async def mine() -> str:
        return "mine"

    with pytest.raises(Misconfigured, match="GET /health"), TestClient(api):
        pass
