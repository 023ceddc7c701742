"""Errors that tasks of a group raised are answered as if the handler had raised the gravest of them."""

from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from uno.aio import ResourceRegistry, TaskGroup, managed_resource
from uno.api import ModuleRouter, asgi, register_error_handlers
from uno.app import App
from uno.errors import Conflict, NotFound, OutcomeUnknown, TimedOut
from uno.modules import Event, EventInput, EventOutput, Module, ModuleHost, module

ERRORS = {
    "conflict": Conflict("taken"),
    "not-found": NotFound("Order", 7),
    "timed-out": TimedOut("late"),
    "unknown": OutcomeUnknown("lost"),
    "bug": ZeroDivisionError(),
}


async def refuse(error: str) -> None:
    raise ERRORS[error]


async def all_of(errors: str) -> None:
    async with TaskGroup(on_error="collect") as group:
        for error in errors.split(","):
            group.create_task(refuse(error))


@dataclass
class AskInput(EventInput):
    errors: str


@dataclass
class AskOutput(EventOutput):
    pass


class Ask(Event[AskInput, AskOutput]):
    name = "ask"


@module("asked")
class Asked(Module):
    def can_handle(self, event: object) -> bool:
        return isinstance(event, Ask)

    async def handle(self, event: Event[Any, Any]) -> None:
        await all_of(event.input.errors)


def of_a_module() -> FastAPI:
    api, host = FastAPI(), ModuleHost()
    register_error_handlers(api)
    host.register(Asked())
    router = ModuleRouter(host)
    router.register_event(Ask)
    api.include_router(router.router)
    return api


def of_uno() -> FastAPI:
    return with_route(asgi(App()))


def of_fastapi() -> FastAPI:
    api = FastAPI()
    register_error_handlers(api)
    return with_route(api)


def with_route(api: FastAPI) -> FastAPI:
    @api.post("/ask")
    async def ask(body: AskInput) -> None:
        await all_of(body.errors)

    return api


@pytest.fixture(params=[of_uno, of_fastapi, of_a_module])
def client(request: pytest.FixtureRequest) -> TestClient:
    return TestClient(request.param(), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("errors", "status", "slug"),
    [
        ("conflict", 409, "conflict"),
        ("not-found,conflict", 404, "not-found"),
        ("timed-out", 504, "timed-out"),
        ("not-found,unknown", 503, "outcome-unknown"),
        ("not-found,bug", 500, "internal"),
    ],
)
def test_a_group_is_answered_as_its_gravest_error(client: TestClient, errors: str, status: int, slug: str) -> None:
    response = client.post("/ask", json={"errors": errors})
    assert (response.status_code, response.json()["type"]) == (status, f"urn:uno:problem:{slug}")


def test_what_could_not_start_says_to_the_log_why_and_not_to_the_client(caplog: pytest.LogCaptureFixture) -> None:
    api = FastAPI()
    register_error_handlers(api)

    async def fail() -> None:
        raise KeyError("internal")

    @api.get("/sold")
    async def sold() -> None:
        async with managed_resource(object(), "till", start=fail, close=fail, registry=ResourceRegistry()):
            pass

    response = TestClient(api).get("/sold")
    assert (response.status_code, response.json()["detail"]) == (503, "Something that this needs could not start.")
    [line] = [record for record in caplog.records if record.name == "uno.api"]
    assert "The resource 'till' could not start: KeyError: 'internal'" in line.getMessage()
    assert line.exc_info is not None


def test_the_log_has_all_of_a_group_that_is_not_the_clients(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.post("/ask", json={"errors": "not-found,timed-out,unknown"})
    [line] = [record for record in caplog.records if record.name == "uno.api"]
    assert line.getMessage() == "answered 503: lost"
    assert line.exc_info is not None
    assert line.exc_info[1] is not None
    assert isinstance(line.exc_info[1].__cause__, ExceptionGroup)
    assert [type(error) for error in line.exc_info[1].__cause__.exceptions] == [NotFound, TimedOut, OutcomeUnknown]
