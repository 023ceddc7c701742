"""Every error is a problem document."""

import logging
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from pydantic import BaseModel

from uno.api import asgi, register_error_handlers
from uno.app import App
from uno.errors import Invalid, NotFound, Unavailable, again

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

KINDS = [
    ("invalid", 422, "invalid"),
    ("conflict", 409, "conflict"),
    ("version", 409, "version-conflict"),
    ("unauthenticated", 401, "unauthenticated"),
    ("forbidden", 403, "forbidden"),
    ("limited", 429, "rate-limited"),
    ("unavailable", 503, "unavailable"),
    ("unknown", 503, "outcome-unknown"),
    ("late", 504, "timed-out"),
    ("refused", 422, "refused"),
    ("bug", 500, "internal"),
    ("misconfigured", 500, "internal"),
]


def check(response: Any, status: int, slug: str) -> dict[str, Any]:
    document: dict[str, Any] = response.json()
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == status
    assert document["type"] == f"urn:uno:problem:{slug}"
    assert document["title"]
    assert document["detail"]
    assert document["instance"] == response.request.url.path
    assert document["correlation_id"] == response.headers["x-correlation-id"]
    assert len(document["trace_id"]) == 32
    return document


@pytest.mark.parametrize(("how", "status", "slug"), KINDS)
@pytest.mark.parametrize("way", ["", "as-result-"])
def test_each_error_has_its_status_and_its_type(client: TestClient, how: str, status: int, slug: str, way: str) -> None:
    check(client.post("/fail", json={"how": way + how}), status, slug)


def test_an_invalid_input_names_its_fields(client: TestClient) -> None:
    document = client.post("/fail", json={"how": "invalid"}).json()
    assert document["errors"] == [{"field": "email", "message": "is taken", "code": "taken"}]


def test_the_number_of_a_row_is_in_each_sentence() -> None:
    api = FastAPI()
    register_error_handlers(api)

    @api.get("/bulk")
    def refuse() -> None:
        raise again(Invalid.field("sku", "It is taken.", "taken"), row=3)

    document = TestClient(api).get("/bulk").json()
    assert document["detail"] == "sku: It is taken (row 3)."
    assert document["errors"] == [{"field": "sku", "message": "It is taken (row 3).", "code": "taken"}]


@pytest.mark.parametrize(("how", "seconds"), [("limited", "3"), ("unavailable", "1"), ("unknown", "1")])
def test_what_may_be_tried_again_says_when(client: TestClient, how: str, seconds: str) -> None:
    assert client.post("/fail", json={"how": how}).headers["retry-after"] == seconds


def test_who_is_not_logged_in_is_told_how(client: TestClient) -> None:
    assert client.post("/fail", json={"how": "unauthenticated"}).headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("how", ["bug", "misconfigured", "as-result-bug"])
