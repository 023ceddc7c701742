"""Whatever a handler raises, the client gets a problem document, and the log a line."""

import logging
import math
from typing import Any

import pytest
from fastapi.testclient import TestClient

from uno import App, Module, Query, query_handler
from uno.api import asgi
from uno.app import Route
from uno.errors import Conflict, Forbidden, RateLimited, Unavailable
from uno.telemetry import configure_logging


class Ask(Query[str]):
    pass


class Mute(Exception):
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Odd(BaseException):
    pass


def client_of(error: BaseException) -> TestClient:
    @query_handler(Ask)
    async def fail(query: Ask) -> str:
        raise error

    app = App(Module("m", handlers=[fail], routes=[Route(Ask, method="GET", path="/ask")]))
    return TestClient(asgi(app), raise_server_exceptions=False)


@pytest.mark.parametrize(
    "error", [Mute("down"), Odd(), BaseExceptionGroup("two", [SystemExit(1)]), SystemExit(1)], ids=lambda e: repr(e)
)
def test_the_oddest_error_is_a_problem(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    response = client_of(error).get("/ask")
    assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
    assert "unhandled error" in caplog.text


def test_an_error_that_cannot_be_written_down_is_named_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        configure_logging(json=True)
        client_of(Mute("down")).get("/ask")
    finally:
        root.handlers, root.level = before[0], before[1]
    [line] = [line for line in capsys.readouterr().err.splitlines() if "unhandled error" in line]
    assert "Mute" in line


@pytest.mark.parametrize(
    ("said", "header"), [(math.inf, "86400"), (math.nan, "1"), ("soon", "1"), (-3, "1"), (10**400, "86400"), (1.2, "2")]
)
@pytest.mark.parametrize("kind", [Unavailable, RateLimited])
def test_when_to_come_back_is_a_number_of_seconds(kind: Any, said: Any, header: str) -> None:
    response = client_of(kind("later", retry_after=said)).get("/ask")
    assert response.status_code in (429, 503)
    assert response.headers["retry-after"] == header


@pytest.mark.parametrize("status", [99, 200, 600, 10**9, True])
def test_what_is_no_status_of_an_error_does_not_become_one(status: int) -> None:
    error = Conflict("taken")
    vars(error)["status_code"] = status
    assert client_of(error).get("/ask").status_code == 409


@pytest.mark.parametrize("more", [None, "text", {"status": 200, "type": "x", "hint": "later"}])
def test_an_error_may_add_members_and_take_none_away(more: Any) -> None:
    error = Conflict("taken")
    vars(error)["extensions"] = more
    problem = client_of(error).get("/ask").json()
    assert (problem["status"], problem["type"]) == (409, "urn:uno:problem:conflict")
    assert problem.get("hint") == ("later" if isinstance(more, dict) else None)


def test_a_challenge_stays_on_its_line() -> None:
    error = Forbidden("no")
    vars(error)["challenge"] = "Bearer\r\nx-admin: 1"
    response = client_of(error).get("/ask")
    assert response.status_code == 403
    assert "x-admin" not in response.headers
