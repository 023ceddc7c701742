"""Handlers that ask for the aggregate their message names."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import MetaData, String, select
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.app import App
from uno.audit.tables import audit
from uno.bus import EventBus, command_handler, event_handler, query_handler
from uno.data import Database, Model, Repository, UnitOfWork, UUIDMixin, VersionMixin
from uno.di import scoped
from uno.domain import AggregateRoot
from uno.errors import Conflict, Invalid, Misconfigured, NotFound, VersionConflict
from uno.messages import Command, DomainEvent, Query
from uno.modules import Event, EventInput, Module, handles
from uno.queue import DeadLetters


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class OrderShipped(DomainEvent):
    order_id: str


class OrderSeen(DomainEvent):
    order_id: str


@dataclass(eq=False)
class Order(AggregateRoot[str]):
    """Stored as a document."""

    id: str
    lines: int = 0
    shipped: bool = False
    deleted_at: datetime | None = None

    def ship(self) -> None:
        if self.shipped:
            raise Conflict(f"{self.id} is shipped already.")
        self.shipped = True
        self.register_event(OrderShipped(order_id=self.id))


class Account(UUIDMixin, VersionMixin, Base):
    __tablename__ = "agg_accounts"
    balance: Mapped[int] = mapped_column(default=0)


class Tally(Base):
    """Has no version."""

    __tablename__ = "agg_tallies"
    name: Mapped[str] = mapped_column(String(9), primary_key=True)
    count: Mapped[int] = mapped_column(default=0)


class PlaceOrder(Command[None]):
    order_id: str


class ShipOrder(Command[int]):
    order_id: str
    order_version: int | None = None


class AddLine(Command[int]):
    order_id: str
    lines: int = 1


class CopyLines(Command[None]):
    source_id: str
    target_id: str


class SeeOrder(Command[None]):
    order_id: str


class Reorder(Command[bool]):
    order_id: str | None = None


class PackOrder(Command[None]):
    order_id: str


class GetOrder(Query[int]):
    id: str
    change: bool = False


class Transfer(Command[None]):
    source_id: UUID
    target_id: UUID
    amount: int


class Deposit(Command[int]):
    account_id: str
    amount: int


class Count(Command[None]):
    tally_id: str


class Invoice(AggregateRoot[str]):
    def __init__(self, id: str) -> None:
        super().__init__(id=id)


@command_handler(PlaceOrder)
async def place(command: PlaceOrder, order: Order | None, orders: Repository[Order]) -> None:
    if order is not None:
        raise Conflict("It is there already.")
    await orders.add(Order(command.order_id))


@command_handler(ShipOrder)
async def ship(command: ShipOrder, order: Order) -> int:
    order.ship()
    return order.version


@command_handler(AddLine)
async def add_line(command: AddLine, order: Order) -> int:
    order.lines += command.lines
    return order.version + 1


@command_handler(CopyLines)
async def copy_lines(command: CopyLines, source: Order, target: Order) -> None:
    target.lines += source.lines + 1


@command_handler(SeeOrder)
async def see(command: SeeOrder, it: Order, events: EventBus) -> None:
    await events.publish(OrderSeen(order_id=it.id))


@command_handler(Reorder)
async def reorder(command: Reorder, order: Order | None) -> bool:
    return order is None


@scoped
class Packer:
    def pack(self, order: Order) -> None:
        order.lines = 100


@command_handler(PackOrder)
class Pack:
    def __init__(self, packer: Packer) -> None:
        self.packer = packer

    async def handle(self, command: PackOrder, order: Order) -> None:
        self.packer.pack(order)


@query_handler(GetOrder)
async def get(query: GetOrder, order: Order) -> int:
    order.lines += query.change
    return order.lines


@command_handler(Transfer)
async def transfer(command: Transfer, source: Account, target: Account) -> None:
    source.balance -= command.amount
    target.balance += command.amount


@command_handler(Deposit)
async def deposit(command: Deposit, into: Account) -> int:
    into.balance += command.amount
    return into.balance


@command_handler(Count)
async def count(command: Count, tally: Tally) -> None:
    tally.count += 1


@event_handler(OrderShipped, durable=True, name="agg.invoice")
async def invoice(event: OrderShipped, order: Order, invoices: Repository[Invoice]) -> None:
    order.lines = 0
    await invoices.add(Invoice(event.order_id))


@dataclass
class Weigh(EventInput):
    order_id: str


class WeighEvent(Event[Weigh, int]):
    pass


class Scales(Module):
    @handles(WeighEvent)
    def weigh(self, input: Weigh, order: Order) -> int:
        order.lines += 1
        return order.lines * 10


HANDLERS = [place, ship, add_line, copy_lines, see, reorder, Pack, get, transfer, deposit, count, invoice]


def module(**options: Any) -> Module:
    return Module("shop", handlers=HANDLERS, models=[Order, Account, Tally, Invoice], providers=[Packer], **options)


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    return await fresh(backend, Base.metadata, commit=request.param)


@pytest.fixture
async def app(database: Database) -> AsyncIterator[App]:
    async with App(module(), Scales(), database=database) as app:
        yield app


async def done(app: App, message: Any) -> Any:
    return (await app.bus.dispatch(message)).unwrap()


async def stored(database: Database, entity: type[Any], id: Any) -> Any:
    async with UnitOfWork(database):
        return await Repository(entity).get_by_id(id, include_deleted=True)


async def operations(database: Database) -> list[str]:
    return [row.operation for row in await database.query(select(audit.c.operation).order_by(audit.c.id))]


async def test_it_is_loaded_handed_over_saved_with_its_version_and_its_events_are_collected(
    app: App, database: Database
) -> None:
    await done(app, PlaceOrder(order_id="a"))
    await done(app, AddLine(order_id="a"))
    assert await done(app, ShipOrder(order_id="a")) == 2
    await app.worker().drain()
    order = await stored(database, Order, "a")
    assert (order.shipped, order.lines, order.version) == (True, 0, 4)
    assert await stored(database, Invoice, "a") is not None
    assert isinstance((await app.bus.dispatch(ShipOrder(order_id="a"))).error, Conflict)


async def test_what_is_missing_or_deleted_softly_is_not_found(app: App, database: Database) -> None:
    missing = (await app.bus.dispatch(ShipOrder(order_id="b"))).error
    assert isinstance(missing, NotFound)
    assert (missing.kind, missing.id) == ("Order", "b")
    await done(app, PlaceOrder(order_id="b"))
    async with UnitOfWork(database):
        await Repository(Order).soft_delete("b")
    assert isinstance((await app.bus.dispatch(ShipOrder(order_id="b"))).error, NotFound)
    assert await done(app, Reorder(order_id="b"))


async def test_none_is_handed_over_where_the_handler_allows_it(app: App) -> None:
    assert await done(app, Reorder())
    assert await done(app, Reorder(order_id="c"))
    await done(app, PlaceOrder(order_id="c"))
    assert not await done(app, Reorder(order_id="c"))
    assert isinstance((await app.bus.dispatch(PlaceOrder(order_id="c"))).error, Conflict)


async def test_an_id_that_is_none_is_named_as_in_the_message(app: App) -> None:
    wrong = (await app.bus.dispatch(Deposit(account_id="no uuid", amount=1))).error
    assert isinstance(wrong, Invalid)
    assert [(error.field, error.code) for error in wrong.errors] == [("account_id", "value")]


@pytest.fixture
async def placed(app: App) -> App:
    for id in "ab":
        await done(app, PlaceOrder(order_id=id))
    return app


async def somebody_else(database: Database, **values: Any) -> None:
    """Changes the order in a unit of work of its own."""

    async def change() -> None:
        async with UnitOfWork(database):
            await Repository(Order).update("a", **values)

    # In an empty context, where no unit of work is open.
    await asyncio.create_task(change(), context=Context())


# About order a: it is changed; something is published; what was read there is written elsewhere.
DECISIONS = [AddLine(order_id="a"), SeeOrder(order_id="a"), CopyLines(source_id="a", target_id="b")]


@pytest.mark.parametrize("message", DECISIONS)
async def test_a_decision_about_what_was_changed_meanwhile_is_a_conflict(
    placed: App, database: Database, message: Any
) -> None:
    with pytest.raises(VersionConflict):
        async with UnitOfWork(database):
            assert (await placed.bus.dispatch(message)).is_success
            await somebody_else(database, lines=7)
    assert (await stored(database, Order, "a")).lines == 7
    assert (await stored(database, Order, "b")).lines == 0


async def test_a_message_may_say_which_version_it_is_about(placed: App, database: Database) -> None:
    await somebody_else(database, lines=7)
    stale = (await placed.bus.dispatch(ShipOrder(order_id="a", order_version=1))).error
    assert isinstance(stale, VersionConflict)
    assert not stale.repeatable
    assert await done(placed, ShipOrder(order_id="a", order_version=2)) == 2


async def test_a_handler_that_changes_nothing_writes_nothing(placed: App, database: Database) -> None:
    before = await operations(database)
    async with UnitOfWork(database):
        await done(placed, AddLine(order_id="a", lines=0))
        await somebody_else(database, lines=7)
    assert (await stored(database, Order, "a")).version == 2
    # What somebody else did.
    assert await operations(database) == [*before, "update"]


async def test_a_query_reads_it_and_cannot_change_it(placed: App, database: Database) -> None:
    assert await done(placed, GetOrder(id="a")) == 0
    with pytest.raises(Misconfigured, match="A query changes nothing"):
        await placed.bus.dispatch(GetOrder(id="a", change=True))
    assert (await stored(database, Order, "a")).version == 1


async def test_handler_classes_and_methods_of_modules_get_it_too(placed: App, database: Database) -> None:
    await done(placed, PackOrder(order_id="a"))
    assert await done(placed, WeighEvent(input=Weigh("a"))) == 1010
    assert (await stored(database, Order, "a")).version == 3
    assert isinstance((await placed.bus.dispatch(WeighEvent(input=Weigh("c")))).error, NotFound)


async def test_a_durable_subscriber_of_what_is_gone_leaves_a_dead_letter(placed: App, database: Database) -> None:
    await done(placed, ShipOrder(order_id="a"))
    async with UnitOfWork(database):
        await Repository(Order).delete("a")
    await placed.worker().drain()
    [letter] = await DeadLetters(database).list()
    assert "There is no Order with id 'a'." in str(letter)


async def test_what_somebody_provides_is_no_matter_of_the_message(database: Database) -> None:
    provided = Order("mine")
    async with App(module(), database=database, overrides={Order: provided}) as app:
        await done(app, AddLine(order_id="anything"))
    assert provided.lines == 1


async def accounts(database: Database, number: int) -> list[UUID]:
    async with UnitOfWork(database):
        return [(await Repository(Account).add(Account(balance=100))).id for _ in range(number)]


async def all_of(app: App, messages: Iterator[Any]) -> list[Any]:
    return [result.unwrap() for result in await asyncio.gather(*map(app.bus.dispatch, messages))]


async def test_each_version_has_one_winner_and_nothing_is_lost(app: App, database: Database) -> None:
    [id] = await accounts(database, 1)
    balances = await all_of(app, (Deposit(account_id=str(id), amount=1) for _ in range(20)))
    assert sorted(balances) == list(range(101, 121))
    account = await stored(database, Account, id)
    assert (account.balance, account.version) == (120, 21)


async def test_without_a_version_the_row_is_locked_from_the_start(app: App, database: Database) -> None:
    async with UnitOfWork(database):
        await Repository(Tally).add(Tally(name="t"))
    await all_of(app, (Count(tally_id="t") for _ in range(20)))
    assert (await stored(database, Tally, "t")).count == 20


async def test_two_of_one_class_are_told_apart_and_do_not_wait_for_each_other(app: App, database: Database) -> None:
    one, two = await accounts(database, 2)
    pairs = [(one, two), (two, one)] * 10
    results = await asyncio.gather(
        *(app.bus.dispatch(Transfer(source_id=s, target_id=t, amount=n)) for n, (s, t) in enumerate(pairs))
    )
    assert [r.error for r in results if r.error is not None] == []
    sums = [(await stored(database, Account, id)).balance for id in (one, two)]
    assert sums == [110, 90]
    assert isinstance(
        (await app.bus.dispatch(Transfer(source_id=one, target_id=id_of_nobody(), amount=1))).error, NotFound
    )


def id_of_nobody() -> UUID:
    return UUID(int=1)


async def test_the_same_row_twice_is_one_object(app: App, database: Database) -> None:
    [one] = await accounts(database, 1)
    await done(app, Transfer(source_id=one, target_id=one, amount=5))
    account = await stored(database, Account, one)
    assert (account.balance, account.version) == (100, 1)
