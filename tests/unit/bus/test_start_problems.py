"""What is wrong with the handlers is told before the first message, everything at once, as text for humans."""

import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pytest

from uno.bus import Bus, command_handler, event_handler, query_handler
from uno.bus.unit import Unit
from uno.di import ServiceProvider, singleton
from uno.errors import Misconfigured
from uno.messages import Command, DomainEvent, Query

if TYPE_CHECKING:
    from decimal import Decimal


class Pay(Command[None]):
    pass


class Refund(Command[None]):
    pass


class Balance(Query[int]):
    pass


class Paid(DomainEvent):
    pass


class Gateway(Protocol):
    async def charge(self) -> None: ...


@singleton
class Payments:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway


@singleton
class Till:
    def __init__(self, payments: Payments) -> None:
        self.payments = payments


class Ledger(Protocol): ...


@command_handler(Pay)
async def pay(message: Pay) -> None: ...


async def told_by(bus: Bus) -> str:
    with pytest.raises(Misconfigured) as raised:
        await bus.start()
    return str(raised.value)


async def one_problem(*handlers: object, **options: Any) -> str:
    text = await told_by(Bus(handlers, **options))
    head, _, rest = text.partition("\n1. ")
    assert head == "The application cannot start: 1 problem."
    return rest


async def test_two_handlers_for_one_message() -> None:
    @command_handler(Pay)
    class PayTwice:
        async def handle(self, message: Pay) -> None: ...

    assert await one_problem(pay, PayTwice) == (
        f"duplicate handler: Pay\n   Pay has 2 handlers: {__name__}.pay, {__name__}.PayTwice; keep one."
    )


async def test_the_same_handler_given_twice_is_no_problem() -> None:
    assert Bus([pay, pay]).problems() == []


async def test_messages_of_the_same_class_name_in_two_modules_are_two_messages() -> None:
    other = types.ModuleType("other_shop")
    exec(
        "from uno.bus import command_handler\nfrom uno.messages import Command\n"
        "class Pay(Command[None]): pass\n"
        "@command_handler(Pay)\nasync def pay(message: Pay) -> None: ...\n",
        vars(other),
    )
    bus = Bus([pay, other.pay])
    assert bus.problems() == []
    assert (await bus.dispatch(other.Pay())).is_success
    assert (await bus.dispatch(Pay())).is_success


async def test_a_missing_provider_of_a_handler() -> None:
    @command_handler(Refund)
    async def refund(message: Refund, ledger: Ledger) -> None: ...

    assert await one_problem(refund) == (
        "missing provider: Ledger\n"
        "   refund needs it as `ledger` and nothing provides it: mark a class or a factory for it "
        "with @singleton, @scoped or @transient, or pass value(…, Ledger).\n"
        "   refund → Ledger"
    )


async def test_a_missing_provider_further_in_is_drawn_from_the_outside() -> None:
    provider = ServiceProvider([Payments, Till])
    assert Bus([pay], provider=provider).problems() == []  # the provider tells its own once, not every handler again
    assert [problem.path for problem in provider.problems()] == [("Till", "Payments", "Gateway")]


async def test_a_missing_provider_of_a_handler_class_and_of_its_handle() -> None:
    @command_handler(Pay)
    class PayAtTill:
        def __init__(self, till: Till) -> None: ...

        async def handle(self, message: Pay, ledger: Ledger) -> None: ...

    found = Bus([PayAtTill]).problems()
    assert sorted(problem.path for problem in found) == [("PayAtTill", "Ledger"), ("PayAtTill", "Till")]


async def test_a_parameter_without_an_annotation() -> None:
    @command_handler(Refund)
    async def refund(message: Refund, ledger) -> None: ...  # type: ignore[no-untyped-def]

    assert (await one_problem(refund)).startswith("unannotated parameter: refund(ledger)\n")


async def test_an_annotation_that_is_only_there_for_type_checkers() -> None:
    @command_handler(Refund)
    async def refund(message: Refund, amount: "Decimal") -> None: ...

    assert await one_problem(refund) == (
        "unresolvable annotation: refund\n"
        "   One of its annotations names `Decimal`, which is not there at run time: "
        "import it at the top of the module, outside `if TYPE_CHECKING`."
    )


