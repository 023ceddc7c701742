"""Given, when, then: handlers as decisions, without a database or an event loop."""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Mapped, mapped_column

from uno.bus import EventBus, command_handler, event_handler, query_handler
from uno.data import Model, UUIDMixin
from uno.domain import AggregateRoot
from uno.errors import Conflict, Invalid, Misconfigured, NotFound, UnoError, VersionConflict
from uno.messages import Command, DomainEvent, Query
from uno.modules import EventInput
from uno.result import Failure, Success
from uno.testing import given


class OrderPlaced(DomainEvent):
    order_id: str


class OrderShipped(DomainEvent):
    order_id: str
    carrier: str


class CarrierTold(DomainEvent):
    order_id: str


class Order(AggregateRoot[str]):
    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.carrier: str | None = None
        self.register_event(OrderPlaced(order_id=id))

    def ship(self, carrier: str) -> None:
        if self.carrier:
            raise Conflict(f"{self.id} is shipped already.")
        self.carrier = carrier
        self.register_event(OrderShipped(order_id=self.id, carrier=carrier))


class Purse(UUIDMixin, Model):
    __tablename__ = "decisions_purses"
    coins: Mapped[int] = mapped_column(default=0)


class Rates(Protocol):
    async def best(self) -> str: ...


class ShipOrder(Command[str]):
    order_id: str
    order_version: int | None = None


class ShipCheaply(Command[None]):
    order_id: str | None = None


class PlaceOrder(Command[Order]):
    order_id: str


class Pay(Command[None]):
    source_id: UUID
    target_id: UUID


class GetCarrier(Query[str]):
    id: str


class Unhandled(Command[None]):
    pass


class Twofold(Command[None]):
    order_id: str


@command_handler(ShipOrder)
async def ship(command: ShipOrder, order: Order) -> str:
    order.ship("dhl")
    return "shipped"


@command_handler(ShipCheaply)
class Cheaply:
    def __init__(self, rates: Rates) -> None:
        self.rates = rates

    async def handle(self, command: ShipCheaply, events: EventBus, order: Order | None, note: str = "") -> Any:
        if order is None:
            return Failure(Conflict("Nothing to ship."))
        order.ship(await self.rates.best())
        await events.publish(CarrierTold(order_id=order.id))
        order.register_event(OrderPlaced(order_id="again"))
        return Success(note)


@command_handler(PlaceOrder)
async def place(command: PlaceOrder) -> Order:
    return Order(command.order_id)


@command_handler(Pay)
async def pay(command: Pay, source: Purse, target: Purse) -> None:
    source.coins -= 1
    target.coins += 1


@query_handler(GetCarrier)
async def get_carrier(query: GetCarrier, order: Order) -> str:
    return order.carrier or 1 / 0  # type: ignore[return-value]


@event_handler(OrderShipped)
async def note(event: OrderShipped, order: Order) -> None:
    order.register_event(CarrierTold(order_id=event.order_id))


@command_handler(Twofold)
async def first(command: Twofold) -> None: ...


@command_handler(Twofold)
async def second(command: Twofold) -> None: ...


async def unnamed(command: Unhandled, order: Order, rates: Rates) -> None: ...


class Flat:
    async def best(self) -> str:
        return "bike"


class Slow:
    async def best(self) -> str:
        await asyncio.sleep(0)
        return "ship"


def shipped(carrier: str) -> OrderShipped:
    return OrderShipped(order_id="a", carrier=carrier)


def told(check: Any) -> str:
    with pytest.raises(AssertionError) as raised:
        check()
    return str(raised.value)


def misconfigured(call: Any) -> str:
    with pytest.raises(Misconfigured) as raised:
        call()
    return str(raised.value)


def test_what_happened_is_compared_without_ids_and_times_and_what_was_before_is_forgotten() -> None:
    decision = given(Order("b"), Order("a")).when(ShipOrder(order_id="a"))
    decision.then(shipped("dhl")).then(OrderShipped).state(lambda b, a: (b.carrier, a.carrier) == (None, "dhl"))
    assert decision.result == "shipped"
    assert decision.error is None


async def test_it_works_inside_a_running_event_loop() -> None:
    given(Order("a")).when(ShipOrder(order_id="a")).then(shipped("dhl"))


def test_a_handler_class_gets_stand_ins_and_publishes_in_order() -> None:
    decision = given(Order("a")).when(ShipCheaply(order_id="a"), rates=Flat(), note="quick")
    decision.then(shipped("bike"), CarrierTold(order_id="a"), OrderPlaced(order_id="again"))
    assert decision.result == "quick"


async def test_a_handler_that_waits_is_awaited() -> None:
    order = Order("a")
    assert "Cheaply.handle has to wait" in misconfigured(
        lambda: given(order).when(ShipCheaply(order_id="a"), rates=Slow())
    )
    decision = await given(Order("a")).when_async(ShipCheaply(order_id="a"), rates=Slow())
    decision.then(shipped("ship"), CarrierTold, OrderPlaced)
    (await given().when_async(ShipCheaply(), rates=Slow())).then_fails(Conflict)
    (await given().when_async(ShipOrder(order_id="a"))).then_raises(NotFound)


def test_what_a_handler_makes_is_looked_at_too() -> None:
    given().when(PlaceOrder(order_id="a")).then(OrderPlaced(order_id="a")).state(lambda order: order.id == "a")


