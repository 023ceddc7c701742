"""What is wrong with handlers that ask for aggregates is said when the application is put together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypedDict

import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column

from uno.app import App, Module
from uno.bus import Bus, command_handler, event_handler
from uno.data import Model
from uno.domain import AggregateRoot
from uno.errors import Misconfigured
from uno.messages import Command, DomainEvent
from uno.modules import Event, handles


class Order(AggregateRoot[str]):
    def __init__(self, id: str) -> None:
        super().__init__(id=id)


class HTTPOrder(Order):
    pass


class Strange:
    pass


class Unstorable(AggregateRoot[str]):
    strange: Strange


class Seat(Model):
    __tablename__ = "asked_seats"
    metadata = MetaData()
    number: Mapped[int] = mapped_column(primary_key=True)


class Ship(Command[None]):
    order_number: str


class Take(Command[None]):
    number: int

    @property
    def seat_id(self) -> int:
        return self.number


class Swap(Command[None]):
    id: str
    order_id: str
    target_id: str


class Shipped(DomainEvent):
    http_order_id: str


class Parcel(TypedDict):
    order_id: str


class Weigh(Event[Parcel, str]):
    pass


@command_handler(Ship)
async def ship(command: Ship, order: Order) -> None: ...


@command_handler(Swap)
async def swap(command: Swap, source: Order, target: Order) -> None: ...


@command_handler(Take)
async def take(command: Take, seat: Seat) -> None: ...


@event_handler(Shipped)
class Tell:
    async def handle(self, event: Shipped, shipped: HTTPOrder) -> None: ...


@command_handler(Ship)
async def ship_maybe(command: Ship, order: Order | None = None) -> None:
    assert order is None


class Scales(Module):
    @handles(Weigh)
    async def weigh(self, input: Parcel, order: Order | None) -> str:
        return "gone" if order is None else order.id


def app(*handlers: Any, models: tuple[type, ...] = ()) -> App:
    return App(Module("shop", handlers=handlers, models=models), database="sqlite://")


@contextmanager
def problem(text: str) -> Iterator[None]:
    with pytest.raises(Misconfigured) as raised:
        yield
    head, _, rest = str(raised.value).partition("\n1. ")
    assert head == "The application cannot start: 1 problem."
    assert rest == text


def test_a_message_that_does_not_say_which_is_a_problem_that_names_the_fields() -> None:
    with problem(
        "unnamed aggregate: ship\n"
        "   It asks for `order: Order`, and Ship does not say which: give Ship a field order_id or id, "
        "or ask for Repository[Order]."
    ):
        app(ship)


def test_of_two_of_one_class_each_is_named_after_its_parameter() -> None:
    with problem(
        "unnamed aggregate: swap\n"
        "   It asks for `source: Order`, and Swap does not say which: give Swap a field source_id, "
        "or ask for Repository[Order]."
    ):
        app(swap)


def test_a_class_that_cannot_be_stored_is_a_problem() -> None:
    class Keep(Command[None]):
        order_id: str

    @command_handler(Keep)
    async def keep(command: Keep, order: Unstorable) -> None: ...

    with pytest.raises(
        Misconfigured, match=r"wrong model: Unstorable\n   Unstorable\.strange is a .* cannot be stored"
    ):
        app(keep)


def test_a_table_that_no_module_lists_is_a_problem() -> None:
    with problem(
        "unlisted model: take\n   It asks for Seat, whose table no module lists; add it to the models of one."
    ):
        app(take)
    app(take, models=(Seat,))


def test_fields_are_found_by_the_name_of_the_class_and_as_properties() -> None:
    app(Tell)
    app(take, models=(Seat,))


def test_without_a_database_an_aggregate_is_something_that_nobody_provides() -> None:
    [found] = Bus([ship]).problems()
    assert (found.kind, found.where) == ("missing provider", "Order")


async def test_a_parameter_with_a_default_keeps_it_where_the_message_names_none() -> None:
    async with app(ship_maybe) as running:
        assert (await running.bus.dispatch(Ship(order_number="1"))).is_success


async def test_the_input_of_a_module_may_be_a_dictionary() -> None:
    async with App(Scales("scales"), database="sqlite://") as running:
        assert (await running.bus.dispatch(Weigh(input=Parcel(order_id="1")))).unwrap() == "gone"


def test_a_handler_of_the_wrong_form_is_told_of_all_the_same() -> None:
    @command_handler(Ship)
    async def nothing() -> None: ...  # type: ignore[arg-type]

    @command_handler(Ship)
    class Nothing: ...

    with pytest.raises(Misconfigured) as raised:
        App(Module("shop", handlers=[nothing, Nothing]))
    assert [problem.kind for problem in raised.value.problems].count("wrong handler") == 2


def test_no_model_and_no_repository_is_needed_for_an_application_to_store_something() -> None:
    @command_handler(Ship)
    async def ship(command: Ship, order: Order | None = None) -> None: ...

    assert App(Module("shop", handlers=[ship])).database is not None
