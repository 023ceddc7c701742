"""The audit trail is asked by everything an entry has, page by page if one likes."""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import MetaData, or_
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno import ids
from uno.audit import AuditBook, AuditLog, AuditTrail
from uno.context import Context, use
from uno.data import Database, Filter, Model, Page, Repository, SoftDeleteMixin, UnitOfWork
from uno.errors import Invalid, Misconfigured


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Order(SoftDeleteMixin, Base):
    __tablename__ = "trail_orders"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(default="new")


class TrailLine(Base):
    __tablename__ = "trail_lines"
    order_id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)


ADA = Context("req-1", "msg-1", actor="ada", actor_source="principal", tenant="north")
BOB = Context("req-2", "msg-2", actor="bob", actor_source="header", tenant="south")


@pytest.fixture
async def database(fresh: Fresh, backend: str) -> Database:
    return await fresh(backend, Base.metadata)


@pytest.fixture
async def trail(database: Database) -> AuditTrail:
    """Ada creates two orders, Bob changes one, deletes it softly, and adds a line."""
    orders, lines = Repository(Order), Repository(TrailLine)
    with use(ADA):
        async with UnitOfWork(database, books=[AuditBook()]):
            await orders.add(Order(id=123))
            await orders.add(Order(id=7))
    with use(BOB):
        async with UnitOfWork(database, books=[AuditBook()]):
            (await orders.get(123)).state = "paid"
        async with UnitOfWork(database, books=[AuditBook()]):
            await orders.soft_delete(123)
        async with UnitOfWork(database, books=[AuditBook()]):
            await lines.add(TrailLine(order_id=7, number=1))
    return AuditTrail(database)


def said(entries: list[AuditLog]) -> list[tuple[str, str]]:
    return [(entry.record_id, entry.operation) for entry in entries]


EVERYTHING = [("123", "create"), ("7", "create"), ("123", "update"), ("123", "soft_delete"), ("7,1", "create")]


async def test_the_entries_come_in_the_order_of_the_changes_or_the_other_way_round(trail: AuditTrail) -> None:
    assert said(await trail.query()) == EVERYTHING
    assert said(await trail.query(newest_first=True)) == EVERYTHING[::-1]
    assert said(await trail.query(limit=2)) == EVERYTHING[:2]
    assert await trail.query(limit=0) == []


async def test_everything_that_an_entry_has_can_be_asked_for(trail: AuditTrail) -> None:
    by_bob = EVERYTHING[2:]
    assert said(await trail.query(component=Order)) == said(await trail.query(component="Order")) == EVERYTHING[:4]
    assert said(await trail.query(record_id=7)) == [("7", "create")]
    assert said(await trail.query(record_id=(7, 1))) == [("7,1", "create")]
    assert said(await trail.query(operation="update")) == [("123", "update")]
    assert said(await trail.query(operation=["update", "soft_delete"])) == EVERYTHING[2:4]
    assert said(await trail.query(actor="bob")) == by_bob
    assert said(await trail.query(tenant="south")) == by_bob
    assert said(await trail.query(correlation_id="req-2")) == by_bob
    assert said(await trail.query(message_id="msg-2")) == by_bob
    assert said(await trail.query(kind="change")) == EVERYTHING
    assert await trail.query(kind="security") == []
    assert said(await trail.query(component=Order, actor="bob", operation="update")) == [("123", "update")]


async def test_since_is_included_and_until_is_not(trail: AuditTrail) -> None:
    first, *_, last = await trail.query()
    assert said(await trail.query(since=last.timestamp)) == EVERYTHING[-1:]
    assert said(await trail.query(until=last.timestamp)) == EVERYTHING[:-1]
    assert said(await trail.query(until=first.timestamp)) == []
    assert (first.timestamp.tzinfo, first.actor_source, first.correlation) == (UTC, "principal", "req-1")


async def test_attributes_of_the_class_make_conditions(trail: AuditTrail) -> None:
    assert len(await trail.query(AuditLog.record_id == 123)) == 3
    assert len(await trail.query(AuditLog.record_id == (7, 1))) == 1
    assert len(await trail.query(AuditLog.record_id.in_([7, "123"]))) == 4
    last = (await trail.query())[-1]
    assert said(await trail.query(AuditLog.timestamp >= last.timestamp)) == EVERYTHING[-1:]
    either = or_(AuditLog.actor == "ada", AuditLog.operation == "soft_delete")
    assert said(await trail.query(either, AuditLog.record_id == 123)) == [EVERYTHING[0], EVERYTHING[3]]
    assert (await trail.page(AuditLog.record_id != 123, total=True)).total == 2


@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_follow_each_other_also_while_entries_come(
    database: Database, trail: AuditTrail, newest_first: bool
) -> None:
    expected = said(await trail.query(component=Order, newest_first=newest_first))
    first: Page[AuditLog] = await trail.page(component=Order, newest_first=newest_first, limit=3, total=True)
    async with UnitOfWork(database, books=[AuditBook()]):
        await Repository(Order).add(Order(id=8))
    second = await trail.page(component=Order, newest_first=newest_first, limit=3, after=first.next)
    found = [*said(first.items), *said(second.items)]
    assert found == (expected if newest_first else [*expected, ("8", "create")])
    assert (first.total, second.total, second.next) == (4, None, None)


