"""Savepoints that are rolled back: what was read inside stays known, what happened inside did not happen."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from sqlalchemy import ForeignKey, MetaData, String, event, update
from sqlalchemy.orm import Mapped, mapped_column, relationship

from uno.app import App
from uno.audit import AuditBook, AuditTrail
from uno.bus import Bus, command_handler
from uno.bus.unit import current_unit
from uno.data import Changes, Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.errors import Invalid, VersionConflict
from uno.messages import Command, DomainEvent
from uno.modules import Module
from uno.result import Failure, Result

Fresh = Callable[..., Awaitable[Database]]
FORMS = ("postgresql auto", "postgresql batch", "postgresql session", "sqlite auto", "sqlite session")


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Failed(DomainEvent):
    order_id: str


class Fails(AggregateRoot[str]):
    def fail(self) -> None:
        self.status = "failed"
        self.register_event(Failed(order_id=self.id))


class Document(Fails):
    status: str

    def __init__(self, id: str, status: str = "new") -> None:
        self.id, self.status = id, status


class Row(VersionMixin, Tables, Fails):
    __tablename__ = "plain_row"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    status: Mapped[str] = mapped_column(default="new")


class Heard(VersionMixin, Tables, Fails):
    """A listener makes it a class of the session path."""

    __tablename__ = "heard_row"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    status: Mapped[str] = mapped_column(default="new")
    parts: Mapped[list["Part"]] = relationship(cascade="all, delete-orphan", lazy="selectin")


class Part(Tables):
    __tablename__ = "part"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    heard_id: Mapped[str] = mapped_column(ForeignKey("heard_row.id"))


@event.listens_for(Heard, "before_update")
def _listen(_mapper: Any, _connection: Any, _target: Heard) -> None:
    pass


@dataclass
class Shop:
    """A database with one order, and what its commits told."""

    database: Database
    cls: Any
    told: list[DomainEvent]

    @property
    def orders(self) -> Repository[Any]:
        return Repository(self.cls)

    def unit(self) -> UnitOfWork:
        async def after(changes: Changes) -> None:
            self.told.extend(changes.events)

        return UnitOfWork(self.database, books=[AuditBook()], after=[after])

    async def status(self, id: str = "o1") -> Any:
        async with UnitOfWork(self.database):
            found = await self.orders.get_by_id(id)
            return None if found is None else (found.status, found.version)

    async def audited(self) -> list[str]:
        return [entry.operation for entry in await AuditTrail(self.database).query()]


@pytest.fixture(params=[(form, cls) for form in FORMS for cls in (Document, Row, Heard)], ids=str)
async def shop(request: pytest.FixtureRequest, fresh: Fresh) -> Shop:
    form, cls = request.param
    backend, commit = form.split()
    shop = Shop(await fresh(backend, Tables.metadata, commit=commit), cls, [])
    async with UnitOfWork(shop.database):
        await shop.orders.add(cls(id="o1", status="new"))
    return shop


async def test_what_was_first_read_in_an_undone_savepoint_is_written_afterwards(shop: Shop) -> None:
    for flushed in (False, True):
        async with shop.unit() as uow:
            with suppress(ZeroDivisionError):
                async with uow.savepoint():
                    order = await shop.orders.get("o1")
                    before = order.status, order.version
                    order.fail()
                    if flushed:
                        await uow.flush()
                    raise ZeroDivisionError
            assert (order.status, order.version) == before
            assert await shop.orders.get("o1") is order
            order.status = f"{flushed}"
            order.register_event(Failed(order_id="after"))
    assert await shop.status() == ("True", 3)
    assert [e.order_id for e in shop.told if isinstance(e, Failed)] == ["after", "after"]
    assert await shop.audited() == ["update", "update"]


async def test_what_was_only_read_and_not_changed_is_not_written(shop: Shop) -> None:
    async with shop.unit() as uow:
        with suppress(ZeroDivisionError):
            async with uow.savepoint():
                order = await shop.orders.get("o1")
                order.fail()
                await uow.flush()
                raise ZeroDivisionError
        await uow.session()
    assert order.status == "new"
    assert await shop.status() == ("new", 1)
    assert (shop.told, await shop.audited()) == ([], [])


async def test_a_session_opened_in_an_undone_savepoint_changes_nothing_about_it(shop: Shop) -> None:
    async with shop.unit() as uow:
        with suppress(ZeroDivisionError):
            async with uow.savepoint():
                first = await shop.orders.get("o1")
                first.fail()
                await uow.session()
                await uow.flush()
                with suppress(KeyError):
                    async with uow.savepoint():
                        first.fail()
                        raise KeyError
                raise ZeroDivisionError
        first.status = "later"
    assert await shop.status() == ("later", 2)
    assert shop.told == []


async def test_after_a_session_opened_in_an_undone_savepoint_another_one_can_be_entered(shop: Shop) -> None:
    async with shop.unit() as uow:
        order = await shop.orders.get("o1")
        order.fail()
        with suppress(ZeroDivisionError):
            async with uow.savepoint():
                await uow.session()
                raise ZeroDivisionError
        for n in range(2):
            async with uow.savepoint():
                order.status = f"{n}"
    assert await shop.status() == ("1", 4)
    assert await shop.audited() == ["update"]


async def test_a_later_read_in_an_undone_savepoint_sees_what_is_stored(shop: Shop) -> None:
    if shop.cls is Document:
        return
    async with shop.unit() as uow:
        with suppress(ZeroDivisionError):
            async with uow.savepoint():
                session = await uow.session()
                await session.execute(update(shop.cls).values(status="undone", version=7))
                [order] = await shop.orders.find()
                assert order.status == "undone"
                raise ZeroDivisionError
        assert (order.status, order.version) == ("new", 1)
        order.status = "undone"
    assert await shop.status() == ("undone", 2)


async def test_what_was_added_in_an_undone_savepoint_is_not_written_and_told_once(shop: Shop) -> None:
    order = shop.cls(id="o2", status="new")
    async with shop.unit() as uow:
        for n in range(4):
            with suppress(ValueError):
                async with uow.savepoint():
                    order.fail()
                    await shop.orders.add(order)
                    if n == 1:
                        await uow.flush()
                    if n < 2:
                        raise ValueError
                    break
            assert await shop.orders.get_by_id("o2") is None
    assert await shop.status("o2") == ("failed", 1)
    assert len(shop.told) == 1


async def test_events_from_before_an_undone_savepoint_are_told_whoever_added_the_aggregate(shop: Shop) -> None:
    order = shop.cls(id="o2", status="new")
    order.register_event(Failed(order_id="before"))
    async with shop.unit() as uow:
        with suppress(ValueError):
            async with uow.savepoint():
                await shop.orders.add(order)
                order.fail()
                raise ValueError
        await shop.orders.add(order)
    assert [e.order_id for e in shop.told if isinstance(e, Failed)] == ["before"]


async def test_events_registered_after_collecting_in_an_undone_savepoint_are_forgotten(shop: Shop) -> None:
    async with shop.unit() as uow:
        order = await shop.orders.get("o1")
        order.fail()
        order.fail()
        with suppress(ValueError):
            async with uow.savepoint():
                assert len(order.collect_events()) == 2
                order.fail()
                raise ValueError
    assert shop.told == []


async def test_what_was_deleted_and_replaced_in_an_undone_savepoint_is_there_again(shop: Shop) -> None:
    for known in (False, True):
        async with shop.unit() as uow:
            if known:
                await shop.orders.get("o1")
            with suppress(ValueError):
                async with uow.savepoint():
                    order = await shop.orders.get("o1")
                    await shop.orders.delete(order)
                    other = shop.cls(id="o1", status="other")
                    await shop.orders.add(other)
                    other.register_event(Failed(order_id="never"))
                    await uow.flush()
                    raise ValueError
            order.status = f"{known}"
            other.status = "nobody's"
    assert await shop.status() == ("True", 3)
    assert shop.told == []


async def test_an_object_saved_over_another_in_an_undone_savepoint_is_let_go(shop: Shop) -> None:
    for n, open_session in enumerate((False, True)):
        async with shop.unit() as uow:
            order = await shop.orders.get("o1")
            with suppress(ValueError):
                async with uow.savepoint():
                    other = shop.cls(id="o1", status="other")
                    other.version = order.version
                    await shop.orders.save(other)
                    if open_session:
                        await uow.session()
                    await uow.flush()
                    raise ValueError
            assert await shop.orders.get("o1") is order
            order.status = f"mine {n}"
    assert await shop.status() == ("mine 1", 3)


async def test_somebody_elses_change_is_met_and_not_written_over(shop: Shop) -> None:
    if shop.database.backend == "sqlite":  # there, nobody else writes while a transaction is open
        return
    with pytest.raises(VersionConflict):
        async with shop.unit() as uow:
            with suppress(ValueError):
                async with uow.savepoint():
                    order = await shop.orders.get("o1")
                    await shop.orders.add(shop.cls(id="o2", status="new"))
                    await uow.flush()
                    await _elsewhere(shop)
                    raise ValueError
            order.status = "mine"
    assert await shop.status() == ("elsewhere", 2)


async def _elsewhere(shop: Shop) -> None:
    token = current_unit.set(None)
    try:
        async with UnitOfWork(shop.database):
            (await shop.orders.get("o1")).status = "elsewhere"
    finally:
        current_unit.reset(token)


async def test_parts_added_in_an_undone_savepoint_are_not_written(shop: Shop) -> None:
    if shop.cls is not Heard:
        return
    async with shop.unit() as uow:
        with suppress(ValueError):
            async with uow.savepoint():
                order = await shop.orders.get("o1")
                order.parts.append(Part(id="p1"))
                raise ValueError
        assert order.parts == []
        order.parts.append(Part(id="p2"))
    async with UnitOfWork(shop.database):
        assert [part.id for part in (await shop.orders.get("o1")).parts] == ["p2"]


class Charge(Command[None]):
    pass


class Place(Command[str]):
    pass


@command_handler(Charge)
async def charge(_command: Charge) -> Result[None]:
    return Failure(Invalid("no money"))


@pytest.fixture
async def app(shop: Shop) -> AsyncIterator[App]:
    @command_handler(Place)
    async def place(_command: Place, bus: Bus, uow: UnitOfWork) -> str:
        async with uow.savepoint():
            order = await shop.orders.get("o1")
            result = await bus.dispatch(Charge())
        if result.is_failure:
            order.fail()
        return str(order.status)

    async with App(Module("shop", handlers=[charge, place]), database=shop.database) as app:
        yield app


async def test_a_handler_that_goes_on_after_a_failure_inside_stores_what_it_says(app: App, shop: Shop) -> None:
    assert (await app.bus.dispatch(Place())).unwrap() == "failed"
    assert await shop.status() == ("failed", 2)
