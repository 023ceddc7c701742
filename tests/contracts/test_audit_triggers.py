"""PostgreSQL writes down the same rows by itself, and what raw SQL does too."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from sqlalchemy import (
    ARRAY,
    JSON,
    Date,
    Enum as EnumType,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Text,
    Time,
    Uuid,
    cast,
    delete,
    func,
    insert,
    select,
    text as sql,
    update,
)
from sqlalchemy.dialects.postgresql import JSON as PlainJSON
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno import clock
from uno.audit import AuditBook, AuditLog, AuditTrail
from uno.audit.tables import audit
from uno.context import Context, use
from uno.data import (
    Database,
    Model,
    Repository,
    SoftDeleteMixin,
    TimestampMixin,
    UnitOfWork,
    UtcDateTime,
    VersionMixin,
    schema,
)
from uno.data.tables import json_type
from uno.errors import Conflict, Misconfigured, VersionConflict


class Colour(Enum):
    RED = "it's red"
    BLUE = "blue"


class Thing(TimestampMixin, SoftDeleteMixin, VersionMixin):
    """A column of every type; some names want quotes, or are those of the triggers' variables."""

    __tablename__ = "Captured things"
    id: Mapped[int] = mapped_column("the id", primary_key=True, autoincrement=False)
    text: Mapped[str | None] = mapped_column("user")
    real: Mapped[float | None] = mapped_column(Float)
    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 4))
    flag: Mapped[bool | None]
    colour: Mapped[Colour | None] = mapped_column(EnumType(Colour, name="captured colour"))
    body: Mapped[Any] = mapped_column(json_type, nullable=True)
    plain: Mapped[Any] = mapped_column(
        JSON(none_as_null=True).with_variant(PlainJSON(none_as_null=True), "postgresql"), nullable=True
    )
    names: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    mark: Mapped[UUID | None] = mapped_column(Uuid)
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    day: Mapped[date | None] = mapped_column(Date)
    moment: Mapped[datetime | None] = mapped_column(UtcDateTime)
    hour: Mapped[time | None] = mapped_column(Time)
    span: Mapped[timedelta | None] = mapped_column(Interval)
    iban: Mapped[str | None] = mapped_column(info={"audit": "redact"})
    visits: Mapped[int | None] = mapped_column(info={"audit": False})


class ByUnit(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class ByTrigger(Model):
    __abstract__ = True
    __audit__ = "trigger"
    metadata: ClassVar[MetaData] = MetaData()


UNIT: Any = type("Thing", (Thing, ByUnit), {"__module__": __name__})
# SQLAlchemy wants two names.
TRIGGER: Any = type("Thing", (Thing, ByTrigger), {"__module__": f"{__name__}.captured"})


class TriggerLine(ByTrigger):
    __tablename__ = "captured_lines"
    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str | None]


class Simple(ByTrigger):
    __tablename__ = "captured_simple"
    metadata = MetaData()
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


WHO = {"actor": "ada", "actor_source": "principal", "tenant": "north", "traceparent": "00-1-2-01"}
text = st.text(st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cs",)), max_size=6)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
bodies = st.none() | st.lists(st.integers(-9, 9) | text) | st.dictionaries(text, st.booleans(), max_size=2)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "text": st.none() | text,
        "real": st.none() | st.floats(-1e9, 1e9),
        "price": st.none() | st.decimals(-10_000, 10_000, places=4),
        "flag": st.none() | st.booleans(),
        "colour": st.none() | st.sampled_from(Colour),
        "body": bodies,
        "plain": bodies,
        "names": st.none() | st.lists(text, max_size=3),
        "mark": st.none() | st.uuids(),
        "raw": st.none() | st.binary(max_size=90),
        "day": st.none() | st.dates(),
        "moment": st.none() | st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1), timezones=zones),  # noqa: DTZ001 - hypothesis adds it
        "hour": st.none() | st.times(),
        "span": st.none() | st.timedeltas(timedelta(0), timedelta(days=900)),
        "iban": st.none() | text,
        "visits": st.integers(0, 9),
    },
)
VERBS = st.sampled_from(["change", "change", "soft_delete", "restore", "delete", "create"])
COMMITS = st.lists(
    st.dictionaries(st.integers(1, 3), st.tuples(VERBS, VALUES), min_size=1, max_size=3), min_size=1, max_size=4
)


class Standing:
    """A clock that stands still, so that times can be compared."""

    def now(self) -> datetime:
        return datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits here")


@pytest.fixture(scope="module", params=["auto", "batch", "session"])
async def both(lasting: Fresh, request: pytest.FixtureRequest) -> dict[Any, Database]:
    """By class the database whose rows it has."""
    modes = {UNIT: ByUnit.metadata, TRIGGER: ByTrigger.metadata}
    return {cls: await lasting("postgresql", metadata, commit=request.param) for cls, metadata in modes.items()}


