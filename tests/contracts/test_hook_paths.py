"""Hooks where ways of storing meet: SQLAlchemy's session, foreign keys, documents beside rows, durable subscribers."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, String, select
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import Fresh

from uno.app import App
from uno.audit import AuditBook, AuditTrail
from uno.bus import Bus, command_handler, event_handler
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin, hooks
from uno.data.unit_of_work import ambient_unit
from uno.domain import AggregateRoot
from uno.errors import Conflict, Invalid, Misconfigured
from uno.messages import Command, DomainEvent
from uno.modules import Module
from uno.queue import Worker
from uno.settings import WorkerSettings


class Base(Model):
    __abstract__ = True
    metadata = MetaData()
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    name: Mapped[str] = mapped_column(default="")


class Writer(VersionMixin, Base):
    __tablename__ = "a_writer"


class Book(VersionMixin, Base):
    """Refers to its writer by key; SQLAlchemy knows of no relationship."""

    __tablename__ = "a_book"
    writer_id: Mapped[str | None] = mapped_column(ForeignKey("a_writer.id"))


class Zine(VersionMixin, Base):
    """The same; SQLAlchemy, which goes by names, would delete its writer first."""

    __tablename__ = "a_zine"
    writer_id: Mapped[str | None] = mapped_column(ForeignKey("a_writer.id"))


class Order(AsyncAttrs, VersionMixin, Base):
    __tablename__ = "an_order"
    lines: Mapped[list["HookedLine"]] = relationship(cascade="all, delete-orphan", lazy="selectin")
    remarks: Mapped[list["HookedRemark"]] = relationship()


class HookedLine(Base):
    __tablename__ = "a_line"
    order_id: Mapped[str | None] = mapped_column(ForeignKey("an_order.id"))


class HookedRemark(Base):
    __tablename__ = "a_remark"
    order_id: Mapped[str | None] = mapped_column(ForeignKey("an_order.id"))


class Event(Base):
    __tablename__ = "an_event"
    number: Mapped[int] = mapped_column(default=0)


@dataclass(eq=False)
class Paper(AggregateRoot[str]):
    id: str
    name: str = ""


MOMENTS = [f"{when}_{what}" for what in ("insert", "update", "delete") for when in ("before", "after")]


@pytest.fixture(autouse=True)
def _no_hooks_left() -> Iterator[None]:
    yield
    for found in list(hooks.registered.values()):
        for hook in list(found):
            with suppress(Misconfigured):
                hooks.remove(hook.function)


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    return await fresh(backend, Base.metadata, commit=request.param)


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=[AuditBook()])


def watch(*classes: type) -> list[str]:
    """What the hooks of these classes do from now on."""
    ran: list[str] = []

    def noting(moment: str, cls: type) -> Callable[[Any], None]:
        return lambda one: ran.append(f"{moment} {cls.__name__} {one.id}")

    for cls in classes:
        for moment in MOMENTS:
            getattr(hooks, moment)(cls)(noting(moment, cls))
    return ran


async def stored(database: Database, cls: type, id: str) -> Any:
    async with UnitOfWork(database):
        things: Repository[Any] = Repository(cls)
        found = await things.get_by_id(id)
        return None if found is None else found.name


# -- foreign keys


@pytest.mark.parametrize("cls", [Book, Zine])
async def test_a_before_hook_may_add_what_its_row_refers_to(database: Database, cls: Any) -> None:
    @hooks.before_insert(cls)
    async def have_writer(book: Any) -> None:
        if await Repository(Writer).get_by_id(book.writer_id) is None:
            await Repository(Writer).add(Writer(id=book.writer_id))

    async with unit(database):
        await Repository(cls).add(cls(id="b1", writer_id="w"))
        await Repository(cls).add(cls(id="b2", writer_id="w"))
    assert await stored(database, Writer, "w") == ""


@pytest.mark.parametrize("cls", [Book, Zine])
async def test_a_before_hook_may_delete_what_refers_to_its_row(database: Database, cls: Any) -> None:
    @hooks.before_delete(Writer)
    async def delete_books(writer: Writer) -> None:
        books: Repository[Any] = Repository(cls)
        for book in await books.find(writer_id=writer.id):
            await books.delete(book)

    ran = watch(cls)
    async with unit(database):
        await Repository(Writer).add(Writer(id="w"))
        await Repository(cls).add(cls(id="b", writer_id="w"))
    async with unit(database):
        await Repository(Writer).delete("w")
    assert await stored(database, cls, "b") is None
    moments = [f"{when}_{what}" for what in ("insert", "delete") for when in ("before", "after")]
    assert ran == [f"{moment} {cls.__name__} b" for moment in moments]


# -- two ways in one unit of work


@pytest.mark.parametrize("moment", ["before_insert", "after_insert"])
@pytest.mark.parametrize("cls", [Writer, Paper, Order])
@pytest.mark.parametrize("other", [Writer, Paper, Order])
async def test_a_hook_writes_classes_that_are_stored_in_another_way(
    database: Database, moment: str, cls: Any, other: Any
) -> None:
    async def also(thing: Any) -> None:
        if thing.id == "one":
            await Repository(other).add(other(id="two"))
            (await Repository(other).get("old")).name += "!"

    async with unit(database):
        await Repository(other).add(other(id="old"))
    getattr(hooks, moment)(cls)(also)
    ran = watch(other)
    async with unit(database):
        await Repository(cls).add(cls(id="one", name="one"))
        await Repository(Paper).add(Paper("beside"))
    assert await stored(database, other, "two") == ""
    assert await stored(database, other, "old") == "!"
    assert await stored(database, cls, "one") == "one"
    name = other.__name__
    expected = {f"{when}_{what} {name} {id}" for when in ("before", "after") for what, id in WRITES}
    assert expected <= set(ran)
    assert len(ran) == len(set(ran))
    assert len(await AuditTrail(database).query()) == 5


WRITES = (("insert", "two"), ("update", "old"))


async def test_a_before_hook_opens_the_session_only_where_that_takes_no_rows_apart(database: Database) -> None:
    opened: list[bool] = []

    @hooks.before_insert(Writer)
    @hooks.before_insert(Paper)
    async def use_session(_thing: Any) -> None:
        opened.append(False)
        with suppress(Misconfigured):
            (await ambient_unit().session()).add(Event(id=f"e{len(opened)}"))
            opened[-1] = True

    async with unit(database):
        await Repository(Writer).add(Writer(id="w"))
    async with unit(database):
        await Repository(Paper).add(Paper("p"))
    assert opened == [database.commit == "session", True]
    assert await stored(database, Event, "e2") == ""


async def test_a_hook_of_a_document_may_open_the_session_though_rows_wait(database: Database) -> None:
    @hooks.after_insert(Paper)
    async def use_session(paper: Paper) -> None:
        session = await ambient_unit().session()
        found = await session.get(Writer, "w")
        assert found is not None
        found.name = f"{paper.id} {found in session}"

    ran = watch(Writer)
    async with unit(database):
        await Repository(Paper).add(Paper("p"))
        await Repository(Writer).add(Writer(id="w"))
    assert await stored(database, Writer, "w") == "p True"
    assert ran == [f"{when}_{what} Writer w" for what in ("insert", "update") for when in ("before", "after")]


# -- what SQLAlchemy writes by itself


async def test_what_the_session_flushes_by_itself_has_run_its_hooks(database: Database) -> None:
    @hooks.before_insert(Event)
    async def number(event: Event) -> None:
        event.number = 1 + await Repository(Event).count()

    ran = watch(Event)
    async with unit(database) as uow:
        session = await uow.session()
        session.add(Event(id="e1"))
        assert (await session.execute(select(Event.number))).all() == [(1,)]
        assert ran == ["before_insert Event e1"]
        session.add(Event(id="e2"))
        await session.flush()
        assert await Repository(Event).count() == 2
        assert ran[2:] == ["after_insert Event e1", "after_insert Event e2"]
    assert len(ran) == 4


async def test_a_hook_that_fails_while_the_session_flushes_undoes_everything(database: Database) -> None:
    def refuse(_event: Event) -> None:
        raise Invalid("no")

    hooks.before_insert(Event)(refuse)
    with pytest.raises(Invalid, match="no"):
        async with unit(database) as uow:
            await Repository(Writer).add(Writer(id="w"))
            session = await uow.session()
            event = Event(id="e1")
            session.add(event)
            with suppress(Invalid):
                await session.execute(select(Event))
            session.expunge(event)
    assert await stored(database, Writer, "w") is None


async def test_what_an_undone_savepoint_flushed_runs_no_after_hooks(database: Database) -> None:
    ran = watch(Event)
    async with unit(database) as uow:
        session = await uow.session()
        for _ in range(2):
            with suppress(ValueError):
                async with uow.savepoint():
                    session.add(Event(id="e1"))
                    await session.flush()
                    raise ValueError
    assert ran == ["before_insert Event e1"] * 2


async def test_rows_of_relationships_run_their_hooks_orphans_and_moved_ones_too(database: Database) -> None:
    ran = watch(Order, HookedLine, HookedRemark)
    async with unit(database):
        order = await Repository(Order).add(Order(id="o", lines=[HookedLine(id="l1"), HookedLine(id="l2")]))
        await Repository(HookedRemark).add(HookedRemark(id="r"))
    things = ("Order o", "HookedLine l1", "HookedLine l2", "HookedRemark r")
    assert sorted(ran) == sorted(f"{when}_insert {one}" for when in ("before", "after") for one in things)
    ran.clear()
    async with unit(database):
        order = await Repository(Order).get("o")
        (await order.awaitable_attrs.remarks).append(await Repository(HookedRemark).get("r"))
        order.lines.remove(order.lines[0])
    assert sorted(ran) == [
        "after_delete HookedLine l1", "after_update HookedRemark r",
        "before_delete HookedLine l1", "before_update HookedRemark r",
    ]  # fmt: skip
    ran.clear()
    async with unit(database):
        await Repository(Order).delete("o")
    things_gone = ("delete Order o", "delete HookedLine l2", "update HookedRemark r")
    assert sorted(ran) == sorted(f"{when}_{one}" for when in ("before", "after") for one in things_gone)


async def test_a_conflict_under_hooks_is_named_as_without(database: Database) -> None:
    watch(Writer, Order)
    for cls in (Writer, Order):
        async with unit(database):
            await Repository(cls).add(cls(id="x"))
        with pytest.raises(Conflict, match=f"{cls.__name__} 'x' exists already"):
            async with unit(database):
                await Repository(cls).add(cls(id="x"))


# -- through the pipeline, and in the worker


class Placed(DomainEvent):
    order_id: str


class Place(Command[str]):
    id: str


class Forbid(Command[None]):
    pass


@command_handler(Place)
async def place(command: Place, bus: Bus) -> str:
    await Repository(Writer).add(Writer(id=command.id))
    await bus.publish(Placed(order_id=command.id))
    return command.id


@command_handler(Forbid)
async def forbid(_command: Forbid) -> None:
    raise Invalid("forbidden")


@event_handler(Placed, durable=True, name="hooks.placed")
async def placed(event: Placed) -> None:
    await Repository(Paper).add(Paper(f"paper {event.order_id}"))


@pytest.fixture
async def app(database: Database) -> AsyncIterator[App]:
    async with App(Module("shop", handlers=[place, forbid, placed]), database=database) as app:
        yield app


async def test_an_error_of_a_hook_is_the_failure_of_the_message(app: App, database: Database) -> None:
    def refuse(writer: Writer) -> None:
        if writer.id == "bug":
            raise ZeroDivisionError
        raise Invalid("no")

    for moment in (hooks.before_insert, hooks.after_insert):
        moment(Writer)(refuse)
        result = await app.bus.dispatch(Place(id="w"))
        assert isinstance(result.error, Invalid)
        with pytest.raises(ZeroDivisionError):
            await app.bus.dispatch(Place(id="bug"))
        hooks.remove(refuse)
    assert await stored(database, Writer, "w") is None


async def test_a_failure_of_a_message_that_a_hook_sends_undoes_everything(app: App, database: Database) -> None:
    async def ask(_writer: Writer) -> None:
        await app.bus.dispatch(Forbid())

    hooks.after_insert(Writer)(ask)
    result = await app.bus.dispatch(Place(id="w"))
    assert isinstance(result.error, Invalid)
    assert await stored(database, Writer, "w") is None


async def test_a_durable_subscriber_runs_hooks_and_one_that_fails_leaves_nothing(app: App, database: Database) -> None:
    errors = [ZeroDivisionError()]

    @hooks.after_insert(Paper)
    async def note(paper: Paper) -> None:
        await Repository(Event).add(Event(id="e", name=paper.id))
        if errors:
            raise errors.pop()

    settings = WorkerSettings(poll_interval=0.01, base_delay=0.01, max_delay=0.02)
    (await app.bus.dispatch(Place(id="w"))).unwrap()
    worker = Worker(database, app.bus, settings)
    while await stored(database, Event, "e") is None:
        await worker.drain()
    assert await stored(database, Event, "e") == "paper w"
    wrote = [entry for entry in await AuditTrail(database).query() if entry.component != "Writer"]
    [writer] = await AuditTrail(database).query(component="Writer")
    assert sorted(entry.component for entry in wrote) == ["Event", "Paper"]
    assert {entry.correlation_id for entry in wrote} == {writer.correlation_id}
