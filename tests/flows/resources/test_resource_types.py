"""Every type of column over HTTP: what the database makes of a row is what Python makes of it, and can be sent back."""

import json
import math
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from sqlalchemy import ARRAY, Boolean, Date, Double, Integer, MetaData, Text, Time, Uuid, delete
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.test_wire import ONLY_PYTHON, VALUES, Base as Widgets, Colour, Widget
from tests.flows.resources.shop import Client, calling, fields_in

from uno.app import App, Module, resource
from uno.data import Database, Model, schema
from uno.testing.postgres import DatabaseFarm


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Lists(Base):
    """What only PostgreSQL has."""

    __tablename__ = "typed_lists"
    id: Mapped[int] = mapped_column(primary_key=True)
    numbers: Mapped[list[int | None] | None] = mapped_column(ARRAY(Integer))
    doubles: Mapped[list[float | None] | None] = mapped_column(ARRAY(Double))
    words: Mapped[list[str | None] | None] = mapped_column(ARRAY(Text))
    truths: Mapped[list[bool | None] | None] = mapped_column(ARRAY(Boolean))
    days: Mapped[list[date | None] | None] = mapped_column(ARRAY(Date))
    keys: Mapped[list[UUID | None] | None] = mapped_column(ARRAY(Uuid))
    zoned: Mapped[time | None] = mapped_column(Time(timezone=True))