async def test_a_handler_that_is_not_async() -> None:
    @command_handler(Refund)  # type: ignore[arg-type]
    def refund(message: Refund) -> None: ...

    assert await one_problem(refund) == "wrong handler: refund\n   It is not async; write `async def`."


async def test_a_class_without_handle() -> None:
    @command_handler(Refund)
    class Refunds:
        pass

    assert await one_problem(Refunds) == (
        "wrong handler: Refunds\n   It is a class without a method handle; add `async def handle(self, message)`."
    )


async def test_a_handler_without_a_message() -> None:
    @command_handler(Refund)
    async def refund() -> None: ...

    assert await one_problem(refund) == (
        "wrong handler: refund\n   It takes no message; make the message its first parameter."
    )


async def test_a_handler_that_is_not_marked() -> None:
    async def refund(message: Refund) -> None: ...

    assert await one_problem(refund) == (
        "unmarked handler: refund\n   It says of no message that it handles it; "
        "decorate it with @command_handler, @query_handler or @event_handler."
    )


async def test_a_durable_subscriber_without_a_database() -> None:
    @event_handler(Paid, durable=True)
    async def book(event: Paid) -> None: ...

    assert await one_problem(book) == (
        "durable subscriber: book\n   book is durable but there is no database to keep its events; "
        "give the App a database or leave out durable=True."
    )


@asynccontextmanager
async def open_unit() -> AsyncIterator[Unit]:
    raise AssertionError("nothing is opened while starting")
    yield


async def test_a_durable_subscriber_with_a_unit_of_work_is_fine() -> None:
    @event_handler(Paid, durable=True)
    async def book(event: Paid) -> None: ...

    await Bus([book], open_unit=open_unit).start()


async def test_two_subscribers_stored_under_one_name() -> None:
    @event_handler(Paid, durable=True, name="shop.book")
    async def book(event: Paid) -> None: ...

    @event_handler(Paid, durable=True, name="shop.book")
    async def book_again(event: Paid) -> None: ...

    assert await one_problem(book, book_again, open_unit=open_unit) == (
        f"duplicate subscriber: shop.book\n   shop.book names 2 subscribers: {__name__}.book, {__name__}.book_again; "
        "give each its own name=."
    )


async def test_two_messages_stored_under_one_name() -> None:
    class Opened(DomainEvent):
        name: ClassVar[str] = "shop.event"

    class Closed(DomainEvent):
        name: ClassVar[str] = "shop.event"

    @event_handler(Opened)
    @event_handler(Closed)
    async def hear(event: DomainEvent) -> None: ...

    text = await one_problem(hear)
    assert text.startswith("duplicate message name: shop.event\n   shop.event names 2 messages: ")
    assert text.endswith("; change one's name.")


async def test_everything_that_is_wrong_is_told_at_once() -> None:
    @command_handler(Pay)
    async def pay_again(message: Pay) -> None: ...

    @command_handler(Refund)
    async def refund(message: Refund, ledger: Ledger) -> None: ...

    @query_handler(Balance)  # type: ignore[arg-type]
    def balance(message: Balance) -> int:
        return 0

    @event_handler(Paid, durable=True)
    async def book(event: Paid) -> None: ...

    async def forgotten(message: Pay) -> None: ...

    bus = Bus([pay, pay_again, refund, balance, book, forgotten])
    text = await told_by(bus)
    assert text == (
        "The application cannot start: 5 problems.\n"
        "1. duplicate handler: Pay\n"
        f"   Pay has 2 handlers: {__name__}.pay, {__name__}.pay_again; keep one.\n"
        "2. durable subscriber: book\n"
        "   book is durable but there is no database to keep its events; "
        "give the App a database or leave out durable=True.\n"
        "3. missing provider: Ledger\n"
        "   refund needs it as `ledger` and nothing provides it: mark a class or a factory for it "
        "with @singleton, @scoped or @transient, or pass value(…, Ledger).\n"
        "   refund → Ledger\n"
        "4. unmarked handler: forgotten\n"
        "   It says of no message that it handles it; "
        "decorate it with @command_handler, @query_handler or @event_handler.\n"
        "5. wrong handler: balance\n"
        "   It is not async; write `async def`."
    )
    with pytest.raises(Misconfigured, match="5 problems"):
        await bus.dispatch(Pay())
    with pytest.raises(Misconfigured, match="5 problems"):
        await bus.publish(Paid())
