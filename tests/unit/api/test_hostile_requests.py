"""Requests that are made to cost much, or to break something."""

from asyncio import CancelledError
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from uno.api import asgi
from uno.app import App, Module
from uno.bus import command_handler
from uno.messages import Command

JSON = {"Content-Type": "application/json"}


class SuspendThing(Command[None]):
    thing_id: str


def answering(answer: Callable[[], None]) -> TestClient:
    """A client of an application whose handler calls `answer`."""

    @command_handler(SuspendThing)
    async def suspend(_: SuspendThing) -> None:
        answer()

    api = asgi(App(Module("things", handlers=[suspend], routes=[SuspendThing])))
    return TestClient(api, raise_server_exceptions=False)


@pytest.mark.parametrize(("times", "status"), [(1, 422), (2, 400)])
def test_a_flood_of_keys_gets_a_short_answer(times: int, status: int) -> None:
    members = [b'"k%d":1' % n for n in range(20_000)] * times
    body = b"{" + b",".join(members) + b"}"
    response = answering(lambda: None).post("/things/1/suspend", content=body, headers=JSON)
    assert response.status_code == status
    assert len(response.content) < 20_000
    assert 0 < len(response.json()["errors"]) <= 100


@pytest.mark.parametrize("body", [b'{"%s": 1}', b'{"%s": 1, "%s": 1}', b'{"%s": "\\u0000"}'])
def test_the_name_of_a_key_is_cut_short(body: bytes) -> None:
    body = body.replace(b"%s", b"x" * 100_000)
    response = answering(lambda: None).post("/things/1/suspend", content=body, headers=JSON)
    assert response.status_code in (400, 422)
    assert len(response.content) < 2_000


def test_no_depth_of_a_body_is_a_bug() -> None:
    client = answering(lambda: None)
    for depth in (*range(150, 250), *range(850, 1_000)):
        body = b'{"thing_id":' + b"[" * depth + b"1" + b"]" * depth + b"}"
        assert client.post("/things/1/suspend", content=body, headers=JSON).status_code in (400, 422)


@pytest.mark.parametrize("error", [SystemExit(3), CancelledError()])
def test_a_handler_that_would_end_the_server_is_a_bug(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def end() -> None:
        raise error

    client = answering(end)
    response = client.post("/things/1/suspend", json={})
    assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
    logged = [one for one in caplog.records if one.name == "uno.api" and one.exc_info]
    assert len(logged) == 1
    assert type(error).__name__ in str(logged[0].exc_info)
