"""Health over HTTP: who is asked, and with which status it is answered."""

import logging
from typing import Any

import pytest
from fastapi.testclient import TestClient

from uno.api import asgi
from uno.app import App, Module
from uno.health import Check, HealthStatus
from uno.settings import ApiSettings, Settings


def client_with(*checks: Check, **options: Any) -> TestClient:
    return TestClient(asgi(App(Module("m", checks=checks), **options)))


async def broken() -> None:
    raise ConnectionError("no route to database")


async def degraded() -> HealthStatus:
    return HealthStatus.DEGRADED


def test_ready_says_what_is_wrong_and_is_unavailable() -> None:
    response = client_with(Check("database", broken)).get("/health/ready")
    assert response.status_code == 503
    assert response.json()["status"] == "unhealthy"
    assert response.json()["checks"][0]["message"] == "no route to database"
    assert response.headers["cache-control"] == "no-store"


def test_live_does_not_ask_what_only_readiness_needs() -> None:
    response = client_with(Check("database", broken)).get("/health/live")
    assert response.status_code == 200
    assert response.json()["checks"] == []


def test_live_asks_the_checks_that_are_marked_for_it() -> None:
    assert client_with(Check("loop", broken, liveness=True)).get("/health/live").status_code == 503


def test_degraded_still_answers() -> None:
    response = client_with(Check("cache", degraded)).get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")


def test_health_carries_a_correlation_id_and_answers_head() -> None:
    client = client_with()
    assert client.get("/health/live").headers["x-correlation-id"]
    assert client.head("/health/ready").status_code == 200


def test_the_users_own_health_comes_first_and_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    api = asgi(App())

    @api.get("/health/live")
    async def mine() -> str:
        return "mine"

    with caplog.at_level(logging.INFO, "uno.api"), TestClient(api) as client:
        assert client.get("/health/live").json() == "mine"
        assert client.get("/health/ready").status_code == 200
    assert "/health/live is the application's own" in caplog.text


def test_a_route_for_every_path_does_not_hide_health() -> None:
    api = asgi(App())

    @api.get("/{path:path}")
    async def everything(path: str) -> str:
        return path

    client = TestClient(api)
    assert client.get("/health/live").json()["status"] == "healthy"
    assert client.get("/anything/else").json() == "anything/else"


@pytest.mark.parametrize(("docs", "status"), [(True, 200), (False, 404)])
def test_docs_are_there_unless_the_settings_say_no(docs: bool, status: int) -> None:
    client = client_with(settings=Settings(api=ApiSettings(docs=docs)))
    assert client.get("/openapi.json").status_code == status
    assert client.get("/docs").status_code == status
    assert client.get("/redoc").status_code == 404
