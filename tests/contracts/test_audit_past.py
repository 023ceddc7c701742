"""The trail tells what a record was at any moment, in the types of its class."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from sqlalchemy import (
    ARRAY,
    JSON,
    Date,
    Enum as EnumType,
    Float,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Time,
    Uuid,
    delete,
    insert,
)
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno import clock, ids
from uno.audit import AuditBook, AuditTrail, Unknown
from uno.audit.tables import audit
from uno.data import Database, Model, Repository, SoftDeleteMixin, UnitOfWork, UtcDateTime, VersionMixin
from uno.data.tables import documents, json_type
from uno.domain import AggregateRoot, ValueObject
from uno.errors import Invalid


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Item(SoftDeleteMixin, VersionMixin, Base):
    """A column of every type."""

    __tablename__ = "past_items"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str | None]
    real: Mapped[float | None] = mapped_column(Float)
    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 4))
    flag: Mapped[bool | None]
    colour: Mapped[Colour | None] = mapped_column(EnumType(Colour, name="past_colour"))
    body: Mapped[Any] = mapped_column(json_type, nullable=True)
    names: Mapped[list[str] | None] = mapped_column(ARRAY(String).with_variant(JSON(none_as_null=True), "sqlite"))
    mark: Mapped[UUID | None] = mapped_column(Uuid)
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    day: Mapped[date | None] = mapped_column(Date)
    moment: Mapped[datetime | None] = mapped_column(UtcDateTime)
    hour: Mapped[time | None] = mapped_column(Time)
    span: Mapped[timedelta | None] = mapped_column(Interval)


class Money(ValueObject):
    amount: Decimal
    currency: str


@dataclass(eq=False)
class Basket(AggregateRoot[UUID]):
    id: UUID
    total: Money
    filled_at: datetime | None = None
    seal: bytes = b""
    colours: list[Colour] = field(default_factory=list)


text = st.text(st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cs",)), max_size=6)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "text": st.none() | text,
        "real": st.none() | st.floats(-1e9, 1e9),
        "price": st.none() | st.decimals(-10_000, 10_000, places=4),
        "flag": st.none() | st.booleans(),
        "colour": st.none() | st.sampled_from(Colour),
        "body": st.none() | st.lists(st.integers(-9, 9) | text) | st.dictionaries(text, st.booleans(), max_size=2),
        "names": st.none() | st.lists(text, max_size=3),
        "mark": st.none() | st.uuids(),
        "raw": st.none() | st.binary(max_size=6),
        "day": st.none() | st.dates(),
        "moment": st.none() | st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1), timezones=zones),  # noqa: DTZ001 - hypothesis adds it
        "hour": st.none() | st.times(),
        "span": st.none() | st.timedeltas(timedelta(0), timedelta(days=900)),
    },
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["change", "change", "soft_delete", "restore", "delete", "create"]), VALUES), max_size=8
)


class Ticking:
    """A second passes whenever somebody looks."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits here")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
async def database(lasting: Fresh, request: pytest.FixtureRequest) -> Database:
    return await lasting(request.param, Base.metadata)


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=[AuditBook()])


async def clear(database: Database) -> None:
    async with database.transaction() as transaction:
        for table in (audit, documents, Item.__table__):
            await transaction.execute(delete(table))


async def perform(database: Database, verb: str, values: dict[str, Any]) -> None:
    items = Repository(Item)
    async with unit(database):
        item = await items.get_by_id(1, include_deleted=True)
        if item is None:
            await items.add(Item(id=1, **values))
        elif verb == "change":
            for name, value in values.items():
                setattr(item, name, value)
        elif verb != "create":
            await getattr(items, verb)(item)


async def stored(database: Database) -> dict[str, Any] | None:
    """What a new unit of work reads."""
    async with UnitOfWork(database):
        item = await Repository(Item).get_by_id(1, include_deleted=True)
    plan = database.plan(Item)
    return None if item is None else plan.state(item)


@given(steps=STEPS)
@settings(
    max_examples=25,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_the_past_is_what_was_there_after_each_step(
    database: Database, steps: list[tuple[str, dict[str, Any]]]
) -> None:
    await clear(database)
    ticking = Ticking()
    seen = [(ticking.at, await stored(database))]
    with clock.use(ticking):
        for verb, values in [("create", {}), *steps]:
            await perform(database, verb, values)
            seen.append((ticking.now(), await stored(database)))
    trail = AuditTrail(database)
    for moment, state in seen:
        assert await trail.as_of(Item, 1, moment) == state


async def test_values_have_the_types_of_a_document_s_attributes(database: Database) -> None:
    await clear(database)
    id, filled = UUID(int=5), datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))
    basket = Basket(id, Money(amount=Decimal("1.10"), currency="EUR"), filled, b"\xff\x00", [Colour.BLUE])
    async with unit(database):
        await Repository(Basket).add(basket)
    async with unit(database):
        (await Repository(Basket).get(id)).seal = b""
    trail = AuditTrail(database)
    first, second = await trail.history(Basket, id)
    found = await trail.as_of(Basket, id, first.timestamp)
    assert found == {"total": basket.total, "filled_at": filled, "seal": b"\xff\x00", "colours": [Colour.BLUE]}
    plain = await trail.as_of("Basket", id, second.timestamp)
    assert plain is not None
    assert (plain["total"], plain["seal"], plain["colours"]) == ({"amount": "1.10", "currency": "EUR"}, "", ["blue"])