async def test_what_is_no_cursor_limit_or_moment_is_refused(trail: AuditTrail) -> None:
    good = (await trail.page(limit=1)).next
    assert good is not None
    for cursor in ("", "x", "W10", good[:-3], good * 2, "A" * 5000):
        with pytest.raises(Invalid, match="It is no cursor"):
            await trail.page(after=cursor)
    with pytest.raises(Invalid, match="sorted otherwise"):
        await trail.page(after=good, newest_first=True)
    for limit in (-1, 2**63):
        with pytest.raises(Invalid, match="It has to be between"):
            await trail.query(limit=limit)
    with pytest.raises(Invalid, match="It has no time zone"):
        await trail.query(since=datetime(2026, 1, 1))  # noqa: DTZ001 - that is what is refused


MISTAKES: list[tuple[Callable[[Any], Awaitable[object]], str]] = [
    (lambda trail: trail.query(acter="ada"), "There is no 'acter' to ask for; there are component, record_id, "),
    (lambda trail: trail.query(Filter(operation="delete")), "A condition is one of AuditLog's attributes, .* a Filter"),
    (lambda trail: trail.page(True), "A condition is one of AuditLog's attributes, .* not a bool"),
    (lambda trail: trail.query(component=Repository(Order)), "component takes a class, or .*, not a Repository"),
    (lambda trail: trail.history(Repository(Order), 7), "component takes a class, or .*, not a Repository"),
    (lambda trail: trail.history(Filter, 7), "Filter cannot be stored"),
    (lambda trail: trail.as_of(Filter, 7, datetime.now(UTC)), "Filter cannot be stored"),
    (lambda trail: trail.as_of(Order, None, datetime.now(UTC)), "takes its class, .*, and its key, not None"),
]


@pytest.mark.parametrize(("ask", "said"), MISTAKES)
async def test_what_nobody_can_ask_for_is_a_mistake_of_the_program(
    trail: AuditTrail, ask: Callable[[Any], Awaitable[object]], said: str
) -> None:
    with pytest.raises(Misconfigured, match=said):
        await ask(trail)


WRONG_VALUES: list[tuple[Callable[[Any], Awaitable[object]], str]] = [
    (lambda trail: trail.as_of(Order, 7, date(2026, 1, 1)), "time: It takes a datetime with a time zone, not a date"),
    (lambda trail: trail.as_of(Order, 7, "2026-01-01T00:00:00Z"), "time: It takes a datetime .*, not a str"),
    (lambda trail: trail.as_of(Order, 7, None), "time: It takes a datetime .*, not a NoneType"),
    (lambda trail: trail.query(until="2026-01-01"), "until: It takes a datetime .*, not a str"),
    (lambda trail: trail.query(operation=5), "operation: 5 is none of create"),
    (lambda trail: trail.query(limit="5"), "limit: It has to be between 0 and"),
]


@pytest.mark.parametrize(("ask", "said"), WRONG_VALUES)
async def test_a_value_that_is_none_is_named_with_its_argument(
    trail: AuditTrail, ask: Callable[[Any], Awaitable[object]], said: str
) -> None:
    with pytest.raises(Invalid, match=said):
        await ask(trail)


async def test_a_query_sees_what_is_committed(database: Database, trail: AuditTrail) -> None:
    async with UnitOfWork(database, books=[AuditBook()]) as uow:
        await Repository(Order).add(Order(id=9))
        assert await trail.query(record_id=9) == []
        if database.backend == "postgresql":  # SQLite has one writer
            await uow.flush()
            assert await trail.query(record_id=9) == []
    assert said(await trail.query(record_id=9)) == [("9", "create")]


async def test_nothing_in_uno_changes_an_entry(database: Database, trail: AuditTrail) -> None:
    [entry] = await trail.query(record_id=7)
    with pytest.raises(AttributeError, match="cannot assign to field"):
        entry.actor = "eve"  # type: ignore[misc]
    verbs = {name for name in dir(trail) if not name.startswith("_")}
    assert verbs == {"query", "page", "history", "as_of"}
    with pytest.raises(Misconfigured, match="AuditLog cannot be stored"):
        database.plan(AuditLog)


def test_ids_of_one_moment_sort_by_their_place_and_before_those_of_the_next_microsecond() -> None:
    moment = datetime(2026, 1, 1, 12, 0, 0, 999_998, tzinfo=UTC)
    moments = [moment + timedelta(microseconds=n) for n in range(4)]
    made = [ids.uuid7_at(one, place) for one in moments for place in (0, 1, 16_383)]
    assert made == sorted(made)
    assert {(id.version, id.variant) for id in made} == {(7, UUID(int=1 << 79 | 1 << 63).variant)}
    beyond = [ids.uuid7_at(moment, place) for place in (16_383, 16_384, 2**20 - 1, 2**20)]
    assert beyond == sorted(beyond)
    assert beyond[1].int >> 48 == ids.uuid7_at(moment + timedelta(microseconds=1)).int >> 48
