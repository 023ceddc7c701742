"""How objects that pydantic does not know look as JSON."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Generic, TypeVar

import pytest
from pydantic import BaseModel, TypeAdapter

from uno.api.response import Encoders
from uno.api.shapes import plain, wire_type
from uno.domain import AggregateRoot, Entity, ValueObject
from uno.messages import DomainEvent

T = TypeVar("T")


class Money(ValueObject):
    amount: Decimal
    currency: str = "EUR"


class Line(Entity[int]):
    def __init__(self, id: int, price: Money) -> None:
        super().__init__(id=id)
        self.price = price


class Shipped(DomainEvent):
    order_id: str


class Order(AggregateRoot[str]):
    table: ClassVar[str] = "orders"
    note: str | None = None

    def __init__(self, id: str, lines: list[Line], secret: str = "") -> None:
        super().__init__(id=id)
        self.lines = lines
        self._secret = secret


@dataclass
class Invoice(AggregateRoot[str]):
    id: str
    total: Money


def order() -> Order:
    made = Order("o1", [Line(1, Money(amount=Decimal("9.90")))], "hunter2")
    made.register_event(Shipped(order_id="o1"))
    return made


LINE = '{"id":1,"price":{"amount":"9.90","currency":"EUR"}}'
ORDER = f'{{"id":"o1","lines":[{LINE}],"version":0,"note":null}}'
INVOICE = '{"id":"i1","total":{"amount":"1","currency":"EUR"},"version":0}'


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Order, order(), ORDER),
        (list[Order], [order()], f"[{ORDER}]"),
        (Order | None, None, "null"),
        (Order | None, order(), ORDER),
        (dict[str, Order], {"a": order()}, f'{{"a":{ORDER}}}'),
        (tuple[Line, ...], (Line(1, Money(amount=Decimal("9.90"))),), f"[{LINE}]"),
        (Invoice, Invoice("i1", Money(amount=Decimal(1))), INVOICE),
        (Any, [order()], f"[{ORDER}]"),
        (None, order(), ORDER),
        (Money, {"amount": 1}, '{"amount":1}'),
        (bytes, b"abc", '"abc"'),
        (float, float("nan"), "null"),
    ],
)
def test_a_value_is_written_by_its_declared_type(annotation: Any, value: Any, expected: str) -> None:
    assert Encoders().encode(annotation)(value).decode() == expected


def test_a_model_that_is_a_subclass_is_written_with_its_own_fields() -> None:
    class Animal(BaseModel):
        name: str

    class Dog(Animal):
        tail: int

    assert Encoders().encode(Animal)(Dog(name="Rex", tail=1)) == b'{"name":"Rex","tail":1}'


def test_the_schema_of_a_plain_class_says_what_is_written() -> None:
    schema = TypeAdapter(wire_type(Order)).json_schema(mode="serialization")
    found = schema["$defs"]["Order"] if "$defs" in schema and "Order" in schema["$defs"] else schema
    assert list(found["properties"]) == ["id", "lines", "secret", "version", "note"]
    assert "secret" not in found["required"]
    assert found["properties"]["id"]["type"] == "string"


def test_what_init_takes_without_keeping_it_stays_inside() -> None:
    assert "secret" not in plain(order())
    assert not any(name.startswith("_") for name in plain(order()))


def test_a_class_that_refers_to_itself_is_written() -> None:
    tree = Tree("root", [Tree("leaf", [])])
    assert Encoders().encode(Tree)(tree) == b'{"name":"root","children":[{"name":"leaf","children":[]}]}'


class Tree:
    def __init__(self, name: str, children: "list[Tree]") -> None:
        self.name = name
        self.children = children


def test_a_generic_plain_class_is_written() -> None:
    class Page(Generic[T]):
        def __init__(self, items: list[T]) -> None:
            self.items = items

    assert Encoders().encode(Page[Line])(Page([Line(1, Money(amount=Decimal("9.90")))])) == (
        f'{{"items":[{LINE}]}}'.encode()
    )