@pytest.fixture
async def database(fresh: Fresh) -> Database:
    return await fresh("postgresql", ByTrigger.metadata)


@pytest.fixture
def standing() -> Iterator[None]:
    with clock.use(Standing()):
        yield


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=[AuditBook()])


async def perform(cls: Any, id: int, verb: str, values: dict[str, Any]) -> None:
    things = Repository(cls)
    thing = await things.get_by_id(id, include_deleted=True)
    if thing is None:
        await things.add(cls(id=id, **values))
    elif verb == "change":
        for name, value in values.items():
            setattr(thing, name, value)
    elif verb != "create":
        await getattr(things, verb)(thing)


async def rows(database: Database) -> list[Any]:
    wanted = [column for column in audit.c if column.name not in ("id", "timestamp")]
    found = await database.query(select(*wanted).order_by(audit.c.message_id, audit.c.record_id))
    return [dict(row._mapping) for row in found]


@given(commits=COMMITS)
@settings(
    max_examples=30,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.usefixtures("standing")
async def test_triggers_leave_the_rows_that_the_unit_of_work_would(
    both: dict[Any, Database], commits: list[dict[int, tuple[str, dict[str, Any]]]]
) -> None:
    found = []
    for cls, database in both.items():
        async with database.transaction() as transaction:
            await transaction.execute(delete(cls))
            await transaction.execute(delete(audit))
        for number, commit in enumerate(commits):
            with use(Context("req-1", f"msg-{number}", **WHO)):
                async with unit(database):
                    for id, (verb, values) in commit.items():
                        await perform(cls, id, verb, values)
        found.append(await rows(database))
    assert found[0] == found[1]
    assert [row for row in found[0] if row["operation"] == "create"]


async def trail(database: Database, component: Any = TRIGGER) -> list[AuditLog]:
    return await AuditTrail(database).query(component=component)


RAW = (
    """INSERT INTO "Captured things" ("the id", "user", version, created_at, updated_at)
       VALUES (1, 'a', 1, now(), now()), (2, 'a', 1, now(), now())""",
    "SET LOCAL timezone = 'Asia/Kolkata'",
    "SET LOCAL datestyle = 'German'",
    """UPDATE "Captured things" SET "user" = 'b', moment = '2026-01-01T05:30:00+05:30'""",
    """UPDATE "Captured things" SET "user" = 'b'""",
    """UPDATE "Captured things" SET visits = 3""",
    """DELETE FROM "Captured things" WHERE "the id" = 1""",
)


async def test_raw_sql_is_written_down_with_the_user_of_the_database(database: Database) -> None:
    async with database.transaction() as transaction:
        for statement in RAW:
            await transaction.execute(sql(statement))
    entries = await trail(database)
    said = [(entry.record_id, entry.operation) for entry in entries]
    assert sorted(said[:2]) == [("1", "create"), ("2", "create")]
    assert sorted(said[2:4]) == [("1", "update"), ("2", "update")]
    assert said[4:] == [("1", "delete")]
    user = (await database.query(sql("SELECT session_user")))[0][0]
    assert {(e.actor, e.actor_source, e.tenant, e.kind) for e in entries} == {(user, "database", None, "change")}
    [correlation] = {entry.correlation_id for entry in entries}
    assert correlation.startswith("transaction-")
    assert entries[2].after == {"text": "b", "moment": "2026-01-01T00:00:00+00:00"}
    assert entries[4].before is not None
    assert entries[4].before["text"] == "b"
    assert abs(entries[0].timestamp - datetime.now(UTC)) < timedelta(minutes=5)
    assert await AuditTrail(database).as_of(TRIGGER, 1, datetime.now(UTC)) is None


async def test_a_key_that_raw_sql_changes_and_a_truncated_table_are_written_down(database: Database) -> None:
    id, other = UUID(int=1), UUID(int=2)
    async with database.transaction() as transaction:
        await transaction.execute(insert(TriggerLine), {"order_id": id, "number": "1", "text": "x"})
    async with database.transaction() as transaction:
        await transaction.execute(update(TriggerLine).values(order_id=other))
    async with database.transaction() as transaction:
        await transaction.execute(sql("TRUNCATE captured_lines"))
    entries = await trail(database, TriggerLine)
    whole = {"order_id": str(other), "number": "1", "text": "x"}
    said = {(e.record_id, e.operation, e.before is None, e.after is None) for e in entries[1:3]}
    assert said == {(f"{id},1", "delete", False, True), (f"{other},1", "create", True, False)}
    assert (entries[3].operation, entries[3].before, entries[3].record_id) == ("delete", whole, f"{other},1")


async def test_forty_thousand_rows_of_one_statement_have_ids_in_their_order(database: Database) -> None:
    places = select(cast(func.right(cast(audit.c.record_id, Text), -37), Integer))
    rows = "SELECT lpad(to_hex(n), 32, '0')::uuid, n, 'a' FROM generate_series(1, 40000) AS n ORDER BY n"
    for statement in (
        f"INSERT INTO captured_lines (order_id, number, text) {rows}",
        "UPDATE captured_lines SET text = 'b'",
    ):
        async with database.transaction() as transaction:
            await transaction.execute(delete(audit))
            await transaction.execute(sql(statement))
        found = [row[0] for row in await database.query(places.order_by(audit.c.id))]
        assert found == list(range(1, 40_001))
        # Without the random digits.
        [(ids,)] = await database.query(sql("SELECT count(DISTINCT left(id::text, 23)) FROM uno_audit"))
        assert ids == 40_000


async def test_what_a_unit_of_work_does_by_raw_sql_has_its_context(database: Database) -> None:
    with use(Context("req-1", "msg-1", **WHO)):
        async with unit(database) as uow:
            await Repository(TriggerLine).add(TriggerLine(order_id=UUID(int=1), number="1"))
            session = await uow.session()
            await session.execute(update(TriggerLine).values(text="raw"))
        async with unit(database):
            await Repository(TriggerLine).add(TriggerLine(order_id=UUID(int=1), number="2"))
    async with database.transaction() as transaction:  # of the same connection
        await transaction.execute(update(TriggerLine).values(text="rawer"))
    entries = await trail(database, TriggerLine)
    assert [entry.operation for entry in entries] == ["create", "update", "create", "update", "update"]
    assert [entry.actor_source for entry in entries] == ["principal"] * 3 + ["database"] * 2
    assert {entry.correlation_id for entry in entries[:3]} == {"req-1"}


async def test_what_is_rolled_back_leaves_nothing(database: Database) -> None:
    things = Repository(TRIGGER)
    async with unit(database):
        await things.add(TRIGGER(id=1))
        await things.add(TRIGGER(id=2))
    with pytest.raises(VersionConflict):
        async with unit(database):
            for id in (1, 2):
                (await things.get(id)).text = "stale"
            async with database.transaction() as transaction:
                await transaction.execute(sql('UPDATE "Captured things" SET version = 9 WHERE "the id" = 2'))
    with pytest.raises(Conflict):
        async with unit(database):
            await things.add(TRIGGER(id=1))
    assert [entry.operation for entry in await trail(database)] == ["create", "create"]


async def test_whoever_may_write_the_table_need_not_have_rights_on_the_trail(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(sql("CREATE ROLE uno_captured_writer"))
        await transaction.execute(sql("GRANT ALL ON captured_lines TO uno_captured_writer"))
        await transaction.execute(sql("SET LOCAL ROLE uno_captured_writer"))
        await transaction.execute(sql("CREATE TEMP TABLE uno_audit (LIKE captured_lines)"))
        await transaction.execute(insert(TriggerLine), {"order_id": UUID(int=1), "number": "1"})
        for end in ("RESET ROLE", "DROP OWNED BY uno_captured_writer", "DROP ROLE uno_captured_writer"):
            await transaction.execute(sql(end))
    [entry] = await trail(database, TriggerLine)
    assert (entry.operation, entry.actor_source) == ("create", "database")


async def test_without_its_triggers_the_unit_of_work_writes_down_the_changes(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, MetaData())

    await database.create_tables([Simple.metadata])
    if backend == "postgresql":
        async with database.transaction() as transaction:
            await transaction.execute(sql("ALTER TABLE captured_simple DISABLE TRIGGER USER"))
        with pytest.raises(Misconfigured, match="The triggers that audit captured_simple are missing"):
            await schema.require(database, [Simple.metadata])
    for id in (1, 2):
        async with unit(database):
            await Repository(Simple).add(Simple(id=id))
        assert len(await trail(database, Simple)) == id
        await schema.create(database, [Simple.metadata])
        await schema.require(database, [Simple.metadata])


async def test_triggers_of_another_version_of_the_class_are_renewed(database: Database) -> None:
    class Wider(ByTrigger):
        __tablename__ = "captured_lines"
        metadata = MetaData()
        order_id: Mapped[UUID] = mapped_column(primary_key=True)
        number: Mapped[str] = mapped_column(primary_key=True)
        note: Mapped[str | None]

    async with database.transaction() as transaction:
        await transaction.execute(sql("ALTER TABLE captured_lines ADD COLUMN note text"))
    with pytest.raises(Misconfigured, match="or not those of its class; run: uno db create"):
        await schema.require(database, [Wider.metadata])
    await schema.create(database, [Wider.metadata])
    await schema.require(database, [Wider.metadata])
    async with unit(database):
        await Repository(Wider).add(Wider(order_id=UUID(int=1), number="1", note="n"))
    [entry] = await trail(database, Wider)
    assert entry.after == {"order_id": str(UUID(int=1)), "number": "1", "note": "n"}
