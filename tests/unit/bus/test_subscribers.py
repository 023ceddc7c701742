"""Publishing: every subscriber hears of it, and none can silence another."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from uno.bus import Bus, EventBus, command_handler, event_handler
from uno.bus.unit import current_unit
from uno.context import Context, current
from uno.errors import Conflict, Misconfigured, UnoError
from uno.messages import Command, DomainEvent, Envelope
from uno.result import Failure, Success


class Sold(DomainEvent):
    sku: str = "T1"


class GiftSold(Sold):
    pass


class Closed(DomainEvent):
    pass


class Sell(Command[None]):
    pass


class Shop:
    """Subscribers that write down what they heard."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def hearing(self, event: type[DomainEvent], name: str, error: BaseException | None = None, **how: bool) -> object:
        @event_handler(event, name=name, **how)
        async def hear(happened: DomainEvent) -> None:
            self.heard.append(name)
            if error is not None:
                raise error

        return hear


async def test_an_event_reaches_all_its_subscribers_in_order() -> None:
    shop = Shop()
    bus = Bus([shop.hearing(Sold, "a"), shop.hearing(Closed, "x"), shop.hearing(Sold, "b")])
    await bus.publish(Sold())
    assert shop.heard == ["a", "b"]


async def test_an_event_without_subscribers_is_fine() -> None:
    await Bus().publish(Sold())


