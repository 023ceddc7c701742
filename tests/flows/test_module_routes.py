"""Typed events as endpoints of an application: through `asgi`, from the socket's side of ASGI to the module."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis.config import SchemathesisConfig

from uno.api import ModuleRouter, api_endpoint, asgi, exclude_from_api, register_error_handlers
from uno.app import App
from uno.errors import Conflict, Misconfigured, NotFound
from uno.modules import Event, EventInput, EventOutput, Module, ModuleHost, ModuleHostConfig, Route, handles


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class OrderOutput(EventOutput):
    id: str
    lines: list[Line] = field(default_factory=list)
    due: date | None = None


@dataclass
class CreateOrderInput(EventInput):
    lines: list[Line]
    due: date | None = None


class CreateOrder(Event[CreateOrderInput, OrderOutput]):
    """Order something."""

    name = "orders.create"


@dataclass
class OrderIdInput(EventInput):
    order_id: str


class GetOrder(Event[OrderIdInput, OrderOutput]):
    name = "orders.get"


@dataclass
class OrdersOutput(EventOutput):
    ids: list[str]


@dataclass
class ListOrdersInput(EventInput):
    limit: int = 10
    skus: list[str] = field(default_factory=list)


class ListOrders(Event[ListOrdersInput, OrdersOutput]):
    name = "orders.list"


class DeleteOrder(Event[OrderIdInput, EventOutput]):
    name = "orders.delete"


@api_endpoint(tags=["Orders"], summary="Ship it")
class ShipOrder(Event[OrderIdInput, EventOutput]):
    name = "orders.ship"


@api_endpoint()
@exclude_from_api
class Recount(Event[EventInput, EventOutput]):
    name = "orders.recount"


class Unmarked(Event[EventInput, EventOutput]):
    name = "orders.unmarked"


class Orders(Module):
    """Keeps orders in memory, and counts what reaches it."""

    routes = (CreateOrder, GetOrder, ListOrders, DeleteOrder)

    def __init__(self) -> None:
        super().__init__("orders")
        self.orders: dict[str, OrderOutput] = {}
        self.asked: Counter[str] = Counter()

    @handles(CreateOrder)
    async def create(self, order: CreateOrderInput) -> OrderOutput:
        self.asked["create"] += 1
        made = OrderOutput(str(len(self.orders) + 1), order.lines, order.due)
        self.orders[made.id] = made
        return made

    @handles(GetOrder)
    async def get(self, order: OrderIdInput) -> OrderOutput:
        self.asked["get"] += 1
        if order.order_id not in self.orders:
            raise NotFound("Order", order.order_id)
        return self.orders[order.order_id]

    @handles(ListOrders)
    def list(self, wanted: ListOrdersInput) -> OrdersOutput:
        self.asked["list"] += 1
        of = [o.id for o in self.orders.values() if not wanted.skus or {line.sku for line in o.lines} & {*wanted.skus}]
        return OrdersOutput(of[: wanted.limit])

    @handles(DeleteOrder)
    async def delete(self, order: OrderIdInput) -> None:
        self.asked["delete"] += 1
        self.orders.pop(order.order_id, None)

    @handles(ShipOrder)
    async def ship(self, order: OrderIdInput) -> None:
        self.asked["ship"] += 1
        if order.order_id == "bug":
            raise RuntimeError("password=hunter2")
        if order.order_id not in self.orders:
            raise Conflict("There is nothing to ship.")

    @handles(Recount)
    async def recount(self, _: EventInput) -> None:
        self.asked["recount"] += 1

    @handles(Unmarked)
    async def unmarked(self, _: EventInput) -> None:
        self.asked["unmarked"] += 1


@pytest.fixture
def orders() -> Orders:
    return Orders()


@pytest.fixture
def client(orders: Orders) -> Iterator[TestClient]:
    with TestClient(asgi(App(orders)), raise_server_exceptions=False) as client:
        yield client


def test_an_order_is_made_found_listed_shipped_and_deleted(client: TestClient, orders: Orders) -> None:
    made = client.post("/orders", json={"lines": [{"sku": "lamp"}], "due": "2026-12-24"})
    body = {"id": "1", "lines": [{"sku": "lamp", "count": 1}], "due": "2026-12-24"}
    assert (made.status_code, made.headers["location"], made.json()) == (201, "/orders/1", body)
    assert client.get(made.headers["location"]).json() == body
    assert client.get("/orders?limit=5&skus=lamp&skus=sofa").json() == {"ids": ["1"]}
    assert client.get("/orders?skus=sofa").json() == {"ids": []}
    assert (client.post("/orders/1/ship").status_code, client.post("/orders/1/ship").json()) == (200, {"success": True})
    assert (client.delete("/orders/1").status_code, client.get("/orders/1").status_code) == (204, 404)
    assert orders.asked == {"create": 1, "get": 2, "list": 2, "ship": 2, "delete": 1}


WRONG: dict[str, tuple[str, str, Any, int, list[str]]] = {
    "nested": ("POST", "/orders", {"lines": [{"sku": "a", "count": "two"}]}, 422, ["lines.0.count"]),
    "unknown": ("POST", "/orders", {"lines": [], "dew": 1}, 422, ["dew"]),
    "date": ("POST", "/orders", {"lines": [], "due": "tomorrow"}, 422, ["due"]),
    "query": ("GET", "/orders?limit=few", None, 422, ["limit"]),
    "parameter": ("GET", "/orders?limits=1", None, 400, ["limits"]),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_named_and_reaches_no_module(
    client: TestClient, orders: Orders, wrong: tuple[str, str, Any, int, list[str]]
) -> None:
    method, path, body, status, fields = wrong
    response = client.request(method, path, json=body)
    assert (response.status_code, [error["field"] for error in response.json()["errors"]]) == (status, fields)
    assert (response.headers["content-type"], orders.asked.total()) == ("application/problem+json", 0)


def test_errors_are_problems_and_bugs_tell_nothing(client: TestClient, orders: Orders) -> None:
    refused, broken = client.post("/orders/7/ship"), client.post("/orders/bug/ship")
    assert (refused.status_code, refused.json()["detail"]) == (409, "There is nothing to ship.")
    assert (broken.status_code, "hunter2" in broken.text) == (500, False)
    assert broken.json()["correlation_id"] == broken.headers["x-correlation-id"]
    assert orders.asked == {"ship": 2}


def test_only_what_is_listed_or_marked_has_a_route(client: TestClient, orders: Orders) -> None:
    assert [client.post(f"/orders/{name}").status_code for name in ("recount", "unmarked")] == [405, 405]
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/orders", "/orders/{order_id}", "/orders/{order_id}/ship"}
    assert paths["/orders/{order_id}/ship"]["post"]["summary"] == "Ship it"
    assert orders.asked.total() == 0


def test_two_events_on_one_path_stop_the_application_and_both_are_named() -> None:
    class Twice(Orders):
        routes = (GetOrder, Route(ListOrders, path="/orders/{key}"))

    with pytest.raises(Misconfigured, match="GetOrder and ListOrders have the same path"):
        App(Twice())


def test_an_event_that_no_module_handles_stops_the_application() -> None:
    with pytest.raises(Misconfigured, match="missing handler: GetOrder"):
        App(Module("empty", routes=[GetOrder]))


def plain(orders: Orders) -> FastAPI:
    app = FastAPI()
    register_error_handlers(app)
    router = ModuleRouter(ModuleHost(ModuleHostConfig()).register(orders))
    for event in (*Orders.routes, ShipOrder):
        router.register_event(event)
    router.mount(app)
    return app


@pytest.mark.parametrize("make", [lambda orders: asgi(App(orders)), plain], ids=["asgi", "module_router"])
def test_the_routes_do_what_their_document_says(make: Any, orders: Orders) -> None:
    """Schemathesis: requests made from the document, good ones and bad ones."""
    api = make(orders)
    statuses: Counter[int] = Counter()
    # NUL is text to JSON Schema, but PostgreSQL has no place for it.
    config = SchemathesisConfig.from_dict({"generation": {"allow-x00": False}})
    operations = list(schemathesis.openapi.from_dict(api.openapi(), config=config).get_all_operations())
    for found in operations:
        operation = found.ok()
        # Any text is an id: a path alone cannot be wrong.
        bad = [schemathesis.GenerationMode.NEGATIVE] if operation.body or operation.query else []
        for mode in (schemathesis.GenerationMode.POSITIVE, *bad):

            @settings(max_examples=10, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                response = case.call(app=api)
                statuses[response.status_code] += 1
                case.validate_response(response)

            check()
    assert len(operations) == 5
    assert statuses[201] > 5
    assert statuses[422] > 5
    assert 500 not in statuses
    assert orders.asked.total() >= statuses[200] + statuses[201]
