"""Scoped services of handlers: fresh for every message, the same within one, closed where they have to be."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from uno.bus import Bus, command_handler
from uno.di import ServiceProvider, scoped
from uno.messages import Command


class Ask(Command[Any]):
    pass


@scoped
class Cart:
    pass


@scoped
class Checkout:
    def __init__(self, cart: Cart) -> None:
        self.cart = cart


class Connection:
    closed = False


async def test_a_scoped_service_is_fresh_for_every_message() -> None:
    @command_handler(Ask)
    async def handle(message: Ask, cart: Cart) -> Cart:
        return cart

    bus = Bus([handle], provider=ServiceProvider([Cart]))
    first, second = (await bus.dispatch(Ask())).unwrap(), (await bus.dispatch(Ask())).unwrap()
    assert isinstance(first, Cart)
    assert first is not second


async def test_a_handler_and_what_it_needs_share_one_scope() -> None:
    @command_handler(Ask)
    class Handler:
        def __init__(self, checkout: Checkout) -> None:
            self.checkout = checkout

        async def handle(self, message: Ask, cart: Cart, checkout: Checkout) -> bool:
            return checkout is self.checkout and checkout.cart is cart

    bus = Bus([Handler], provider=ServiceProvider([Cart, Checkout]))
    assert (await bus.dispatch(Ask())).unwrap() is True


async def test_what_has_to_be_closed_is_closed_after_the_message() -> None:
    @scoped
    def connect() -> Iterator[Connection]:
        connection = Connection()
        yield connection
        connection.closed = True

    @command_handler(Ask)
    async def handle(message: Ask, connection: Connection) -> tuple[Connection, bool]:
        return connection, connection.closed

    bus = Bus([handle], provider=ServiceProvider([connect]))
    connection, closed_inside = (await bus.dispatch(Ask())).unwrap()
    assert (closed_inside, connection.closed) == (False, True)


async def test_what_is_closed_somewhere_below_a_service_is_closed_too() -> None:
    opened: list[Connection] = []

    @scoped
    async def connect() -> AsyncIterator[Connection]:
        opened.append(Connection())
        yield opened[-1]
        opened[-1].closed = True

    @scoped
    class Store:
        def __init__(self, connection: Connection) -> None:
            self.connection = connection

    @command_handler(Ask)
    async def handle(message: Ask, store: Store) -> bool:
        return store.connection.closed

    bus = Bus([handle], provider=ServiceProvider([connect, Store]))
    assert (await bus.dispatch(Ask())).unwrap() is False
    assert [connection.closed for connection in opened] == [True]


async def test_an_override_reaches_handlers_that_were_composed_before() -> None:
    @command_handler(Ask)
    async def handle(message: Ask, cart: Cart) -> Cart:
        return cart

    provider, mine = ServiceProvider([Cart]), Cart()
    bus = Bus([handle], provider=provider)
    await bus.start()
    with provider.override(Cart, mine):
        assert (await bus.dispatch(Ask())).unwrap() is mine
    assert (await bus.dispatch(Ask())).unwrap() is not mine