def test_a_bug_tells_the_client_nothing_and_the_log_everything(
    client: TestClient, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    with caplog.at_level(logging.ERROR):
        response = client.post("/fail", json={"how": how})
    assert "hunter2" not in response.text
    [record] = [r for r in caplog.records if r.name == "uno.api"]
    assert record.exc_info is not None
    assert "hunter2" in str(record.exc_info[1])
    assert vars(record)["path"] == "/fail"


def test_a_bug_reaches_a_test_client_that_wants_it(app: App) -> None:
    with TestClient(asgi(app)) as client, pytest.raises(RuntimeError, match="hunter2"):
        client.post("/fail", json={"how": "bug"})


def test_what_is_not_there_is_a_problem(client: TestClient) -> None:
    assert check(client.get("/nothing"), 404, "not-found")["detail"] == "There is nothing at /nothing."


def test_a_method_that_is_not_answered_is_a_problem_that_names_those_that_are(client: TestClient) -> None:
    response = client.patch("/users/1")
    assert check(response, 405, "method-not-allowed")["detail"] == "/users/1 does not answer PATCH."
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


def test_a_slash_too_many_is_a_problem_and_sends_nobody_to_the_host_header(client: TestClient) -> None:
    response = client.get("/users/", headers={"Host": "evil.example"}, follow_redirects=False)
    check(response, 404, "not-found")
    assert "location" not in response.headers


def test_slashes_are_redirected_where_the_user_asks_for_it(app: App) -> None:
    with TestClient(asgi(app, redirect_slashes=True)) as client:
        assert client.get("/users/", follow_redirects=False).status_code == 307


def test_the_trace_of_the_caller_is_in_the_problem(client: TestClient) -> None:
    assert client.get("/nothing", headers={"traceparent": TRACE}).json()["trace_id"] == TRACE[3:35]


def test_a_strange_path_is_quoted(client: TestClient) -> None:
    document = client.get("/n%C3%B6thing%20here").json()
    assert document["instance"] == "/n%C3%B6thing%20here"


# ── the user's own FastAPI routes ──


class Body(BaseModel):
    size: int


@pytest.fixture(params=["asgi", "plain"])
def own(request: pytest.FixtureRequest, app: App) -> TestClient:
    """Routes of the user's own, in uno's application and in a plain FastAPI."""
    api = asgi(app) if request.param == "asgi" else FastAPI()
    if request.param == "plain":
        register_error_handlers(api)

    @api.post("/own")
    async def post(body: Body, page: int = 1) -> dict[str, int]:
        return {"size": body.size, "page": page}

    @api.get("/raises/{what}")
    async def raises(what: str) -> None:
        errors: dict[str, Exception] = {
            "not-found": NotFound("Thing", "7"),
            "http": HTTPException(418, "short and stout", {"X-Pot": "tea"}),
            "data": HTTPException(409, {"left": 3}),
            "odd": HTTPException(599, "odd"),
            "empty": HTTPException(304),
            "bug": RuntimeError("hunter2"),
            "timeout": TimeoutError(),
            "invalid": Invalid.field("email", "is taken", "taken"),
        }
        raise errors[what]

    return TestClient(api, raise_server_exceptions=False)


def test_fastapis_own_validation_is_a_problem(own: TestClient) -> None:
    response = own.post("/own?page=x", json={"size": "y"})
    document = response.json()
    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")
    assert sorted(e["field"] for e in document["errors"]) == ["page", "size"]
    assert {part.partition(":")[0] for part in document["detail"].split("; ")} == {"page", "size"}


def test_malformed_json_for_fastapi_is_a_problem(own: TestClient) -> None:
    response = own.post("/own", content=b"{", headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (400, "urn:uno:problem:malformed")


def test_an_error_of_unos_tree_is_a_problem_in_any_route(own: TestClient) -> None:
    response = own.get("/raises/not-found")
    assert (response.status_code, response.json()["detail"]) == (404, "There is no Thing with id '7'.")


def test_an_invalid_input_names_its_fields_in_any_route(own: TestClient) -> None:
    document = own.get("/raises/invalid").json()
    assert document["detail"] == "email: is taken"
    assert document["errors"] == [{"field": "email", "message": "is taken", "code": "taken"}]


def test_an_http_exception_keeps_its_status_its_words_and_its_headers(own: TestClient) -> None:
    response = own.get("/raises/http")
    assert response.status_code == 418
    assert response.headers["x-pot"] == "tea"
    assert response.json()["detail"] == "short and stout"
    assert response.json()["type"] == "about:blank"


def test_an_http_exception_keeps_its_data(own: TestClient) -> None:
    assert own.get("/raises/data").json()["data"] == {"left": 3}


def test_a_status_nobody_knows_is_a_problem(own: TestClient) -> None:
    assert own.get("/raises/odd").json()["status"] == 599


def test_a_status_without_a_body_has_none(own: TestClient) -> None:
    assert own.get("/raises/empty").content == b""


@pytest.mark.parametrize("what", ["bug", "timeout"])
def test_a_bug_in_any_route_is_a_problem_without_details(own: TestClient, what: str) -> None:
    response = own.get(f"/raises/{what}")
    assert (response.status_code, response.json()["type"]) == (500, "urn:uno:problem:internal")
    assert "hunter2" not in response.text


@pytest.mark.parametrize(("how", "status"), [("unavailable", 503), ("unknown", 503), ("late", 504)])
def test_what_is_not_the_clients_is_one_line_in_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture, how: str, status: int
) -> None:
    response = client.post("/fail", json={"how": how})
    [line] = [vars(record) for record in caplog.records if record.name == "uno.api"]
    assert (line["levelname"], line["method"], line["path"], line["status"]) == ("WARNING", "POST", "/fail", status)
    assert line["correlation_id"] == response.headers["x-correlation-id"]


def test_the_line_has_the_template_of_the_path(caplog: pytest.LogCaptureFixture) -> None:
    api = FastAPI()
    register_error_handlers(api)

    @api.get("/things/{thing_id}")
    async def thing(thing_id: str) -> None:
        raise Unavailable(f"{thing_id} is away")

    assert TestClient(api).get("/things/7").status_code == 503
    assert [vars(record)["path"] for record in caplog.records if record.name == "uno.api"] == ["/things/{thing_id}"]


@pytest.mark.parametrize("how", ["invalid", "conflict", "limited", "forbidden"])
def test_what_is_the_clients_is_no_line_in_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    client.post("/fail", json={"how": how})
    assert [record for record in caplog.records if record.name == "uno.api"] == []
