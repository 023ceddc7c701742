"""Modules with typed events in an application over PostgreSQL: one transaction, one pipeline, one queue."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Mapped, mapped_column

from uno import clock
from uno.app import App
from uno.audit import AuditTrail
from uno.bus import Bus, command_handler
from uno.bus.promise import WrongResult
from uno.data import Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.errors import Conflict, Misconfigured, NotFound, Unavailable
from uno.messages import Command, DomainEvent
from uno.modules import (
    Event,
    EventHandlingError,
    EventInput,
    EventOutput,
    EventUnhandled,
    ExternalEvent,
    Module,
    ModuleHost,
    ModuleHostConfig,
    handles,
    module,
)
from uno.queue import DeadLetters
from uno.queue.tables import deliveries
from uno.resilience import CircuitBreaker, CircuitBreakerOpen, DeadLetterQueue, RetryPolicy
from uno.result import Failure, Result, Success
from uno.settings import Settings, WorkerSettings
from uno.testing.postgres import DatabaseFarm


class Account(VersionMixin, Model, AggregateRoot[str]):
    __tablename__ = "flow_accounts"
    id: Mapped[str] = mapped_column(primary_key=True)
    balance: Mapped[int] = mapped_column(default=0)


@dataclass
class OpenInput(EventInput):
    account_id: str = ""


@dataclass
class Opened(EventOutput):
    account_id: str = ""


class OpenAccount(Event[OpenInput, Opened]):
    name = "accounts.create"


class PayIn(BaseModel):
    account_id: str
    amount: int


class Balance(BaseModel):
    balance: int


class Pay(Event[PayIn, Balance]):
    name = "accounts.pay"


class OpenAndPay(Event[PayIn, Balance]):
    name = "accounts.open_and_pay"


class Count(Event[EventInput, int]):
    name = "accounts.count"


@module(name="accounts", description="Money that belongs to somebody")
class Accounts(Module):
    models = [Account]
    routes = [OpenAccount]

    @handles(OpenAccount)
    async def open(self, input: OpenInput, accounts: Repository[Account]) -> Opened:
        await accounts.add(Account(id=input.account_id))
        return Opened(input.account_id)

    @handles(Pay)
    async def pay(self, input: PayIn, accounts: Repository[Account]) -> Balance:
        account = await accounts.get(input.account_id)
        account.balance += input.amount
        if account.balance > 1000:
            raise Conflict("That is too much money.")
        return Balance(balance=account.balance)

    @handles(OpenAndPay)
    async def open_and_pay(self, input: PayIn, bus: Bus) -> Result[Balance]:
        opened = await bus.dispatch(OpenAccount(input=OpenInput(input.account_id)))
        return opened if isinstance(opened, Failure) else await bus.dispatch(Pay(input=input))

    @handles(Count)
    def count(self, input: EventInput, host: ModuleHost) -> int:
        return len(host.modules)


class Ledger(Module):
    """Learns of payments by name, and counts how often it is told."""

    def __init__(self) -> None:
        self.told: list[ExternalEvent] = []
        self.failures = 0

    def can_handle(self, event: Event[Any, Any]) -> bool:
        return event.name == "payment.seen"

    async def handle(self, event: Event[Any, Any]) -> None:
        self.told.append(event)
        assert self.host is not None
        if self.failures:
            self.failures -= 1
            raise Unavailable("The ledger is away.")
        event.handled = True


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        yield farm


Make = Callable[..., App]


@pytest.fixture
async def url(farm: DatabaseFarm) -> str:
    async def prepare(url: str) -> None:
        app = App(Accounts(), database=url, settings=Settings())
        assert app.database is not None
        async with app.database:
            await app.create_schema()

    await farm.template("accounts", prepare)
    return await farm.create("accounts")


def an_app(url: str, *modules: Module, **options: Any) -> App:
    settings = Settings(worker=WorkerSettings(base_delay=0.01, max_attempts=2))
    return App(Accounts(), *modules, database=url, settings=settings, **options)


async def balances(app: App) -> dict[str, int]:
    assert app.database is not None
    rows = await app.database.query(select(Account.id, Account.balance))
    return dict(map(tuple, rows))


async def test_an_event_is_dispatched_like_a_command_and_changes_what_a_command_would(url: str) -> None:
    async with an_app(url) as app:
        found = await app.bus.dispatch(OpenAccount(input=OpenInput("ann")))
        assert found == Success(Opened("ann"))
        paid = await app.host.handle_async(Pay(input=PayIn(account_id="ann", amount=5)))
        assert paid.output == Balance(balance=5)
        assert await balances(app) == {"ann": 5}
        trail = await (await app.provider.get(AuditTrail)).query(component="Account")
        assert [entry.operation for entry in trail] == ["create", "update"]


async def test_a_failure_rolls_back_and_is_the_result_of_the_bus(url: str) -> None:
    async with an_app(url) as app:
        await app.bus.dispatch(OpenAccount(input=OpenInput("bob")))
        refused = await app.bus.dispatch(Pay(input=PayIn(account_id="bob", amount=5000)))
        assert isinstance(refused.error, Conflict)
        assert await balances(app) == {"bob": 0}
        with pytest.raises(EventHandlingError) as caught:
            await app.host.handle_async(Pay(input=PayIn(account_id="nobody", amount=1)))
        assert isinstance(caught.value.original_error, NotFound)
        assert caught.value.module is app.modules[0]


class OpenWrongly(Command[Balance]):
    account_id: str


@command_handler(OpenWrongly)
async def open_wrongly(command: OpenWrongly, accounts: Repository[Account]) -> Any:
    await accounts.add(Account(id=command.account_id))
    return "done"


class OpenOddly(Event[OpenInput, Opened]):
    name = "accounts.oddly"


class Odd(Module):
    @handles(OpenOddly)
    async def open_oddly(self, input: OpenInput, accounts: Repository[Account]) -> Any:
        await accounts.add(Account(id=input.account_id))
        return Balance(balance=1)


async def test_a_handler_that_returns_what_nobody_promised_stores_nothing(url: str) -> None:
    async with an_app(url, Odd(), Module("wrong", handlers=[open_wrongly])) as app:
        with pytest.raises(WrongResult, match="OpenWrongly returned str, but the message promises Balance"):
            await app.bus.dispatch(OpenWrongly(account_id="ann"))
        with pytest.raises(WrongResult, match="OpenOddly returned Balance, but the message promises"):
            await app.bus.dispatch(OpenOddly(input=OpenInput("bob")))
        assert await balances(app) == {}


async def test_nested_events_share_the_transaction(url: str) -> None:
    async with an_app(url) as app:
        first = await app.bus.dispatch(OpenAndPay(input=PayIn(account_id="cleo", amount=7)))
        assert first == Success(Balance(balance=7))
        second = await app.bus.dispatch(OpenAndPay(input=PayIn(account_id="dora", amount=5000)))
        assert isinstance(second, Failure)
        assert await balances(app) == {"cleo": 7}


async def test_a_synchronous_handler_gets_what_it_asks_for_and_runs_in_a_thread(url: str) -> None:
    async with an_app(url, Ledger()) as app:
        assert await app.bus.dispatch(Count(input=EventInput())) == Success(2)


async def test_another_thread_hands_events_to_the_loop_of_the_application(url: str) -> None:
    async with an_app(url) as app:
        event = OpenAccount(input=OpenInput("eve"))
        handled = await asyncio.to_thread(app.host.handle, event)
        assert handled is event
        assert handled.output == Opened("eve")
        with pytest.raises(Misconfigured, match=r"await host\.handle_async"):
            app.host.handle(OpenAccount(input=OpenInput("fay")))


async def test_what_no_module_handles_is_a_bug_on_the_bus_and_unhandled_at_the_host(url: str) -> None:
    class Lost(Event[EventInput, EventOutput]):
        pass

    async with an_app(url) as app:
        with pytest.raises(Misconfigured, match="Nothing handles Lost"):
            await app.bus.dispatch(Lost(input=EventInput()))
        assert not (await app.host.handle_async(Lost(input=EventInput()))).handled
        assert not app.host.can_handle(Lost())


async def test_a_module_that_can_handle_but_does_not_is_a_failure_on_the_bus(url: str) -> None:
    class Shy(Module):
        def can_handle(self, event: Event[Any, Any]) -> bool:
            return True

        def handle(self, event: Event[Any, Any]) -> None:
            return None

    async with an_app(url, Shy()) as app:
        found = await app.bus.dispatch(Event[EventInput, EventOutput](name="what"))
        assert isinstance(found.error, EventUnhandled)


async def test_a_payload_published_in_a_unit_of_work_is_delivered_with_its_commit(url: str) -> None:
    ledger = Ledger()
    async with an_app(url, ledger, host=ModuleHostConfig(enable_metrics=True)) as app:
        worker = app.worker()
        message_id = await app.host.publish("payment.seen", {"amount": 3}, {"kind": "test"}, stream="payments")
        assert ledger.told == []
        await worker.drain()
        [told] = ledger.told
        assert (told.input.data, told.input.source_stream, told.input.message_id) == (
            {"amount": 3}, "payments", message_id,
        )  # fmt: skip
        assert told.input.headers["kind"] == "test"
        assert app.host.metrics is not None
        assert app.host.metrics.events_published == 1
        await worker.drain()
        assert len(ledger.told) == 1


async def test_a_payload_of_a_message_that_fails_is_never_delivered(url: str) -> None:
    class Teller(Module):
        @handles(Pay)
        async def pay(self, input: PayIn, host: ModuleHost, uow: UnitOfWork) -> Balance:
            await host.publish("payment.seen", {"amount": input.amount})
            raise Conflict("No.")

    ledger = Ledger()
    app = App(Teller(), ledger, database=url, settings=Settings())
    async with app:
        assert (await app.bus.dispatch(Pay(input=PayIn(account_id="x", amount=1)))).is_failure
        await app.worker().drain()
        assert ledger.told == []
        assert app.database is not None
        assert (await app.database.query(select(func.count()).select_from(deliveries)))[0][0] == 0


async def test_a_failed_delivery_is_tried_again_and_then_dead(url: str) -> None:
    ledger = Ledger()
    ledger.failures = 2
    async with an_app(url, ledger) as app:
        message_id = await app.host.publish("payment.seen")
        worker = app.worker()
        letters = await app.provider.get(DeadLetters)
        async with clock.timeout(20):
            while not (dead := await letters.list()):
                await worker.drain()
                await asyncio.sleep(0.01)
        assert [letter.event_id for letter in dead] == [message_id]
        assert len(ledger.told) == 2
        assert "The ledger is away." in str(dead[0].error)


async def test_a_domain_event_is_not_published_by_the_host(url: str) -> None:
    class Happened(DomainEvent):
        pass

    async with an_app(url) as app:
        with pytest.raises(Misconfigured, match=r"await bus\.publish\(event\)"):
            await app.host.publish(Happened())  # type: ignore[arg-type]


async def test_the_behaviours_of_the_host_stand_around_events_in_the_pipeline_of_the_bus(url: str) -> None:
    attempts = 0

    class Flaky(Module):
        models = [Account]

        @handles(Pay)
        async def pay(self, input: PayIn, accounts: Repository[Account]) -> Balance:
            nonlocal attempts
            attempts += 1
            await accounts.add(Account(id=input.account_id, balance=attempts))
            if input.amount > attempts:
                raise Unavailable("not yet")
            return Balance(balance=attempts)

    dead = DeadLetterQueue()
    config = ModuleHostConfig(
        enable_metrics=True,
        retry_policy=RetryPolicy(max_retries=2, base_delay=0, budget=None),
        circuit_breaker=CircuitBreaker(failure_threshold=4),
        dead_letter_queue=dead,
    )
    async with App(Flaky(), database=url, settings=Settings(), host=config) as app:
        # The attempts that failed left nothing behind: the third has a transaction of its own.
        assert await app.bus.dispatch(Pay(input=PayIn(account_id="gus", amount=3))) == Success(Balance(balance=3))
        assert await balances(app) == {"gus": 3}
        refused = await app.bus.dispatch(Pay(input=PayIn(account_id="hal", amount=100)))
        assert isinstance(refused.error, Unavailable)
        assert [(entry.attempts, entry.module_name) for entry in dead.entries] == [(3, "flaky")]
        more = await app.bus.dispatch(Pay(input=PayIn(account_id="hal", amount=100)))
        assert isinstance(more.error, Unavailable)
        broken = await app.bus.dispatch(Pay(input=PayIn(account_id="hal", amount=100)))
        assert isinstance(broken.error, CircuitBreakerOpen)
        assert app.host.metrics is not None
        counts = app.host.metrics.to_dict()
        assert (counts["events_handled"], counts["events_failed"]) == (1, 2)
        assert (counts["events_retried"], counts["events_circuit_broken"]) == (6, 1)
        assert await balances(app) == {"gus": 3}