@pytest.mark.parametrize("error", [ValueError("bug"), Conflict("no"), Misconfigured("wrong"), TimeoutError()])
async def test_a_failing_subscriber_neither_stops_nor_mutes_the_others(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop()
    bus = Bus([shop.hearing(Sold, "a"), shop.hearing(Sold, "fails", error), shop.hearing(Sold, "b")])
    for _ in range(2):
        await bus.publish(Sold())
    assert shop.heard == ["a", "fails", "b"] * 2
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [vars(record)["subscriber"] for record in told] == ["fails", "fails"]


async def test_a_subscriber_that_returns_a_failure_is_told_in_the_logs(caplog: pytest.LogCaptureFixture) -> None:
    @event_handler(Sold, name="shop.refuses")
    async def refuse(event: Sold) -> Failure:
        return Failure(Conflict("sold out"))

    shop = Shop()
    await Bus([refuse, shop.hearing(Sold, "b")]).publish(Sold())
    assert shop.heard == ["b"]
    assert "subscriber failed: sold out" in caplog.text


async def test_a_publisher_that_is_cancelled_is_cancelled_and_who_was_not_told_yet_is_told_all_the_same() -> None:
    started = asyncio.Event()

    @event_handler(Sold)
    async def hang(event: Sold) -> None:
        started.set()
        await asyncio.Event().wait()

    shop = Shop()
    task = asyncio.create_task(Bus([hang, shop.hearing(Sold, "b")]).publish(Sold()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while not shop.heard:
        await asyncio.sleep(0)
    assert shop.heard == ["b"]


async def test_who_subscribes_to_a_base_class_hears_of_all_below_it() -> None:
    shop = Shop()
    bus = Bus([shop.hearing(DomainEvent, "all"), shop.hearing(Sold, "sold"), shop.hearing(GiftSold, "gift")])
    await bus.publish(GiftSold())
    assert sorted(shop.heard) == ["all", "gift", "sold"]
    shop.heard.clear()
    await bus.publish(Sold())
    assert sorted(shop.heard) == ["all", "sold"]
    shop.heard.clear()
    await bus.publish(Closed())
    assert shop.heard == ["all"]


async def test_who_subscribes_twice_hears_of_each_event_once() -> None:
    heard: list[DomainEvent] = []

    @event_handler(Sold)
    @event_handler(GiftSold)
    async def hear(event: Sold) -> None:
        heard.append(event)

    bus = Bus([hear, hear])
    events = [GiftSold(), Sold()]
    for event in events:
        await bus.publish(event)
    assert heard == events


async def test_a_bus_that_is_started_twice_tells_each_subscriber_once() -> None:
    shop = Shop()
    bus = Bus([shop.hearing(Sold, "a")])
    await bus.start()
    await bus.start()
    await bus.publish(Sold())
    assert shop.heard == ["a"]


async def test_a_bus_with_only_subscribers_starts_once() -> None:
    shop = Shop()
    bus = Bus([shop.hearing(Sold, "a")])
    await asyncio.gather(*(bus.publish(Sold()) for _ in range(5)))
    assert shop.heard == ["a"] * 5


async def test_a_handler_publishes_through_the_bus_it_asks_for() -> None:
    shop = Shop()

    @command_handler(Sell)
    async def sell(message: Sell, events: EventBus) -> None:
        await events.publish(Sold())

    assert await Bus([sell, shop.hearing(Sold, "a")]).dispatch(Sell()) == Success(None)
    assert shop.heard == ["a"]


async def test_a_subscriber_may_publish_and_dispatch() -> None:
    shop = Shop()

    @command_handler(Sell)
    async def sell(message: Sell) -> None:
        shop.heard.append("sell")

    @event_handler(Sold)
    async def restock(event: Sold, bus: Bus) -> None:
        await bus.dispatch(Sell())
        await bus.publish(Closed())

    await Bus([sell, restock, shop.hearing(Closed, "closed")]).publish(Sold())
    assert shop.heard == ["sell", "closed"]


# ── with a unit of work ──


class Notebook:
    """A unit of work that tells its events when it is left without an error."""

    over = False

    def __init__(self) -> None:
        self.recorded: list[DomainEvent] = []
        self.opened = 0

    def record(self, event: DomainEvent) -> None:
        self.recorded.append(event)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator["Notebook"]:
        self.opened += 1
        token = current_unit.set(self)
        try:
            yield self
        finally:
            current_unit.reset(token)


async def test_inside_a_unit_of_work_an_event_waits_for_it() -> None:
    notebook, shop = Notebook(), Shop()
    bus = Bus([shop.hearing(Sold, "a")], open_unit=notebook)
    event = Sold()
    async with notebook():
        await bus.publish(event)
    assert (notebook.recorded, notebook.opened, shop.heard) == ([event], 1, [])
    await bus.notify(notebook.recorded)
    assert shop.heard == ["a"]


async def test_outside_a_unit_of_work_one_is_opened_for_the_event() -> None:
    notebook = Notebook()
    event = Sold()
    await Bus([], open_unit=notebook).publish(event)
    assert (notebook.recorded, notebook.opened) == ([event], 1)


async def test_a_durable_subscriber_is_run_by_delivery_and_not_by_publishing() -> None:
    notebook, shop = Notebook(), Shop()
    bus = Bus([shop.hearing(Sold, "shop.durable", durable=True)], open_unit=notebook)
    await bus.notify([Sold()])
    assert shop.heard == []
    assert await bus.deliver(Envelope(Sold(), "shop.durable")) == Success(None)
    assert shop.heard == ["shop.durable"]


async def test_a_delivery_runs_in_the_context_the_event_was_recorded_in() -> None:
    seen: list[str] = []

    @event_handler(Sold, durable=True, name="shop.who")
    async def who(event: Sold) -> None:
        seen.append(current().correlation_id)

    bus = Bus([who], open_unit=Notebook())
    await bus.deliver(Envelope(Sold(), "shop.who", Context("c-1")))
    assert seen == ["c-1"]
    assert current().correlation_id != "c-1"


@pytest.mark.parametrize("error", [Conflict("no"), UnoError("no")])
async def test_a_delivery_that_is_refused_is_a_failure(error: UnoError) -> None:
    shop = Shop()
    bus = Bus([shop.hearing(Sold, "shop.refuses", error, durable=True)], open_unit=Notebook())
    assert (await bus.deliver(Envelope(Sold(), "shop.refuses"))).error is error


@pytest.mark.parametrize("error", [ValueError("bug"), Misconfigured("wrong")])
async def test_a_bug_in_a_delivery_is_raised(error: Exception) -> None:
    shop = Shop()
    bus = Bus([shop.hearing(Sold, "shop.breaks", error, durable=True)], open_unit=Notebook())
    with pytest.raises(type(error)):
        await bus.deliver(Envelope(Sold(), "shop.breaks"))


async def test_a_delivery_to_a_name_that_no_code_knows_says_so() -> None:
    bus = Bus([Shop().hearing(Sold, "shop.known", durable=True)], open_unit=Notebook())
    with pytest.raises(KeyError, match=r"shop\.gone"):
        await bus.deliver(Envelope(Sold(), "shop.gone"))


def test_the_durable_subscribers_of_an_event_are_known_by_their_stored_names() -> None:
    shop = Shop()

    @event_handler(Closed, durable=True)
    @event_handler(GiftSold, durable=True)
    @event_handler(Sold, durable=True)
    async def book(event: DomainEvent) -> None: ...

    bus = Bus([shop.hearing(Sold, "shop.a", durable=True), shop.hearing(Sold, "shop.b"), book], open_unit=Notebook())
    booked = f"{__name__}.{book.__qualname__}"
    assert bus.durable_subscribers(Sold) == ("shop.a", booked)
    assert bus.durable_subscribers(GiftSold) == ("shop.a", booked)
    assert bus.durable_subscribers(Closed) == (booked,)
    assert bus.durable_subscribers(DomainEvent) == ()


async def test_a_subscriber_to_two_events_gets_each_through_the_pipeline_of_its_own_type() -> None:
    from uno.bus import per_message

    passed: list[str] = []

    @event_handler(Closed, durable=True, name="shop.book")
    @event_handler(Sold, durable=True, name="shop.book")
    async def book(event: DomainEvent) -> None:
        passed.append(type(event).__name__)

    def noting(message_type: type[object]) -> object:
        async def note(message: object, call_next: object) -> object:
            passed.append(f"for {message_type.__name__}")
            return await call_next(message)  # type: ignore[operator]

        return note

    bus = Bus([book], middleware=[per_message(noting)], open_unit=Notebook())  # type: ignore[arg-type]
    await bus.deliver(Envelope(GiftSold(), "shop.book"))
    await bus.deliver(Envelope(Closed(), "shop.book"))
    assert passed == ["for Sold", "GiftSold", "for Closed", "Closed"]
