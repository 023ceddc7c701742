"""The context of a request: what it may bring along, and what it may not."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, strategies as st
from starlette.exceptions import HTTPException

from uno import context
from uno.api import asgi
from uno.api.entrance import Entrance
from uno.app import App, Module
from uno.bus import query_handler
from uno.messages import Query

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class GetContext(Query[dict[str, Any]]):
    pass


@query_handler(GetContext)
async def get_context(query: GetContext) -> dict[str, Any]:
    return context.current().to_json()


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(asgi(App(Module("m", handlers=[get_context], routes=[GetContext])))) as client:
        yield client


def test_a_request_without_an_id_gets_a_new_one_each_time(client: TestClient) -> None:
    first, second = client.get("/contexts"), client.get("/contexts")
    assert first.headers["x-correlation-id"] == first.json()["correlation_id"]
    assert first.headers["x-correlation-id"] != second.headers["x-correlation-id"]


@pytest.mark.parametrize("header", ["X-Correlation-ID", "x-request-id"])
def test_a_harmless_id_from_outside_is_kept_and_echoed(client: TestClient, header: str) -> None:
    response = client.get("/contexts", headers={header: "order-7.b_C"})
    assert response.headers["x-correlation-id"] == response.json()["correlation_id"] == "order-7.b_C"


def test_the_correlation_id_comes_before_the_request_id(client: TestClient) -> None:
    response = client.get("/contexts", headers={"X-Request-ID": "b", "X-Correlation-ID": "a"})
    assert response.headers["x-correlation-id"] == "a"


@pytest.mark.parametrize("value", ["", "a b", "a;b", "ä", "x" * 129, "<script>", "a\tb"])
def test_any_other_id_from_outside_is_replaced(client: TestClient, value: str) -> None:
    response = client.get("/contexts", headers={"X-Correlation-ID": value.encode("latin-1")})
    assert response.json()["correlation_id"] != value
    assert len(response.headers["x-correlation-id"]) == 32


def test_the_trace_of_the_caller_goes_on(client: TestClient) -> None:
    response = client.get("/contexts", headers={"traceparent": TRACE})
    assert response.json()["traceparent"][3:35] == TRACE[3:35]


@pytest.mark.parametrize("flags", ["00", "01"])
@pytest.mark.parametrize("header", ["00-{}-{}", "cc-{}-{}-what.comes=later"])
def test_whether_the_caller_keeps_the_trace_goes_on_with_it(client: TestClient, header: str, flags: str) -> None:
    traceparent = header.format(TRACE[3:52], flags)
    found = client.get("/contexts", headers={"traceparent": traceparent}).json()["traceparent"]
    assert (found[:35], found[-3:]) == (TRACE[:35], f"-{flags}")


@pytest.mark.parametrize(
    "value", ["nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", TRACE.upper(), TRACE + "-x", "ff" + TRACE[2:]]
)
def test_a_trace_that_is_none_is_ignored(client: TestClient, value: str) -> None:
    response = client.get("/contexts", headers={"traceparent": value})
    assert response.json()["traceparent"][3:35] == response.headers["x-correlation-id"]


@pytest.mark.parametrize("correlation", ["order-7", "z" * 32, "0" * 32])
def test_an_id_that_cannot_name_a_trace_still_has_one(client: TestClient, correlation: str) -> None:
    response = client.get("/contexts", headers={"X-Correlation-ID": correlation})
    trace = response.json()["traceparent"][3:35]
    assert int(trace, 16) > 0


def test_nothing_else_comes_from_a_header(client: TestClient) -> None:
    headers = {"X-User": "root", "X-Tenant": "acme", "X-Tenant-ID": "acme", "X-Actor": "root"}
    got = client.get("/contexts", headers=headers).json()
    assert got["actor_source"] == "system"
    assert "actor" not in got
    assert "tenant" not in got


def test_the_context_of_a_request_ends_with_it(client: TestClient) -> None:
    client.get("/contexts", headers={"X-Correlation-ID": "mine"})
    assert context.get() is None


@given(
    st.lists(
        st.tuples(st.sampled_from([b"x-correlation-id", b"traceparent", b"content-length"]), st.binary(max_size=40))
    )
)
async def test_no_header_breaks_the_entrance(headers: list[tuple[bytes, bytes]]) -> None:
    sent: list[Any] = []

    async def inner(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    await Entrance(inner, 10)({"type": "http", "headers": headers, "path": "/"}, receive, send)
    echoed = dict(sent[0]["headers"])[b"x-correlation-id"].decode()
    assert context.external_id(echoed) == echoed


async def enter(headers: list[tuple[bytes, bytes]], method: str, pieces: list[bytes]) -> tuple[list[Any], list[bytes]]:
    """What the entrance sends, and what an application behind it read of a body in pieces."""
    sent: list[Any] = []
    read: list[bytes] = []
    left = list(pieces)

    async def inner(_scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            read.append(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    scope = {"type": "http", "http_version": "2", "method": method, "headers": headers, "path": "/"}
    await Entrance(inner, 10)(scope, receive, send)
    return sent, read


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
@pytest.mark.parametrize("headers", [[], [(b"content-length", b"many")], [(b"transfer-encoding", b"chunked")]])
async def test_a_body_without_a_length_is_limited_too(headers: list[tuple[bytes, bytes]], method: str) -> None:
    """As HTTP/2 servers hand it over: without any header."""
    with pytest.raises(HTTPException) as caught:
        await enter(headers, method, [b"12345"] * 3)
    assert caught.value.status_code == 413
    sent, read = await enter(headers, method, [b"12345"] * 2)
    assert (sent[0]["status"], read) == (200, [b"12345"] * 2)


@pytest.mark.parametrize("length", [b"11", b"9" * 30, b"9" * 5000])
async def test_a_length_beyond_the_limit_is_refused_whatever_its_digits(length: bytes) -> None:
    sent, read = await enter([(b"content-length", length)], "POST", [b"12345"] * 3)
    assert (sent[0]["status"], read) == (413, [])


async def test_two_lengths_are_refused() -> None:
    headers = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    sent, read = await enter(headers, "POST", [b"12345"])
    assert (sent[0]["status"], read) == (400, [])
    assert (b"connection", b"close") in sent[0]["headers"]
