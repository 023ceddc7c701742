"""Columns that keep less than they are given: what they keep, cut off, padded or rounded, is what uno says, too."""

import json
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from enum import Enum as PyEnum
from typing import Any

import pytest
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy import (
    ARRAY,
    CHAR,
    JSON,
    REAL,
    Date,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Uuid,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import mapped_column
from tests.contracts.conftest import Fresh
from tests.contracts.test_stored_forms import UPDATES, WAYS, clear, unit

from uno import App, Module
from uno.api import asgi, resource
from uno.audit import AuditTrail
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.errors import Invalid


class Anywhere(Model):
    __abstract__ = True
    metadata = MetaData()


class OnPostgres(Model):
    __abstract__ = True
    metadata = MetaData()


def lists(item: Any) -> Any:
    return ARRAY(item).with_variant(JSON(none_as_null=True), "sqlite")


COMMON = {
    "total": Integer(),
    "code": CHAR(4),
    "ref": Uuid(as_uuid=False),
    "tags": lists(String(3)),
    "counts": lists(Integer),
    "short": String(5),
    "span": Interval(),
}
MORE = {
    "total": Integer(),
    "real": REAL(),
    "half": Float(24),
    "reals": ARRAY(REAL),
    "codes": ARRAY(CHAR(3)),
    "prices": ARRAY(Numeric(5, 2)),
    "second": postgresql.TIMESTAMP(precision=0),
    "minute": postgresql.TIME(precision=0),
    "tenth": postgresql.INTERVAL(precision=1),
    "days": postgresql.INTERVAL(fields="DAY"),
    "years": postgresql.INTERVAL(fields="YEAR"),
    "swift": Interval(second_precision=0),
}


def table(name: str, base: Any, columns: dict[str, Any], key: Any = Integer) -> Any:
    made: dict[str, Any] = {n: mapped_column(one, nullable=True) for n, one in columns.items()}
    made["id"] = mapped_column(key, primary_key=True, autoincrement=False)
    return type(name, (VersionMixin, base), {"__tablename__": f"narrow_{name.lower()}", **made})


NarrowAnywhere = table("NarrowAnywhere", Anywhere, COMMON)
NarrowMore = table("NarrowMore", OnPostgres, MORE)


class Shade(PyEnum):
    DARK = "dark"
    MIXED = "light/dark"


KEYED = {
    "char": table("NarrowChar", Anywhere, {"n": Integer}, CHAR(6)),
    "shade": table("NarrowShade", Anywhere, {"n": Integer}, Enum(Shade)),
    "day": table("NarrowDay", Anywhere, {"n": Integer}, Date),
    "raw": table("NarrowRaw", Anywhere, {"n": Integer}, LargeBinary),
}

REF = "12345678-1234-5678-1234-567812345678"
A_TENTH = 0.10000000149011612
EARLY, LATE = datetime(1999, 1, 1, 0, 0, 0, 500_000), datetime(2026, 1, 1, 0, 0, 0, 500_000)  # noqa: DTZ001
# The attribute, what is given, what is stored, and what the trail says.
KEPT: list[tuple[Any, str, Any, Any, Any]] = [
    (NarrowAnywhere, "ref", REF.replace("-", ""), REF, REF),
    (NarrowAnywhere, "counts", (1, 2.0), [1, 2], [1, 2]),
    (NarrowMore, "real", 0.1, A_TENTH, A_TENTH),
    (NarrowMore, "half", 1 + 2**24, 2.0**24, 2.0**24),
    (NarrowMore, "reals", [0.1, None, 2], [A_TENTH, None, 2.0], [A_TENTH, None, 2.0]),
    (NarrowMore, "codes", ["a"], ["a  "], ["a  "]),
    (NarrowMore, "prices", [1, 0.1], [Decimal(1), Decimal("0.1")], ["1.00", "0.10"]),
    (NarrowMore, "second", LATE, LATE.replace(second=1, microsecond=0), "2026-01-01T00:00:01"),
    (NarrowMore, "second", EARLY, EARLY.replace(microsecond=0), "1999-01-01T00:00:00"),
    (NarrowMore, "minute", time(1, 2, 3, 600_000), time(1, 2, 4), "01:02:04"),
    (NarrowMore, "minute", time(23, 59, 59, 600_000), time(23, 59, 59), "23:59:59"),
    (NarrowMore, "tenth", timedelta(seconds=1.26), timedelta(seconds=1.3), 1.3),
    (NarrowMore, "tenth", timedelta(seconds=-1.25), timedelta(seconds=-1.2), -1.2),
    (NarrowMore, "days", timedelta(days=1, seconds=5), timedelta(days=1), 86400.0),
    (NarrowMore, "swift", timedelta(seconds=1.5), timedelta(seconds=2), 2.0),
]
REFUSED: list[tuple[Any, str, Any]] = [
    (NarrowAnywhere, "tags", ["ok", "abcdef"]),
    (NarrowAnywhere, "tags", "ab"),
    (NarrowAnywhere, "tags", [1]),
    (NarrowAnywhere, "counts", {1, 2}),
    (NarrowAnywhere, "counts", ["1"]),
    (NarrowAnywhere, "short", "abcde "),
    (NarrowAnywhere, "span", timedelta.min),
    (NarrowMore, "real", 1e39),
    (NarrowMore, "reals", [1e39]),
    (NarrowMore, "years", timedelta(days=800)),
]


@pytest.fixture(scope="module", params=["postgresql auto", "postgresql session", "sqlite auto", "sqlite session"])
async def databases(request: pytest.FixtureRequest, lasting: Fresh) -> dict[Any, Database]:
    backend, commit = request.param.split()
    found = {NarrowAnywhere: await lasting(backend, Anywhere.metadata, commit=commit)}
    if backend == "postgresql":
        found[NarrowMore] = await lasting(backend, OnPostgres.metadata, commit=commit)
    return found


def padded(database: Database) -> str:
    return "ab  " if database.backend == "postgresql" else "ab"


async def test_the_object_the_row_and_the_trail_say_what_is_kept(databases: dict[Any, Database]) -> None:
    code = padded(databases[NarrowAnywhere])
    codes = [(NarrowAnywhere, "code", given, code, code) for given in ("ab", "ab ", "ab    ")]
    for cls, name, given, kept, told in [*KEPT, *codes]:
        for way in WAYS if cls in databases else ():
            where = (name, given, way.__name__)
            database = databases[cls]
            await clear(database, cls)
            async with unit(database):
                one = await way(cls, name, given)
            id = 1 if way in UPDATES else 2
            async with unit(database):
                again = await Repository(cls).get(id)
                read = getattr(again, name)
                setattr(again, name, given)
            entries = await AuditTrail(database).history(cls, id)
            assert [read, read if one is None else getattr(one, name)] == [kept] * 2, where
            assert entries[-1].after is not None
            assert json.dumps(entries[-1].after[name]) == json.dumps(told), where
            async with UnitOfWork(database):
                assert (await Repository(cls).get(id)).version == (2 if id == 1 else 1), where


@pytest.mark.parametrize(("cls", "name", "given"), REFUSED, ids=[f"{one[1]}-{one[2]}" for one in REFUSED])
async def test_what_is_not_kept_is_refused_by_name(
    databases: dict[Any, Database], cls: Any, name: str, given: Any
) -> None:
    for way in WAYS if cls in databases else ():
        await clear(databases[cls], cls)
        with pytest.raises(Invalid) as caught:
            async with unit(databases[cls]):
                await way(cls, name, given)
        assert [one.field for one in caught.value.errors] == [name], way.__name__
        async with UnitOfWork(databases[cls]):
            assert [getattr(one, name) for one in await Repository(cls).find()] == [None]


@pytest.fixture
async def keyed(fresh: Fresh, backend: str) -> Any:
    database = await fresh(backend, Anywhere.metadata)
    routes = [resource(cls, access="open", prefix=f"/{name}") for name, cls in KEYED.items()]
    routes.append(resource(NarrowAnywhere, access="open", prefix="/anywhere"))
    app = App(Module("narrow", routes=routes), database=database)
    async with app, AsyncClient(transport=ASGITransport(app=asgi(app)), base_url="http://test") as client:
        yield client


async def test_texts_that_differ_in_blanks_behind_are_one_key_of_char(keyed: AsyncClient) -> None:
    made = await keyed.post("/char", json={"id": "ab", "n": 1})
    assert (made.status_code, made.headers["location"]) == (201, "/char/ab")
    for same in ("ab ", "ab   "):
        assert (await keyed.post("/char", json={"id": same, "n": 2})).status_code == 409
        assert len((await keyed.get("/char", params={"id": same})).json()["items"]) == 1
        assert (await keyed.get(f"/char/{same}")).json()["n"] == 1
    assert len((await keyed.get("/char/ab/history")).json()["items"]) == 1


@pytest.mark.parametrize(("path", "id"), [("/char", " "), ("/shade", "light/dark")])
async def test_a_key_that_no_path_can_have_is_refused(keyed: AsyncClient, path: str, id: str) -> None:
    refused = await keyed.post(path, json={"id": id, "n": 1})
    assert (refused.status_code, [one["field"] for one in refused.json()["errors"]]) == (422, ["id"])


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
async def test_the_first_and_the_last_day_are_keys(keyed: AsyncClient, day: str) -> None:
    made = await keyed.post("/day", json={"id": day, "n": 1})
    assert made.headers["location"] == f"/day/{day}"
    assert (await keyed.get(f"/day/{day}")).json()["n"] == 1
    assert len((await keyed.get(f"/day/{day}/history")).json()["items"]) == 1


async def test_a_list_by_keys_of_bytes_has_pages(keyed: AsyncClient) -> None:
    ids = ["AAEC", "+/8=", "/w=="]
    for id in ids:
        assert (await keyed.post("/raw", json={"id": id, "n": 1})).status_code == 201
    found, after = [], None
    while len(found) < len(ids):
        page = (await keyed.get("/raw", params={"limit": 1} | ({"after": after} if after else {}))).json()
        found += [one["id"] for one in page["items"]]
        after = page["next"]
    assert (found, after) == (["AAEC", "+/8=", "/w=="], None)
    wrong = await keyed.get("/raw", params={"after": "WyJ4Il0"})
    assert wrong.status_code == 400


async def test_durations_have_the_same_bounds_wherever_they_come_in(keyed: AsyncClient) -> None:
    refused = await keyed.post("/anywhere", json={"id": 9, "span": -86399999913600})
    assert refused.json()["errors"] == [
        {"field": "span", "message": "It is beyond what can be stored.", "code": "value"}
    ]
    early = (datetime.min.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    for id, span in enumerate((early, early + 1, 0), 1):
        assert (await keyed.post("/anywhere", json={"id": id, "span": span})).status_code == 201
    page = (await keyed.get("/anywhere", params={"sort": "span", "limit": 1})).json()
    rest = (await keyed.get("/anywhere", params={"sort": "span", "after": page["next"]})).json()
    assert [one["id"] for one in [*page["items"], *rest["items"]]] == [1, 2, 3]
    assert len((await keyed.get("/anywhere", params={"span": str(early)})).json()["items"]) == 1
