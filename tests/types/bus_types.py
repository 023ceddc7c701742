"""Never run: what mypy and pyright have to agree on. A refusal is asserted by the comment that silences it:
a comment that is not needed is an error in both (`warn_unused_ignores`, `reportUnnecessaryTypeIgnoreComment`)."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from dataclasses import dataclass
from typing import Literal, assert_type

from uno.bus import Bus, CommandBus, EventBus, QueryBus, command_handler, event_handler, query_handler
from uno.errors import NotFound
from uno.messages import Command, DomainEvent, Query
from uno.result import Failure, Result, Success


@dataclass
class Order:
    id: str


class RushOrder(Order):
    pass


class GetOrder(Query[Order]):
    order_id: str


class PlaceOrder(Command[str]):
    sku: str


class Forget(Command[None]):
    pass


class OrderPlaced(DomainEvent):
    order_id: str


# ── what comes back ──


async def dispatching(bus: Bus, commands: CommandBus, queries: QueryBus) -> None:
    assert_type(await bus.dispatch(GetOrder(order_id="1")), Result[Order])
    assert_type(await bus.dispatch(GetOrder(order_id="1")), Success[Order] | Failure)
    assert_type(await bus.dispatch(PlaceOrder(sku="a")), Result[str])
    assert_type(await bus.dispatch(Forget()), Result[None])
    assert_type(await commands.dispatch(PlaceOrder(sku="a")), Result[str])
    assert_type(await queries.dispatch(GetOrder(order_id="1")), Result[Order])


async def the_bus_is_each_of_its_protocols(bus: Bus) -> tuple[CommandBus, QueryBus, EventBus]:
    return bus, bus, bus


async def what_is_refused(bus: Bus, commands: CommandBus, queries: QueryBus, events: EventBus) -> None:
    await bus.dispatch(OrderPlaced(order_id="1"))  # type: ignore[arg-type]
    await bus.publish(PlaceOrder(sku="a"))  # type: ignore[arg-type]
    await commands.dispatch(GetOrder(order_id="1"))  # type: ignore[arg-type]
    await queries.dispatch(PlaceOrder(sku="a"))  # type: ignore[arg-type]
    await events.publish(Forget())  # type: ignore[arg-type]


# ── results ──


async def matching(bus: Bus) -> str:
    result = await bus.dispatch(GetOrder(order_id="1"))
    match result:
        case Success(order):
            assert_type(order, Order)
            return order.id
        case Failure(NotFound() as missing):
            return missing.kind
        case Failure(error):
            assert_type(error, Exception)
            return str(error)


async def asking(bus: Bus) -> None:
    result = await bus.dispatch(GetOrder(order_id="1"))
    assert_type(result.value, Order | None)
    assert_type(result.error, Exception | None)
    assert_type(result.unwrap(), Order)
    assert_type(result.unwrap_or(None), Order | None)
    assert_type(result.map(lambda order: order.id), Success[str] | Failure)
    assert_type(result.and_then(parsed), Success[int] | Failure)
    if isinstance(result, Success):
        assert_type(result, Success[Order])
        assert_type(result.is_failure, Literal[False])
    else:
        assert_type(result, Failure)


def parsed(order: Order) -> Result[int]:
    return Success(int(order.id)) if order.id.isdigit() else Failure(ValueError(order.id))


def a_success_of_less_is_a_success_of_more(rush: Success[RushOrder]) -> Result[Order]:
    return rush


# ── handlers: what they give back, and that decorating changes nothing ──


@query_handler(GetOrder)
async def gives_the_value(message: GetOrder) -> Order:
    return Order(message.order_id)


@query_handler(GetOrder)
async def gives_a_result(message: GetOrder) -> Result[Order]:
    return Success(Order(message.order_id))


@query_handler(GetOrder)
async def gives_a_success(message: GetOrder) -> Success[Order]:
    return Success(Order(message.order_id))


@query_handler(GetOrder)
async def gives_a_failure(message: GetOrder) -> Failure:
    return Failure(NotFound("order", message.order_id))


@query_handler(GetOrder)
async def gives_either(message: GetOrder) -> Order | Failure:
    return Order(message.order_id) if message.order_id else Failure(NotFound("order", ""))


@query_handler(GetOrder)
async def gives_less(message: GetOrder) -> RushOrder:
    return RushOrder(message.order_id)


@command_handler(Forget)
async def gives_nothing(message: Forget, bus: QueryBus) -> None: ...


@command_handler(PlaceOrder)
class Places:
    def __init__(self, bus: QueryBus) -> None:
        self.bus = bus

    async def handle(self, message: PlaceOrder) -> str:
        return message.sku


@event_handler(OrderPlaced, durable=True, name="shop.note")
async def notes(event: OrderPlaced) -> int:
    return len(event.order_id)


@event_handler(OrderPlaced)
class Notes:
    async def handle(self, event: OrderPlaced) -> None: ...


async def decorated_is_what_it_was(bus: Bus) -> None:
    assert_type(await gives_the_value(GetOrder(order_id="1")), Order)
    assert_type(await gives_a_result(GetOrder(order_id="1")), Result[Order])
    assert_type(await gives_nothing(Forget(), bus), None)
    assert_type(await gives_nothing(Forget(), bus=bus), None)
    assert_type(Places(bus), Places)
    assert_type(await Places(bus).handle(PlaceOrder(sku="a")), str)
    assert_type(await notes(OrderPlaced(order_id="1")), int)
    assert_type(Notes(), Notes)
    await gives_the_value(Forget())  # type: ignore[arg-type]


# ── handlers that are refused ──


@query_handler(GetOrder)  # type: ignore[arg-type]
async def gives_something_else(message: GetOrder) -> int:
    return 1


@query_handler(GetOrder)  # type: ignore[arg-type]
async def gives_a_result_of_something_else(message: GetOrder) -> Result[int]:
    return Success(1)


@query_handler(GetOrder)  # type: ignore[arg-type]
async def forgets_to_give_back(message: GetOrder) -> None: ...


@query_handler(GetOrder)  # type: ignore[arg-type]
def is_not_async(message: GetOrder) -> Order:
    return Order(message.order_id)


@query_handler(PlaceOrder)  # type: ignore[arg-type]
async def handles_a_command_as_a_query(message: PlaceOrder) -> str:
    return ""


@command_handler(OrderPlaced)  # type: ignore[arg-type]
async def handles_an_event_as_a_command(message: OrderPlaced) -> None: ...


@event_handler(PlaceOrder)  # type: ignore[arg-type]
async def subscribes_to_a_command(event: PlaceOrder) -> None: ...
