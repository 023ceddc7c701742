"""Whatever the commit form and the backend, the same changes give the same rows and the same errors."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, example, given, note, settings, strategies as st
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Date,
    Enum as EnumType,
    Float,
    ForeignKey,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Text,
    Time,
    Uuid,
    delete,
    insert,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column

from uno import clock
from uno.audit import AuditBook
from uno.audit.tables import audit
from uno.data import Database, Model, Repository, TimestampMixin, UnitOfWork, UtcDateTime, VersionMixin
from uno.data.tables import documents, json_type
from uno.domain import AggregateRoot, ValueObject
from uno.messages import DomainEvent
from uno.queue import DeliveryBook
from uno.queue.tables import deliveries


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData(naming_convention=Model.metadata.naming_convention)


COLLATED = String(20, collation="C").with_variant(String(20), "sqlite")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Shelf(TimestampMixin, VersionMixin, Tables):
    __tablename__ = "shelf"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    code: Mapped[str] = mapped_column(String(20), unique=True)
    note: Mapped[str | None] = mapped_column(Text)


class Volume(VersionMixin, Tables):
    __tablename__ = "volume"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    shelf_id: Mapped[str | None] = mapped_column(ForeignKey("shelf.id"))
    title: Mapped[str] = mapped_column(COLLATED, default="untitled")


class Everything:
    """A column of every supported type."""

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    text: Mapped[str | None] = mapped_column(Text)
    number: Mapped[int | None] = mapped_column(Integer)
    real: Mapped[float | None] = mapped_column(Float)
    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 4))
    flag: Mapped[bool | None] = mapped_column(Boolean)
    colour: Mapped[Colour | None] = mapped_column(EnumType(Colour, name="colour"))
    body: Mapped[Any] = mapped_column(json_type, nullable=True)
    names: Mapped[list[str] | None] = mapped_column(ARRAY(String(20)).with_variant(JSON(none_as_null=True), "sqlite"))
    token: Mapped[UUID | None] = mapped_column(Uuid)
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    day: Mapped[date | None] = mapped_column(Date)
    moment: Mapped[datetime | None] = mapped_column(UtcDateTime)
    hour: Mapped[time | None] = mapped_column(Time)
    span: Mapped[timedelta | None] = mapped_column(Interval)


class Typed(VersionMixin, Everything, Tables):
    __tablename__ = "typed"


class Loose(Everything, Tables):
    __tablename__ = "loose"


class Money(ValueObject):
    amount: Decimal
    currency: str


class BasketFilled(DomainEvent):
    basket_id: str
    lines: int


class Basket(AggregateRoot[str]):
    def __init__(self, id: str, total: Money, lines: list[str]) -> None:
        super().__init__(id=id)
        self.total = total
        self.lines = lines

    def fill(self, line: str) -> None:
        self.lines.append(line)
        self.register_event(BasketFilled(basket_id=self.id, lines=len(self.lines)))


ENTITIES: dict[str, type] = {c.__name__: c for c in (Shelf, Volume, Typed, Loose, Basket)}
STORED = [Volume, Shelf, Typed, Loose]


class Standing:
    """A clock that stands still, so that times can be compared."""

    def now(self) -> datetime:
        return datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits here")


# -- what a handler may do


@dataclass(frozen=True)
class Step:
    """One line of a handler."""

    verb: str
    entity: str = ""
    id: Any = None
    values: tuple[tuple[str, Any], ...] = ()


text = st.text(st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cs",)), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
moments = st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1), timezones=zones)  # noqa: DTZ001 - hypothesis adds the zone
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "text": text,
    "number": st.integers(-(2**31), 2**31 - 1),
    # JSONB keeps all digits of larger ones, so that the audit trail would give them back as integers.
    "real": st.floats(-1e9, 1e9),
    "price": st.decimals(-10_000, 10_000, places=4),
    "flag": st.booleans(),
    "colour": st.sampled_from(Colour),
    "body": json_values,
    "names": st.lists(st.text("abc{},\"'\\ ", max_size=5), max_size=3),
    "token": st.uuids(),
    "raw": st.binary(max_size=8),
    "day": st.dates(),
    "moment": moments,
    "hour": st.times(),
    "span": st.timedeltas(timedelta(0), timedelta(days=900)),
}
typed_values = st.fixed_dictionaries({}, optional={n: st.none() | s for n, s in COLUMNS.items()})
shelf_values = st.fixed_dictionaries(
    {}, optional={"code": st.sampled_from("xyz"), "note": st.none() | st.sampled_from(["", "n"])}
)
volume_values = st.fixed_dictionaries(
    {}, optional={"shelf_id": st.sampled_from([None, "a", "b", "c"]), "title": st.sampled_from(["t", "ü"])}
)
basket_values = st.fixed_dictionaries({}, optional={"line": st.sampled_from(["one", "two"])})
KEYS = {"Shelf": "abc", "Volume": "abc", "Basket": "abc", "Typed": (1, 2, 3), "Loose": (1, 2, 3)}
VALUES = {
    "Shelf": shelf_values,
    "Volume": volume_values,
    "Basket": basket_values,
    "Typed": typed_values,
    "Loose": typed_values,
}


@st.composite
def steps(draw: st.DrawFn) -> Step:
    verb = draw(st.sampled_from(["add", "add", "change", "change", "change", "delete", "save", "flush", "look"]))
    entity = draw(st.sampled_from([*ENTITIES]))
    values = draw(VALUES[entity]) if verb in ("add", "change", "save") else {}
    return Step(verb, entity, draw(st.sampled_from(KEYS[entity])), tuple(values.items()))


def made(entity: str, id: Any, values: dict[str, Any]) -> Any:
    """A new entity, complete enough to be stored."""
    if entity == "Basket":
        basket = Basket(id, Money(amount=Decimal("1.10"), currency="EUR"), [])
        basket.fill(values.get("line", "first"))
        return basket
    needed = {"code": f"code-{id}"} if entity == "Shelf" else {}
    return ENTITIES[entity](id=id, **needed | values)


async def perform(step: Step) -> None:
    if step.verb == "flush":
        return await the_unit().flush()
    repository: Repository[Any] = Repository(ENTITIES[step.entity])
    values = dict(step.values)
    if step.verb == "look":
        await repository.count()
        return
    if step.verb == "add":
        if await repository.get_by_id(step.id) is None:
            await repository.add(made(step.entity, step.id, values))
        return
    if step.verb == "save":
        await repository.save(made(step.entity, step.id, values))
        return
    found = await repository.get_by_id(step.id)
    if found is None:
        return
    if step.verb == "delete":
        await repository.delete(found)
    elif step.entity == "Basket":
        found.fill(values.get("line", "more"))
    else:
        for name, value in values.items():
            setattr(found, name, value)


def the_unit() -> UnitOfWork:
    from uno.bus.unit import current_unit

    uow = current_unit.get()
    assert isinstance(uow, UnitOfWork)
    return uow


def subscribers(_event: type[DomainEvent]) -> tuple[str, ...]:
    return ("first", "second")


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=(AuditBook(), DeliveryBook(subscribers)))


# -- what is compared


async def reset(database: Database) -> None:
    """Two rows of everything, whatever was there."""
    async with database.transaction() as transaction:
        for table in (audit, deliveries, documents, *(c.__table__ for c in STORED)):
            await transaction.execute(delete(table))
        for id in "ab":
            row = {"id": id, "code": id, "note": "old", "version": 1, "created_at": BEFORE, "updated_at": BEFORE}
            await transaction.execute(insert(Shelf), row)
            await transaction.execute(insert(Volume), {"id": id, "shelf_id": id, "title": "old", "version": 1})
            body = {"total": {"amount": "9", "currency": "EUR"}, "lines": ["old"]}
            document = {"kind": f"{__name__}.Basket", "id": id, "version": 1, "body": body}
            await transaction.execute(insert(documents), document | {"created_at": BEFORE, "updated_at": BEFORE})
        for id in (1, 2):
            row = {"id": id, "text": "old", "number": 7, "names": ["old"], "body": {"old": True}}
            await transaction.execute(insert(Typed), row | {"version": 1})
            await transaction.execute(insert(Loose), row)


PHASES = [Phase.explicit, Phase.generate]
BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
# Made anew for every row.
RANDOM = {"id", "event_id", "correlation_id", "message_id"}


def plain(value: Any) -> Any:
    # SQLite forgets the time zone, which is always UTC.
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


async def stored(database: Database) -> dict[str, list[Any]]:
    """Everything that is in the database, without what is random."""
    found: dict[str, list[Any]] = {}
    for table in (audit, deliveries, documents, *(c.__table__ for c in STORED)):
        ledger = table is audit or table is deliveries
        rows = [dict(row._mapping) for row in await database.query(select(table).order_by(*table.primary_key))]
        for row in rows:
            if ledger:
                for name in RANDOM:
                    row.pop(name, None)
                row.pop("context", None)
            if table is deliveries:
                row["payload"] = {k: v for k, v in row["payload"].items() if k not in RANDOM}
        kept = [{k: plain(v) for k, v in row.items()} for row in rows]
        found[table.name] = sorted(kept, key=as_text)
    return found


async def outcome(database: Database, work: Callable[[], Any]) -> tuple[str, dict[str, list[Any]]]:
    """The error of `work` in one unit of work, and what is stored afterwards."""
    error = ""
    try:
        async with unit(database):
            await work()
    except Exception as raised:  # compared by the tests
        error = type(raised).__name__
        if not type(raised).__module__.startswith("uno"):
            raise
    return error, await stored(database)


def differences(expected: "Found", found: "Found") -> list[Any]:
    """What a reader wants to see."""
    rows = [(t, "expected", expected[1][t], "found", found[1][t]) for t in expected[1] if expected[1][t] != found[1][t]]
    return [("error", expected[0], found[0]), *rows]


def adds_after_deleting(script: list[Step]) -> bool:
    """Then the session writes what was deleted, and all else with it, before what is added: versions count both."""
    deleted: set[str] = set()
    for step in script:
        if step.verb in ("add", "save") and step.entity in deleted:
            return True
        if step.verb == "delete":
            deleted.add(step.entity)
    return False


Found = tuple[str, dict[str, list[Any]]]


def with_versions_of(expected: Found, found: Found) -> Found:
    known = {(table, row.get("id")): row.get("version") for table, rows in expected[1].items() for row in rows}

    def leveled(table: str, row: dict[str, Any]) -> dict[str, Any]:
        return row | {"version": known.get((table, row.get("id")), row["version"])} if "version" in row else row

    rows = {table: [leveled(table, row) for row in of_table] for table, of_table in found[1].items()}
    return found[0], {table: sorted(each, key=as_text) for table, each in rows.items()}


def as_text(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, default=str)


FORMS = (
    ("postgresql", "auto"),
    ("postgresql", "batch"),
    ("postgresql", "session"),
    ("sqlite", "auto"),
    ("sqlite", "session"),
)


@pytest.fixture(scope="module")
async def forms(lasting: Callable[..., Any]) -> AsyncIterator[dict[tuple[str, str], Database]]:
    opened = {form: await lasting(form[0], Tables.metadata, commit=form[1]) for form in FORMS}
    with clock.use(Standing()):
        yield opened


async def test_the_classes_here_take_the_fast_path(forms: dict[tuple[str, str], Database]) -> None:
    database = forms["postgresql", "auto"]
    assert {cls.__name__: database.plan(cls).reason for cls in ENTITIES.values()} == dict.fromkeys(ENTITIES)


@example(script=[Step("change", "Volume", id, (("title", "t"),)) for id in "ab"])  # a collation in an array's type
@example(script=[Step("save", "Shelf", "a", (("code", "x"),)), Step("save", "Shelf", "a")])  # a flush in between
@example(  # the session flushes in between
    script=[
        Step("change", "Shelf", "a", (("code", "y"),)),
        Step("delete", "Volume", "a"),
        Step("save", "Volume", "c", (("shelf_id", "b"),)),
        Step("change", "Shelf", "a", (("code", "x"),)),
    ]
)
@example(  # attributes that the saved object does not have
    script=[
        Step("add", "Typed", 3, (("number", 1),)),
        Step("flush"),
        Step("save", "Typed", 3, (("real", None), ("text", "t"))),
        Step("look", "Volume", "b"),
    ]
)
@example(  # the same before anything is written
    script=[Step("save", "Typed", 3, (("text", "t"), ("flag", False))), Step("save", "Typed", 3, (("number", 1),))]
)
@given(script=st.lists(steps(), min_size=1, max_size=7))
@settings(
    max_examples=40, phases=PHASES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_the_same_handler_leaves_the_same_rows_in_every_form(
    forms: dict[tuple[str, str], Database], script: list[Step]
) -> None:
    async def work() -> None:
        for step in script:
            await perform(step)

    note("\n".join(map(str, script)))
    results, untouched = {}, {}
    for form, database in forms.items():
        await reset(database)
        untouched = await stored(database)
        results[form] = await outcome(database, work)
    expected = results["postgresql", "batch"]
    for error, rows in results.values():
        assert not error or rows == untouched
    if any(error == "Conflict" for error, _ in results.values()):
        # SQLAlchemy's flush has its own order, so only there a unique value may be taken before it is free.
        results = {form: result for form, result in results.items() if "session" not in form}
    if adds_after_deleting(script):
        results = {form: result for form, result in results.items() if "session" not in form} | {
            form: with_versions_of(expected, result) for form, result in results.items() if "session" in form
        }
    assert not {form: differences(expected, result) for form, result in results.items() if result != expected}
