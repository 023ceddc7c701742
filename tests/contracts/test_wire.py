"""The JSON that a database makes of a row is the JSON that Python makes of the object."""

import enum
import json
import string
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    Double,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Text,
    Time,
    TypeDecorator,
    delete,
    func,
    select,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import BACKENDS, Fresh

from uno.data import Database, Model, Repository, UnitOfWork, wire
from uno.data.tables import json_type


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Colour(enum.Enum):
    RED = "dark red"
    GREEN = "green"


class Widget(Base):
    __tablename__ = "wire_things"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str | None] = mapped_column(Text)
    short: Mapped[str | None] = mapped_column(String(20))
    small: Mapped[int | None] = mapped_column(SmallInteger)
    whole: Mapped[int | None] = mapped_column(Integer)
    big: Mapped[int | None] = mapped_column(BigInteger)
    flag: Mapped[bool | None]
    double: Mapped[float | None] = mapped_column(Double)
    real: Mapped[float | None] = mapped_column(postgresql.REAL().with_variant(Float(), "sqlite"))
    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    exact: Mapped[Decimal | None] = mapped_column(Numeric)
    rough: Mapped[float | None] = mapped_column(Numeric(12, 2, asdecimal=False))
    moment: Mapped[datetime | None]
    aware: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    naive: Mapped[datetime | None] = mapped_column(DateTime)
    day: Mapped[date | None]
    hour: Mapped[time | None] = mapped_column(Time)
    lasts: Mapped[timedelta | None] = mapped_column(Interval)
    key: Mapped[UUID | None]
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    colour: Mapped[Colour | None] = mapped_column(Enum(Colour))
    size: Mapped[str | None] = mapped_column(Enum("s", "m", name="wire_size"))
    data: Mapped[Any | None] = mapped_column(json_type)


# What has no form in SQL there.
ONLY_PYTHON = {"postgresql": set[str](), "sqlite": {"price", "exact", "lasts", "raw", "double", "real", "rough"}}
SECONDS = st.datetimes()
INSTANTS = st.datetimes().map(lambda moment: moment.replace(tzinfo=UTC))
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
DOUBLES = st.floats(allow_nan=False)
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6) | st.text(string.printable),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(string.printable), inner, max_size=3),
    max_leaves=5,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": WORDS,
    "short": WORDS,
    "small": st.integers(-(2**15), 2**15 - 1),
    "whole": st.integers(-(2**31), 2**31 - 1),
    "big": st.integers(-(2**63), 2**63 - 1),
    "flag": st.booleans(),
    "double": DOUBLES,
    "real": st.floats(width=32, allow_nan=False),
    "price": st.decimals(-9_999_999_999, 9_999_999_999, places=2),
    "exact": st.decimals(-(10**9), 10**9, places=5),  # as many digits as SQLite keeps
    "rough": st.decimals(-9_999_999, 9_999_999, places=2).map(float),
    "moment": INSTANTS,
    "aware": INSTANTS,
    "naive": SECONDS,
    "day": st.dates(),
    "hour": st.times(),
    "lasts": st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000)),
    "key": st.uuids(),
    "raw": st.binary(max_size=200),
    "colour": st.sampled_from(Colour),
    "size": st.sampled_from(["s", "m"]),
    "data": NESTED,
}
WIDGETS = st.fixed_dictionaries({}, optional=VALUES)


@pytest.fixture(scope="module", params=BACKENDS)
async def database(lasting: Fresh, request: pytest.FixtureRequest) -> Database:
    return await lasting(request.param, Base.metadata)


