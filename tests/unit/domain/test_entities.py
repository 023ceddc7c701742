"""Entities, aggregates and value objects in all the ways users write them."""

import copy
import subprocess
import sys
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from pydantic import ValidationError

from uno.domain import AggregateRoot, Entity, ValueObject
from uno.messages import DomainEvent


class Happened(DomainEvent):
    n: int


class Customer(Entity[str]):
    def __init__(self, id: str, name: str) -> None:
        super().__init__(id=id)
        self.name = name


class Vip(Customer):
    pass


@dataclass
class Line(Entity[int]):
    id: int
    sku: str = ""


@dataclass
class Order(AggregateRoot[str]):
    id: str
    lines: list[str] = field(default_factory=list)

    def add(self, sku: str) -> None:
        self.lines.append(sku)
        self.register_event(Happened(n=len(self.lines)))


class Account(AggregateRoot[int]):
    def __init__(self, number: int) -> None:
        super().__init__(id=number)
        self.balance = 0


class Bare(Entity[str]):
    def __init__(self) -> None:
        """An entity that gets its id later."""


class Money(ValueObject):
    amount: Decimal
    currency: str = "EUR"


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (Customer("1", "Ada"), Customer("1", "Bob"), Customer("2", "Ada")),
        (Line(1, "a"), Line(1, "b"), Line(2, "a")),
        (Order("1", ["a"]), Order("1"), Order("2", ["a"])),
        (Account(1), Account(1), Account(2)),
        (Vip("1", "Ada"), Vip("1", "Bob"), Customer("1", "Ada")),
    ],
)
def test_entities_are_equal_by_class_and_id(one: object, same: object, other: object) -> None:
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert len({one, same, other}) == 2


def test_an_entity_is_not_equal_to_its_id_or_to_another_kind() -> None:
    assert Customer("1", "") != "1"
    assert Line(1) != Account(1)
    assert Order("1") != Customer("1", "")


def test_an_entity_without_an_id_equals_only_itself() -> None:
    one, other = Bare(), Bare()
    assert one == one
    assert one != other
    assert repr(one) == "Bare(id=None)"


def test_a_way_of_comparing_of_ones_own_is_kept_and_inherited() -> None:
    class Tag(Entity[str]):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Tag) and self.id.lower() == other.id.lower()

        def __hash__(self) -> int:
            return hash(self.id.lower())

    @dataclass
    class Label(Tag):
        id: str

    assert Tag(id="A") == Tag(id="a")
    assert Label("A") == Label("a")
    assert hash(Label("A")) == hash(Label("a"))


def test_a_dataclass_keeps_its_own_repr() -> None:
    assert repr(Line(1, "a")) == "Line(id=1, sku='a')"
    assert repr(Account(1)) == "Account(id=1)"


@dataclass(slots=True)
class Slotted(AggregateRoot[int]):
    id: int
    sku: str = ""


def test_a_dataclass_with_slots_is_an_aggregate_too() -> None:
    one = Slotted(1, "a")
    one.register_event(Happened(n=1))
    assert one == Slotted(1, "b")
    assert [e.aggregate_id for e in one.collect_events()] == [None]


def test_an_aggregate_that_was_never_stored_has_version_0() -> None:
    assert (Order("1").version, Account(1).version, Order.version) == (0, 0, 0)
    stored = Order("1")
    stored.version = 3
    assert (stored.version, Order("2").version) == (3, 0)


@pytest.mark.parametrize("aggregate", [Order("1"), Account(1)])
def test_events_are_collected_in_order_and_once(aggregate: AggregateRoot[object]) -> None:
    assert aggregate.collect_events() == []
    events = [Happened(n=n) for n in range(5)]
    for event in events:
        aggregate.register_event(event)
    assert aggregate.collect_events() == events
    assert aggregate.collect_events() == []


def test_events_belong_to_one_aggregate() -> None:
    one, other = Order("1"), Order("2")
    one.add("a")
    one.add("b")
    assert other.collect_events() == []
    assert [e.n for e in one.collect_events() if isinstance(e, Happened)] == [1, 2]


def test_an_event_recorded_while_others_are_handled_is_collected_next_time() -> None:
    order = Order("1")
    order.add("a")
    first = order.collect_events()
    order.add("b")
    assert (len(first), len(order.collect_events())) == (1, 1)


def test_value_objects_are_equal_by_value() -> None:
    assert Money(amount=Decimal(1)) == Money(amount=Decimal("1.0"))
    assert {Money(amount=Decimal(1)), Money(amount=Decimal(1))} == {Money(amount=Decimal(1))}
    assert Money(amount=Decimal(1)) != Money(amount=Decimal(1), currency="USD")


def test_a_value_object_is_checked_and_does_not_change() -> None:
    with pytest.raises(ValidationError):
        Money(amount="much")  # type: ignore[arg-type]
    one = Money(amount=Decimal(1))
    with pytest.raises(ValidationError):
        one.amount = Decimal(2)  # type: ignore[misc]
    assert copy.deepcopy(one) == one


@pytest.mark.parametrize("module", ["uno.domain", "uno.messages"])
def test_the_domain_loads_no_web_framework_no_orm_and_no_driver(module: str) -> None:
    foreign = "{'fastapi', 'starlette', 'sqlalchemy', 'asyncpg', 'aiosqlite', 'dishka', 'structlog'}"
    program = f"import sys, {module}; print(sorted({foreign} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