async def test_without_a_class_the_values_are_json(database: Database) -> None:
    await clear(database)
    values = {"price": Decimal("1.5"), "colour": Colour.RED, "raw": b"\x00\xff", "mark": UUID(int=1)}
    await perform(database, "create", values)
    found = await AuditTrail(database).as_of("Item", 1, clock.now())
    assert found is not None
    assert {name: found[name] for name in values} == {
        "price": "1.5000",
        "colour": "red",
        "raw": "AP8=",
        "mark": "00000000-0000-0000-0000-000000000001",
    }


async def test_what_is_older_than_its_audit_is_known_once_it_was_deleted(database: Database) -> None:
    await clear(database)
    async with database.transaction() as transaction:
        await transaction.execute(insert(Item), {"id": 1, "text": "old", "flag": True, "version": 1})
    before = clock.now()
    trail = AuditTrail(database)
    assert await trail.as_of(Item, 1, before) is None
    await perform(database, "change", {"text": "new"})
    changed = clock.now()
    for moment in (before, changed):
        with pytest.raises(Unknown, match="Item"):
            await trail.as_of(Item, 1, moment)
    await perform(database, "delete", {})
    for moment, said in ((before, "old"), (changed, "new")):
        found = await trail.as_of(Item, 1, moment)
        assert found is not None
        assert (found["text"], found["flag"]) == (said, True)
    assert await trail.as_of(Item, 1, clock.now()) is None


MANY = 1_000


@pytest.fixture
def rows_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each query of the database gave."""
    found: list[int] = []
    query = Database.query

    async def counted(database: Database, statement: Any, parameters: Any = None) -> Any:
        rows = await query(database, statement, parameters)
        found.append(len(rows))
        return rows

    monkeypatch.setattr(Database, "query", counted)
    return found


async def write_history(database: Database, *images: tuple[str, Any, Any]) -> datetime:
    """One entry each second from the moment on that is given back."""
    ticking = Ticking()
    start = ticking.at
    said = {"kind": "change", "component": "Item", "record_id": "1", "actor_source": "system"}
    said |= {"correlation_id": "r", "message_id": "m"}
    rows = [
        {**said, "id": ids.uuid7_at(at), "timestamp": at, "operation": verb, "before": before, "after": after}
        for at, (verb, before, after) in zip(iter(ticking.now, None), images, strict=False)
    ]
    async with database.transaction() as transaction:
        await transaction.execute(delete(audit))
        await transaction.execute(insert(audit), rows)
    return start + timedelta(seconds=1)


def updates(name: str) -> list[tuple[str, Any, Any]]:
    return [("update", {name: n}, {name: n + 1}) for n in range(MANY)]


async def test_of_a_long_history_no_more_is_read_than_up_to_a_whole_record(
    database: Database, rows_read: list[int]
) -> None:
    whole = {"a": 0, "b": 0, "c": 0}
    ends = ("delete", whole | {"a": MANY, "b": MANY}, None)
    born = ("create", None, whole)
    start = await write_history(
        database, born, *updates("a"), *updates("b"), ends, born, ("update", {"c": 0}, {"c": 1})
    )
    trail = AuditTrail(database)
    for at, state, most in (
        (-1, None, 500),
        (0, whole, 500),
        (100, whole | {"a": 100}, 500),
        (MANY, whole | {"a": MANY}, MANY + 500),
        (2 * MANY, whole | {"a": MANY, "b": MANY}, 2 * MANY + 500),
        (2 * MANY + 1, None, 500),
        (2 * MANY + 3, whole | {"c": 1}, 500),
        (9 * MANY, whole | {"c": 1}, 500),
    ):
        rows_read.clear()
        assert await trail.as_of("Item", 1, start + timedelta(seconds=at)) == state, at
        assert sum(rows_read) <= most, at
        assert max(rows_read) <= 500, at


async def test_a_long_history_that_begins_too_late_is_read_in_parts(database: Database, rows_read: list[int]) -> None:
    trail = AuditTrail(database)
    start = await write_history(database, *updates("a"))
    with pytest.raises(Unknown, match="no Item with id '1'"):
        await trail.as_of("Item", 1, start + timedelta(seconds=MANY / 2))
    assert (sum(rows_read), max(rows_read) <= 500) == (MANY, True)
    start = await write_history(database, *updates("a"), ("delete", {"a": MANY, "b": 5}, None), *updates("b"))
    for at, value in ((-1, 0), (0, 1), (MANY - 10, MANY - 9)):
        rows_read.clear()
        assert await trail.as_of("Item", 1, start + timedelta(seconds=at)) == {"a": value, "b": 5}
        assert (sum(rows_read) <= MANY + 500, max(rows_read) <= 500) == (True, True)


async def test_a_moment_needs_a_time_zone(database: Database) -> None:
    with pytest.raises(Invalid, match="It has no time zone"):
        await AuditTrail(database).as_of(Item, 1, datetime(2026, 1, 1))  # noqa: DTZ001 - that is what is refused
