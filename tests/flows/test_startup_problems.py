"""An application with everything wrong says everything at once; its text is user interface."""

import enum
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import pytest
from sqlalchemy import ARRAY, Column, Enum, Integer, MetaData, Table
from sqlalchemy.orm import registry

from uno.app import App, Module, Route
from uno.bus import command_handler, event_handler, query_handler
from uno.data import Repository
from uno.di import scoped, singleton
from uno.domain import AggregateRoot
from uno.errors import Misconfigured
from uno.messages import Command, DomainEvent, Query
from uno.settings import load


class PlaceOrder(Command[str]):
    name: ClassVar[str] = "shop.place-order"
    order_id: str


class CancelOrder(Command[None]):
    name: ClassVar[str] = "shop.cancel-order"
    order_id: str


class ListOrders(Query[list[str]]):
    name: ClassVar[str] = "shop.list-orders"


class GetOrder(Query[str]):
    name: ClassVar[str] = "shop.get-order"
    order_id: str


class OrderPlaced(DomainEvent):
    name: ClassVar[str] = "shop.order-placed"
    order_id: str


class Order(AggregateRoot[str]):
    def __init__(self, id: str) -> None:
        super().__init__(id=id)


class Mailer(Protocol):
    async def send(self, text: str) -> None: ...


@scoped
@dataclass
class Basket:
    owner: str = ""


@singleton
class Till:
    def __init__(self, basket: Basket) -> None:
        self.basket = basket


@command_handler(PlaceOrder)
async def place(command: PlaceOrder, orders: Repository[Order]) -> str:
    return command.order_id


@command_handler(PlaceOrder)
async def place_again(command: PlaceOrder) -> str:
    return command.order_id


@command_handler(CancelOrder)
async def cancel(command: CancelOrder, mailer: Mailer) -> None:
    await mailer.send(command.order_id)


@query_handler(ListOrders)
async def list_orders(query: ListOrders) -> list[str]:
    return []


@event_handler(OrderPlaced, durable=True, name="shop.tell")
async def tell(event: OrderPlaced) -> None: ...


@event_handler(OrderPlaced, durable=True, name="shop.tell")
async def tell_again(event: OrderPlaced) -> None: ...


async def forgotten(command: PlaceOrder) -> None: ...


def broken_application() -> App:
    orders = Module(
        "shop",
        handlers=[place, place_again, cancel, list_orders, tell, tell_again, forgotten],
        providers=[Basket, Till],
        models=[Order, int],
        routes=[
            Route(PlaceOrder, path="/orders"),
            Route(CancelOrder, method="POST", path="/orders"),
            Route(ListOrders, path="/shops/{shop_id}/orders"),
            Route(GetOrder, access="authenticated"),
        ],
    )
    return App(orders, Module("shop"), settings=load(env="test"), database="sqlite://")


EXPECTED = """
The application cannot start: 11 problems.
1. captive dependency: Till
   Till is a singleton and would keep one Basket for ever, but Basket is scoped: \
mark Till @scoped, or take Basket where it is used.
   Till → Basket
2. duplicate handler: PlaceOrder
   PlaceOrder has 2 handlers: {here}.place, {here}.place_again; keep one.
3. duplicate module: shop
   2 modules are called shop; give each its own name.
4. duplicate subscriber: shop.tell
   shop.tell names 2 subscribers: {here}.tell, {here}.tell_again; give each its own name=.
5. missing handler: GetOrder
   GET /orders/{{order_id}} leads to it but nothing handles it; add its handler to a module's handlers.
6. missing provider: Mailer
   cancel needs it as `mailer` and nothing provides it: \
mark a class or a factory for it with @singleton, @scoped or @transient, or pass value(…, Mailer).
   cancel → Mailer
7. route clash: POST /orders
   PlaceOrder and CancelOrder have the same path; give one a path= of its own.
8. unchecked access: GET /orders/{{order_id}}
   GetOrder asks for access 'authenticated' but nothing here can authenticate; set App(auth=...), or use access="open".
9. unknown path field: GET /shops/{{shop_id}}/orders
   ListOrders has no field 'shop_id'; add it or change the path.
10. unmarked handler: forgotten
   It says of no message that it handles it; decorate it with @command_handler, @query_handler or @event_handler.
11. wrong model: int
   int cannot be stored; derive it from uno.data.Model or uno.domain.AggregateRoot, or map it.
"""


def test_every_problem_of_an_application_is_reported_at_once_in_a_text_for_people() -> None:
    with pytest.raises(Misconfigured) as raised:
        broken_application()
    assert str(raised.value) == EXPECTED.strip().format(here=__name__)
    assert len({problem.kind for problem in raised.value.problems}) >= 6


class Ward(enum.Enum):
    north = "n"
    south = "s"


def clinic(url: str, *kinds: Any) -> App:
    """Each in a table of a base of its own."""
    models = []
    for number, kind in enumerate(kinds):
        cls: type = type(f"Stay{number}", (), {})
        columns = [Column("id", Integer, primary_key=True), Column("ward", kind)]
        registry().map_imperatively(cls, Table(f"stays{number}", MetaData(), *columns))
        models.append(cls)
    return App(Module("clinic", models=models), settings=load(env="test"), database=url)


def test_a_database_has_one_enumerated_type_of_each_name() -> None:
    postgres, of_values = (
        "postgresql://nobody@localhost/none",
        Enum(Ward, values_callable=lambda e: [m.value for m in e]),
    )
    for other in (of_values, ARRAY(of_values)):
        with pytest.raises(Misconfigured) as raised:
            clinic(postgres, Enum(Ward), Enum(Ward), other)
        assert str(raised.value) == (
            "The application cannot start: 1 problem.\n1. wrong model: stays2.ward\n"
            "   Its enumerated type 'ward' has other values than that of stays0.ward, which has the same name; "
            "give one a name of its own, Enum(..., name=...), or both the same values."
        )
    elsewhere = Enum("n", "s", name="ward", schema="clinic")
    assert clinic(postgres, Enum(Ward), elsewhere, Enum("n", name="wards"), Enum("n", name="ward", native_enum=False))
    assert clinic("sqlite://", Enum(Ward), of_values)
