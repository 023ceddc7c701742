"""The complete examples of PyModules, with today's imports, served by uvicorn and called over a socket."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from uno.api import ModuleRouter, register_error_handlers, serve
from uno.compat import resolve
from uno.modules import Event, EventInput, EventOutput, Module, ModuleHost, ModuleHostConfig, module
from uno.resilience import CircuitBreaker, RateLimiter

REQUESTS: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _none_yet() -> None:
    REQUESTS.clear()


# ── the older way: PyModulesAPI ──


@dataclass
class GreetInput(EventInput):
    name: str = "World"


@dataclass
class GreetOutput(EventOutput):
    message: str = ""


class GreetEvent(Event[GreetInput, GreetOutput]):
    name = "myapp.greet"


@dataclass
class CalculatorInput(EventInput):
    a: float = 0
    b: float = 0
    operation: str = "add"


@dataclass
class CalculatorOutput(EventOutput):
    result: float = 0


class CalculatorEvent(Event[CalculatorInput, CalculatorOutput]):
    name = "myapp.calculate"


@module(name="Greeter", description="Handles greeting events")
class GreeterModule(Module):
    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, GreetEvent)

    def handle(self, event: Event[Any, Any]) -> None:
        if isinstance(event, GreetEvent):
            REQUESTS["greet"] += 1
            event.output = GreetOutput(message=f"Hello, {event.input.name}!")
            event.handled = True


@module(name="Calculator")
class CalculatorModule(Module):
    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, CalculatorEvent)

    async def handle(self, event: Event[Any, Any]) -> None:
        if isinstance(event, CalculatorEvent):
            REQUESTS["calculate"] += 1
            if event.input.operation == "divide" and event.input.b == 0:
                raise ZeroDivisionError("password=hunter2")
            event.output = CalculatorOutput(result=event.input.a + event.input.b)
            event.handled = True


def make_older(rate: float = 100) -> tuple[FastAPI, ModuleHost]:
    config = ModuleHostConfig(
        enable_metrics=True,
        enable_tracing=True,
        rate_limiter=RateLimiter(rate=rate, burst=20),
        circuit_breaker=CircuitBreaker(failure_threshold=5),
    )
    host = ModuleHost(config=config)
    host.register(GreeterModule())
    host.register(CalculatorModule())

    app = FastAPI(title="My API", version="1.0.0")
    with pytest.warns(DeprecationWarning, match=r"uno\.compat\.pymodules\.PyModulesAPI"):
        api = resolve("pymodules.fastapi.PyModulesAPI")(host, version="1.0.0")
    api.add_health_endpoints(app)
    api.add_metrics_endpoint(app)
    api.add_tracing_middleware(app)
    api.add_event_endpoint(app, "/greet", GreetEvent, GreetInput, GreetOutput)
    api.add_event_endpoint(app, "/calculate", CalculatorEvent, CalculatorInput, CalculatorOutput)
    return app, host


# ── the newer way: ModuleRouter ──


@dataclass
class CreateProductInput(EventInput):
    name: str


@dataclass
class CreateProductOutput(EventOutput):
    id: str
    name: str


@dataclass
class GetProductInput(EventInput):
    product_id: str


@dataclass
class GetProductOutput(EventOutput):
    id: str
    name: str


class CreateProduct(Event[CreateProductInput, CreateProductOutput]):
    pass


class GetProduct(Event[GetProductInput, GetProductOutput]):
    pass


@module(name="products", description="Product management")
class ProductModule(Module):
    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, CreateProduct | GetProduct)

    async def handle(self, event: Event[Any, Any]) -> None:
        REQUESTS[type(event).__name__] += 1
        if isinstance(event, CreateProduct):
            event.output = CreateProductOutput(id="123", name=event.input.name)
            event.handled = True
        elif isinstance(event, GetProduct):
            event.output = GetProductOutput(id=event.input.product_id, name="Widget")
            event.handled = True


def make_newer() -> tuple[FastAPI, ModuleHost]:
    host = ModuleHost(ModuleHostConfig())
    host.register(ProductModule())

    app = FastAPI()
    register_error_handlers(app)
    router = ModuleRouter(host)
    router.register_event(CreateProduct)
    router.register_event(GetProduct)
    router.mount(app, prefix="/api/v1")
    return app, host


@asynccontextmanager
async def served(made: tuple[FastAPI, ModuleHost]) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a real server that runs inside the block."""
    app, host = made
    urls: asyncio.Queue[str] = asyncio.Queue()
    server = asyncio.create_task(serve(app, port=0, ready=urls.put_nowait))
    try:
        async with httpx2.AsyncClient(base_url=await asyncio.wait_for(urls.get(), 10), timeout=60) as client:
            yield client
    finally:
        server.cancel()
        await asyncio.wait([server])
        await host.shutdown_async()


async def test_the_complete_example_answers_over_http() -> None:
    async with served(make_older()) as client:
        greeted = await client.post("/greet", json={"name": "Alice"}, headers={"X-Correlation-ID": "abc123"})
        assert (greeted.status_code, greeted.json()) == (200, {"message": "Hello, Alice!"})
        assert greeted.headers["x-correlation-id"] == "abc123"
        assert (await client.post("/calculate", json={"a": 2, "b": 3})).json() == {"result": 5}
        for path in ("/health", "/health/live", "/health/ready"):
            assert (await client.get(path)).json()["status"] == "healthy"
        assert REQUESTS == {"greet": 1, "calculate": 1}


async def test_its_metrics_count_what_its_modules_saw_and_bugs_open_the_breaker() -> None:
    async with served(make_older()) as client:
        await client.post("/greet")
        bad = {"operation": "divide", "b": 0}
        broken = [await client.post("/calculate", json=bad) for _ in range(6)]
        assert [one.status_code for one in broken] == [500] * 5 + [503]
        assert not [one for one in broken if "hunter2" in one.text]
        assert int(broken[-1].headers["retry-after"]) > 0
        figures = (await client.get("/metrics")).json()
        assert REQUESTS == {"greet": 1, "calculate": 5}
    assert (figures["version"], figures["circuit_breaker_state"]) == ("1.0.0", "open")
    assert figures["modules"] == {"count": 2, "names": ["Greeter", "Calculator"]}
    events = figures["events"]
    assert (events["events_dispatched"], events["events_handled"], events["events_failed"]) == (6, 1, 5)
    assert events["events_circuit_broken"] == 1


async def test_a_flood_is_refused_with_429_and_never_reaches_a_module() -> None:
    # One token in a thousand seconds: as many are refused on a slow machine.
    async with served(make_older(rate=0.001)) as client:
        statuses = Counter(one.status_code for one in await asyncio.gather(*(client.post("/greet") for _ in range(60))))
        assert statuses == {200: 20, 429: 40}
        assert REQUESTS == {"greet": 20}


async def test_the_complete_api_example_answers_over_http() -> None:
    async with served(make_newer()) as client:
        made = await client.post("/api/v1/products", json={"name": "Widget"})
        assert (made.status_code, made.json()) == (201, {"id": "123", "name": "Widget"})
        assert made.headers["location"] == "/api/v1/products/123"
        assert (await client.get(made.headers["location"])).json() == {"id": "123", "name": "Widget"}
        wrong = await client.post("/api/v1/products", json={"title": "Widget"})
        assert (wrong.status_code, wrong.headers["content-type"]) == (422, "application/problem+json")
        assert (await client.get("/api/v1/nothing")).headers["content-type"] == "application/problem+json"
        assert REQUESTS == {"CreateProduct": 1, "GetProduct": 1}