def test_several_of_one_class_are_told_apart_by_their_ids_or_by_parameter() -> None:
    one, two = Purse(id=uuid4(), coins=5), Purse(id=uuid4(), coins=5)
    given(one, two).when(Pay(source_id=one.id, target_id=two.id)).then_nothing()
    given(target=two, source=one).when(Pay(source_id=one.id, target_id=two.id)).then_nothing()
    assert (one.coins, two.coins) == (3, 7)
    given(target=one, source=two).when(Pay(source_id=one.id, target_id=two.id)).then_fails(NotFound)


def test_events_and_queries_are_decided_as_well() -> None:
    given(Order("a")).when(shipped("dhl")).then(CarrierTold(order_id="a"))
    order = Order("a")
    order.carrier = "dhl"
    assert given(order).when(GetCarrier(id="a")).result == "dhl"


def test_the_handler_may_be_given() -> None:
    given(Order("a")).when(ShipOrder(order_id="a"), handler=ship).then(OrderShipped)
    given(Order("a")).when(ShipCheaply(order_id="a"), handler=Cheaply(Flat())).then(
        OrderShipped, CarrierTold, OrderPlaced
    )

    @dataclass
    class Weigh(EventInput):
        order_id: str

    def weigh(input: Weigh, order: Order) -> int:
        return len(order.id)

    assert given(Order("a")).when(Weigh("a"), handler=weigh).result == 1


def test_it_fails_as_it_would_with_a_database() -> None:
    given(Order("b")).when(ShipOrder(order_id="a")).then_fails(NotFound, match="no Order with id 'a'")
    given().when(ShipCheaply(), rates=Flat()).then_fails(Conflict)
    order = Order("a")
    order.version = 3
    given(order).when(ShipOrder(order_id="a", order_version=2)).then_fails(VersionConflict)
    given(order).when(ShipOrder(order_id="a", order_version=3)).then(OrderShipped)
    twice = (
        given(order).when(ShipOrder(order_id="a")).then_raises(Conflict, match="shipped already").then_fails(UnoError)
    )
    assert twice.events == ()
    with pytest.raises(Conflict):
        _ = twice.result


def test_a_bug_is_not_lost() -> None:
    decision = given(Order("a")).when(GetCarrier(id="a"))
    decision.then_raises(ZeroDivisionError)
    assert "failed: ZeroDivisionError" in told(decision.then_nothing)
    with pytest.raises(ZeroDivisionError):
        _ = decision.result


def test_the_differences_are_told_one_by_one() -> None:
    decision = given(Order("a")).when(ShipCheaply(order_id="a"), rates=Flat())
    assert told(lambda: decision.then(shipped("dhl"), OrderPlaced(order_id="a"), CarrierTold, OrderPlaced)) == (
        "After ShipCheaply(order_id='a') other things happened:\n"
        "  1. OrderShipped.carrier: 'dhl' expected, but it is 'bike'\n"
        "  2. OrderPlaced(order_id='a'): expected, but it is CarrierTold(order_id='a')\n"
        "  3. CarrierTold: expected, but it is OrderPlaced(order_id='again')\n"
        "  4. OrderPlaced: did not happen"
    )
    assert (
        told(decision.then_nothing).splitlines()[1] == "  1. OrderShipped(order_id='a', carrier='bike'): not expected"
    )


def test_other_endings_are_told() -> None:
    went_well = given(Order("a")).when(ShipOrder(order_id="a"))
    assert told(lambda: went_well.then_fails(Conflict)).endswith("went well; Conflict was expected.")
    assert "  Order: {'id': 'a'" in told(lambda: went_well.state(lambda order: order.carrier is None))
    failed = given().when(ShipCheaply(), rates=Flat())
    assert told(failed.then_nothing) == "ShipCheaply(order_id=None) failed: Conflict('Nothing to ship.')"
    assert "NotFound was expected" in told(lambda: failed.then_fails(NotFound))
    assert told(lambda: failed.then_fails(Conflict, match="other")) == "'Nothing to ship.' does not match 'other'."
    assert "it gave it back as a Failure" in told(lambda: failed.then_raises(Conflict))


def test_a_handler_that_cannot_be_called_is_wrong_use() -> None:
    assert misconfigured(lambda: given().when(Unhandled(), handler=unnamed, mailer=1)) == (
        "unnamed cannot be called.\n"
        "It asks for `order: Order`, and Unhandled does not say which: give Unhandled a field order_id or id, "
        "or ask for Repository[Order].\n"
        "It asks for `rates: Rates`; pass something in its place: when(…, rates=…).\n"
        "It asks for no `mailer`; leave it out."
    )
    assert "Nothing loaded of" in misconfigured(lambda: given().when(Unhandled()))
    assert "Twofold has 2 handlers: first, second; pass one" in misconfigured(
        lambda: given().when(Twofold(order_id="a"))
    )
    assert "'ship' is no handler" in misconfigured(lambda: given().when(Unhandled(), handler="ship"))
    nobody = Pay(source_id=uuid4(), target_id=uuid4())
    assert "A given Purse has no id yet" in misconfigured(lambda: given(Purse()).when(nobody))


def test_an_id_that_has_to_be_there_is_asked_for() -> None:
    async def need(command: ShipCheaply, order: Order) -> None: ...

    given(Order("a")).when(ShipCheaply(), handler=need).then_fails(Invalid, match="Say which Order")