async def both(database: Database, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row as JSON: as its object says it, and as the database does."""
    async with database.session() as session:
        await session.execute(delete(Widget))
        session.add(Widget(id=1, **values))
        await session.commit()
    wanted = [(c.key, c) for c in Widget.__table__.c if c.key not in ONLY_PYTHON[database.backend]]
    made = wire.object_of(wanted, database.backend)
    assert made is not None
    async with UnitOfWork(database):
        thing = await Repository(Widget).get(1)
    told = {name: wire.encoder(column)(getattr(thing, name)) for name, column in wanted}
    [(answer,)] = await database.query(select(func.json(made) if database.backend == "sqlite" else made))
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    return json.loads(json.dumps(told, allow_nan=False)), {name: as_read(name, one) for name, one in answer.items()}


def as_read(name: str, value: Any) -> Any:
    """jsonb writes a double that is whole without a point or an exponent, which Python reads as an int."""
    return float(value) if name in ("double", "real", "rough") and isinstance(value, int) else value


@given(WIDGETS)
@example({"double": float("inf"), "real": float("-inf"), "price": Decimal("0.00"), "raw": b"\xfb\xff" * 60})
@example({"double": 0.1 + 0.2, "aware": datetime(2026, 1, 2, tzinfo=UTC), "hour": time(1, 2, 3, 500_000)})
@example({"data": {"a": [None, True, 1.5, {"b": "\u2028"}]}, "naive": datetime.fromisoformat("2026-01-02T03:04:05.12")})
@example({"data": 1.936154281720519})
@example({"data": 1.7976931348623023e308})
@example({"double": 5e-324, "real": 1.401298464324817e-45, "big": -(2**63)})
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_both_say_the_same(database: Database, values: dict[str, Any]) -> None:
    told, answer = await both(database, values)
    assert answer == told


PARTS = st.tuples(*(st.integers(-n, n) for n in (200, 100, 10_000, 10**15)))


@given(PARTS)
@example((1, 0, 0, 0))
@example((0, -13, 40, 1))
@example((1, -13, 0, -1))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_both_say_the_same_of_years_and_months(database: Database, parts: tuple[int, ...]) -> None:
    if database.backend == "postgresql":
        made = "make_interval(years => {}, months => {}, days => {}, secs => {} / 1e6)".format(*parts)
        told, answer = await both(database, {"lasts": text(made)})
        assert answer["lasts"] == told["lasts"]


async def test_a_year_has_365_days_and_a_month_30(fresh: Fresh) -> None:
    database = await fresh("postgresql", Base.metadata)
    for written, days in (("1 year", 365), ("13 months", 395), ("-1 year", -365), ("-1 month", -30)):
        _, answer = await both(database, {"lasts": text(f"interval '{written}'")})
        assert answer["lasts"] == days * 86_400


async def test_the_end_of_a_day_is_the_last_time_of_it(fresh: Fresh) -> None:
    database = await fresh("postgresql", Base.metadata)
    told, answer = await both(database, {"hour": text("time '24\\:00'")})
    assert told["hour"] == answer["hour"] == "23:59:59.999999"
    assert list(await database.query(text("SELECT time '24:00', time '23:59:59.999999', time '00:00'"))) == [
        (time.max, time.max, time.min)
    ]


async def test_not_a_number_is_a_word(fresh: Fresh) -> None:
    told, answer = await both(
        await fresh("postgresql", Base.metadata),
        {"double": float("nan"), "exact": Decimal("NaN"), "price": Decimal("NaN")},
    )
    assert answer == told
    assert (told["double"], told["exact"], told["price"]) == ("NaN", "NaN", "NaN")


def test_the_forms_are_these() -> None:
    moment = datetime(2026, 1, 31, 9, 30, 0, 500_000, UTC)
    assert wire.encode(moment) == "2026-01-31T09:30:00.5+00:00"
    assert wire.encode({Colour.RED: (b"\xfb\xff", timedelta(minutes=1), Decimal("1E+2"))}) == {
        "dark red": ["+/8=", 60.0, "100"]
    }
    money: Column[Any] = Column("price", Numeric(12, 2))
    assert [wire.encoder(money)(one) for one in (Decimal("1.5"), 2, 0.125, Decimal("-0.001"), None)] == [
        "1.50",
        "2.00",
        "0.13",
        "0.00",
        None,
    ]


class Shouted(TypeDecorator[str]):
    impl = String
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.upper()


class Silent(TypeDecorator[str]):
    impl = String
    cache_ok = True


def test_a_type_that_only_decorates_has_the_form_of_the_one_below() -> None:
    column: Column[Any] = Column("x", Silent())
    assert wire.expression(column, "postgresql") is column


@pytest.mark.parametrize("type_", [Shouted(), ARRAY(Numeric), Time(timezone=True), Float(asdecimal=True)])
def test_what_has_no_form_in_sql_is_left_to_python(type_: Any) -> None:
    column: Column[Any] = Column("x", type_)
    assert wire.expression(column, "postgresql") is None
    assert wire.object_of([("x", column)], "postgresql") is None
