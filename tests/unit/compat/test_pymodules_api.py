"""PyModulesAPI: the older way, as its users know it."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from uno.compat.pymodules import PyModulesAPI, event_endpoint
from uno.modules import Event, EventInput, EventOutput, ModuleHost, ModuleHostConfig, module
from uno.modules.module import Module
from uno.resilience import RateLimiter


@dataclass
class GreetInput(EventInput):
    name: str = "World"
    titles: list[str] = field(default_factory=lambda: ["Dr"])


@dataclass
class GreetOutput(EventOutput):
    message: str = ""


class GreetEvent(Event[GreetInput, GreetOutput]):
    name = "myapp.greet"


class LookUpInput(BaseModel):
    user_id: int
    verbose: bool = False


class LookUp(Event[LookUpInput, GreetOutput]):
    name = "myapp.look_up"


class Unknown(Event[EventInput, EventOutput]):
    name = "myapp.unknown"


@module(name="Greeter")
class Greeter(Module):
    def __init__(self) -> None:
        self.seen: list[Event[Any, Any]] = []

    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, GreetEvent | LookUp)

    def handle(self, event: Event[Any, Any]) -> None:
        self.seen.append(event)
        if isinstance(event, GreetEvent):
            if event.input.name == "bug":
                raise RuntimeError("password=hunter2")
            event.output = GreetOutput(f"Hello, {' '.join(event.input.titles)} {event.input.name}!")
        else:
            event.output = GreetOutput(f"{event.input.user_id} {event.input.verbose}")
        event.handled = True


@pytest.fixture
def greeter() -> Greeter:
    return Greeter()


@pytest.fixture
def api(greeter: Greeter) -> PyModulesAPI:
    return PyModulesAPI(ModuleHost(ModuleHostConfig(enable_tracing=True)).register(greeter), version="1.0.0")


@pytest.fixture
def app(api: PyModulesAPI) -> FastAPI:
    app = FastAPI()
    api.add_event_endpoint(app, "/greet", GreetEvent, GreetInput, GreetOutput, tags=["greetings"])
    return app


async def test_dispatch_gives_the_event_and_404_for_one_that_nobody_handles(api: PyModulesAPI) -> None:
    event = await api.dispatch(GreetEvent(input=GreetInput("Ada")))
    assert event.output.message == "Hello, Dr Ada!"
    with pytest.raises(HTTPException, match=r"No module found to handle event: myapp\.unknown") as raised:
        await api.dispatch(Unknown())
    assert raised.value.status_code == 404


def test_a_body_becomes_the_input_and_the_output_the_response(app: FastAPI, greeter: Greeter) -> None:
    client = TestClient(app)
    assert client.post("/greet", json={"name": "Ada", "titles": []}).json() == {"message": "Hello,  Ada!"}
    assert client.post("/greet", json={}).json() == {"message": "Hello, Dr World!"}
    assert client.post("/greet").json() == {"message": "Hello, Dr World!"}
    assert len(greeter.seen) == 3


def test_fields_that_nobody_knows_are_ignored(app: FastAPI, greeter: Greeter) -> None:
    assert TestClient(app).post("/greet", json={"name": "Ada", "shoe": 43}).status_code == 200
    assert greeter.seen[0].input == GreetInput("Ada")


def test_malformed_json_is_422_and_reaches_nobody(app: FastAPI, greeter: Greeter) -> None:
    response = TestClient(app).post("/greet", content=b"{", headers={"Content-Type": "application/json"})
    assert (response.status_code, greeter.seen) == (422, [])


def test_path_and_body_are_in_openapi(app: FastAPI) -> None:
    operation = TestClient(app).get("/openapi.json").json()["paths"]["/greet"]["post"]
    assert "requestBody" in operation
    assert operation["tags"] == ["greetings"]


def test_path_and_query_reach_the_input(app: FastAPI, api: PyModulesAPI) -> None:
    api.add_event_endpoint(app, "/users/{user_id}", LookUp, LookUpInput, GreetOutput, method="GET")
    assert TestClient(app).get("/users/7?verbose=true").json() == {"message": "7 True"}


def test_a_bug_tells_nothing(app: FastAPI, greeter: Greeter) -> None:
    response = TestClient(app).post("/greet", json={"name": "bug"})
    assert (response.status_code, "hunter2" in response.text, len(greeter.seen)) == (500, False, 1)


def test_what_nobody_handles_is_404(app: FastAPI, api: PyModulesAPI) -> None:
    api.add_event_endpoint(app, "/unknown", Unknown, EventInput)
    response = TestClient(app).post("/unknown")
    assert (response.status_code, response.json()) == (
        404,
        {"detail": "No module found to handle event: myapp.unknown"},
    )


def test_a_refusal_of_the_rate_limiter_is_429(greeter: Greeter) -> None:
    host = ModuleHost(ModuleHostConfig(rate_limiter=RateLimiter(rate=0.001, burst=1))).register(greeter)
    app = FastAPI()
    PyModulesAPI(host).add_event_endpoint(app, "/greet", GreetEvent, GreetInput, GreetOutput)
    client = TestClient(app)
    assert [client.post("/greet").status_code for _ in range(3)] == [200, 429, 429]
    assert len(greeter.seen) == 1


def test_a_marked_function_answers_for_its_event(app: FastAPI, api: PyModulesAPI) -> None:
    @event_endpoint(GreetEvent, GreetInput)
    async def shout(event: GreetEvent) -> str:
        return event.output.message.upper()

    api.add_marked_endpoint(app, shout)
    assert TestClient(app).post("/myapp/greet", json={"name": "Ada"}).json() == "HELLO, DR ADA!"


def test_everything_at_once(app: FastAPI, api: PyModulesAPI) -> None:
    api.add_all_endpoints(app, metrics_path="/figures")
    client = TestClient(app)
    assert [client.get(path).status_code for path in ("/health", "/health/live", "/health/ready")] == [200] * 3
    assert client.get("/figures").json()["version"] == "1.0.0"
    assert client.get("/figures").headers["x-correlation-id"]


def test_a_correlation_id_goes_in_and_out(app: FastAPI, api: PyModulesAPI, greeter: Greeter) -> None:
    api.add_tracing_middleware(app)
    client = TestClient(app)
    given = client.post("/greet", headers={"X-Correlation-ID": "order-7"})
    made = client.post("/greet")
    forged = client.post("/greet", headers={"X-Correlation-ID": "a b"})
    ids = [one.headers["x-correlation-id"] for one in (given, made, forged)]
    assert [event.meta["correlation_id"] for event in greeter.seen] == ids
    assert ids[0] == "order-7"
    assert len(set(ids)) == 3
    assert "a b" not in ids