LISTS = {
    "numbers": VALUES["whole"],
    "doubles": VALUES["double"],
    "words": VALUES["text"],
    "truths": st.booleans(),
    "days": st.dates(),
    "keys": st.uuids(),
}
ZONES = st.integers(-15 * 60, 15 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
ROWS = {
    Widget: st.fixed_dictionaries({}, optional=VALUES),
    Lists: st.fixed_dictionaries(
        {},
        optional={n: st.lists(st.none() | one, max_size=3) for n, one in LISTS.items()}
        | {"zoned": st.times(timezones=ZONES)},
    ),
}
NOTHING = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
EXTREMES: list[dict[str, Any]] = [
    {"double": math.inf, "real": -math.inf, "big": -(2**63), "small": 2**15 - 1, "price": Decimal("-9999999999.99")},
    {"double": 5e-324, "real": 1.401298464324817e-45, "whole": 2**31 - 1, "rough": 0.1, "exact": Decimal("0.00001")},
    {
        "moment": datetime(1, 1, 1, tzinfo=UTC),
        "naive": datetime.fromisoformat("9999-12-31T23:59:59.999999"),
        "day": date.min,
    },
    {"aware": datetime.max.replace(tzinfo=UTC), "hour": time.max, "day": date.max},
    {"lasts": timedelta(microseconds=-1), "raw": b"", "text": "", "short": '\u2028"\\/<\x7f\x1f😀', "data": []},
    {
        "lasts": timedelta(days=99_999, microseconds=999_999),
        "raw": bytes(range(256)),
        "colour": Colour.RED,
        "flag": False,
    },
    {"data": {"": None, "a": [1e300, -0.0, 2**53, "\U0010ffff", {"b": {}}]}, "key": UUID(int=0), "size": "m"},
]


async def tables(url: str) -> str:
    async with Database(url) as database:
        await schema.create(database, [Widgets.metadata, Base.metadata])
    return url


@pytest.fixture
async def app(url: str) -> App:
    found = url if url == "sqlite://" else await tables(url)
    return App(Module("types", routes=[resource(Widget, access="open")]), database=found)


@pytest.fixture
async def client(app: App) -> AsyncIterator[Client]:
    async with calling(app) as client:
        yield client


@pytest.fixture
async def lists(farm: DatabaseFarm) -> App:
    routes = [resource(Widget, access="open"), resource(Lists, access="open")]
    return App(Module("types", routes=routes), database=await tables(await farm.create("shop")))


@pytest.fixture
async def postgres(lists: App) -> AsyncIterator[Client]:
    async with calling(lists) as client:
        yield client


@pytest.fixture
def made_in_sqlite() -> App:
    """Where SQLite itself makes the JSON, as not all columns let it."""
    hidden = sorted(ONLY_PYTHON["sqlite"])
    return App(Module("types", routes=[resource(Widget, access="open", hidden=hidden)]), database="sqlite://")


@pytest.fixture
async def sqlite(made_in_sqlite: App) -> AsyncIterator[Client]:
    async with calling(made_in_sqlite) as client:
        yield client


async def shown(client: Client, app: App, cls: Any, row: dict[str, Any]) -> dict[str, Any]:
    """The row as lists and reading one show it, which is the same by either way."""
    assert app.database is not None
    async with app.database.session() as session:
        await session.execute(delete(cls))
        session.add(cls(id=1, **row))
        await session.commit()
    path = "/widgets" if cls is Widget else "/lists"
    text = (await client.get(path)).text
    [one] = json.loads(text, parse_constant=_refuse)["items"]
    [slow] = (await client.get(path, params={"fields": ",".join(one)})).json()["items"]
    assert one == slow
    assert (await client.get(f"{path}/1")).json() == one
    assert [n for n in one if one[n] is None] == [n for n in one if n != "id" and row.get(n) is None]
    return one  # type: ignore[no-any-return]


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


async def round_trip(client: Client, app: App, cls: Any, row: dict[str, Any]) -> None:
    """What is shown is taken again, and is the same."""
    one = await shown(client, app, cls, row)
    path = "/widgets/1" if cls is Widget else "/lists/1"
    sent = {n: value for n, value in one.items() if n != "id" and "Infinity" not in str(value)}
    answer = await client.put(path, json=sent)
    assert (answer.status_code, answer.json()) == (200, dict.fromkeys(one) | sent | {"id": 1}), answer.text


def with_extremes(test: Any) -> Any:
    for row in EXTREMES:
        test = example(row)(test)
    return test


@with_extremes
@given(ROWS[Widget])
@NOTHING
async def test_both_ways_show_the_same_which_is_taken_again(client: Client, app: App, row: dict[str, Any]) -> None:
    await round_trip(client, app, Widget, row)


@with_extremes
@given(ROWS[Widget])
@NOTHING
async def test_sqlite_itself_shows_the_same(sqlite: Client, made_in_sqlite: App, row: dict[str, Any]) -> None:
    await shown(sqlite, made_in_sqlite, Widget, row)


@example(
    {"numbers": [], "doubles": [0.1, None, 5e-324], "words": ["", None, '"\\{},'], "zoned": time(1, 2, tzinfo=UTC)}
)
@given(ROWS[Lists])
@NOTHING
async def test_arrays_and_times_with_a_zone(postgres: Client, lists: App, row: dict[str, Any]) -> None:
    await round_trip(postgres, lists, Lists, row)


async def test_not_a_number_is_a_word(postgres: Client, lists: App) -> None:
    row = {"double": math.nan, "real": math.nan, "price": Decimal("NaN"), "exact": Decimal("NaN")}
    one = await shown(postgres, lists, Widget, row)
    assert {name: one[name] for name in row} == dict.fromkeys(row, "NaN")


async def test_decimals_keep_all_of_their_digits(postgres: Client, lists: App) -> None:
    for digits in ("1" * 300 + "." + "2" * 1_000, "-0." + "0" * 500 + "1"):
        one = await shown(postgres, lists, Widget, {"exact": Decimal(digits)})
        assert one["exact"] == digits
        answer = await postgres.patch("/widgets/1", json={"exact": digits})
        assert (answer.status_code, answer.json()["exact"]) == (200, digits)


WRONG = [
    '{"text": "\\ud800"}',
    '{"text": "\\u0000"}',
    '{"data": {"a": ["\\ud800"]}}',
    '{"data": {"\\u0000": 1}}',
    '{"data": "\\udfff"}',
    '{"double": "Infinity"}',
    '{"double": "NaN"}',
    '{"price": "NaN"}',
    '{"price": "1e2"}',
    '{"price": 99999999999}',
    '{"exact": "Infinity"}',
    '{"exact": "' + "9" * 140_000 + '"}',
    '{"small": 32768}',
    '{"big": 9223372036854775808}',
    '{"raw": "no base64!"}',
    '{"colour": "RED"}',
    '{"size": "xl"}',
    '{"lasts": 1e300}',
    '{"moment": "2026-01-31T09:30:00"}',
    '{"naive": "2026-01-31T09:30:00Z"}',
    '{"hour": "09:30:00+01:00"}',
    '{"day": "2026-02-30"}',
    '{"key": "no-uuid"}',
]


async def test_what_no_column_takes_is_refused_by_name(client: Client, app: App) -> None:
    await shown(client, app, Widget, {})
    for body in WRONG:
        name = next(iter(json.loads(body)))
        answer = await client.patch("/widgets/1", content=body, headers={"content-type": "application/json"})
        # Half a character is no JSON.
        expected = (400, ["body"]) if "\\ud" in body else (422, [name])
        assert (answer.status_code, fields_in(answer)) == expected, (body[:100], answer.text)
