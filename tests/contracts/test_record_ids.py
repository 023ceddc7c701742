"""A composite key has one text in the audit trail, whoever writes it, and no two keys have the same."""

import enum
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from sqlalchemy import (
    CHAR,
    REAL,
    DateTime,
    Double,
    Enum,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno import App, Module
from uno.api import asgi, resource
from uno.audit import AuditBook, AuditLog, AuditTrail
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin, record_ids, schema
from uno.errors import Misconfigured, id_text

IDS = {
    ("x,y", "z", 1): r"x\,y,z,1",
    ("x", "y,z", 1): r"x,y\,z,1",
    ("x\\", "y", 1): r"x\\,y,1",
    ("x\\,y", "z", 1): r"x\\\,y,z,1",
    ("x", "'y'", -1): "x,'y',-1",
}


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class NumberedLine(VersionMixin, Base):
    __tablename__ = "keyed_lines"
    order_no: Mapped[str] = mapped_column(primary_key=True)
    item: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int]


class KeptBase(Model):
    __abstract__ = True
    metadata = MetaData()


class KeptNumber(VersionMixin, KeptBase):
    __tablename__ = "kept_numbers"
    id: Mapped[Decimal] = mapped_column(Numeric(10, 2), primary_key=True)
    n: Mapped[int]


class KeptDay(VersionMixin, KeptBase):
    __tablename__ = "kept_days"
    id: Mapped[date] = mapped_column(primary_key=True)
    n: Mapped[int]


class KeptMoment(VersionMixin, KeptBase):
    __tablename__ = "kept_moments"
    id: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    n: Mapped[int]


class Captured(VersionMixin, Base):
    __tablename__ = "keyed_captured"
    __audit__ = "trigger"
    order_no: Mapped[str] = mapped_column(primary_key=True)
    item: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int]


class Priced(Base):
    __tablename__ = "keyed_priced"
    shop: Mapped[str] = mapped_column(String, primary_key=True)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2), primary_key=True)


class Word(Base):
    __tablename__ = "keyed_words"
    id: Mapped[str] = mapped_column(primary_key=True)


class Tone(enum.Enum):
    LIGHT = "bright, light"
    DARK = "dark"


class Step(enum.Enum):
    FIRST = 1


# Of each type: what is given as JSON and in Python, and the text of what is stored.
KEYS: dict[str, tuple[Any, Any, Any, str]] = {
    "scaled": (Numeric(10, 2), "1.5", Decimal("1.5"), "1.50"),
    "zero": (Numeric(10, 2), "-0.00", Decimal("-0.00"), "0.00"),
    "bare": (Numeric(), "1.50", Decimal("1.50"), "1.5"),
    "rounded": (Numeric(10, 2, asdecimal=False), 1.5, 1.5, "1.50"),
    "double": (Double(), -0.0, -0.0, "0.0"),
    "padded": (CHAR(5), "ab", "ab", "ab"),
    "captured": (CHAR(5), "ab", "ab", "ab"),
    "tone": (Enum(Tone), "bright, light", Tone.LIGHT, "bright, light"),
    "step": (Enum(Step), 1, Step.FIRST, "1"),
    "lasting": (Interval(), -1.5, timedelta(seconds=-1.5), "-1.5"),
    "raw": (LargeBinary(), "+/8=", b"\xfb\xff", "-_8="),
    "moment": (
        DateTime(timezone=True),
        "2026-01-31T09:30:00+05:00",
        datetime(2026, 1, 31, 9, 30, tzinfo=timezone(timedelta(hours=5))),
        "2026-01-31 04:30:00+00:00",
    ),
}
UTC_OF = {"moment": datetime(2026, 1, 31, 4, 30, tzinfo=UTC)}


def keyed(name: str, base: Any, key: Any) -> Any:
    columns = {"k": mapped_column(key, primary_key=True, autoincrement=False), "n": mapped_column(Integer)}
    marks = {"__tablename__": f"keyed_by_{name}", "__audit__": "trigger" if name == "captured" else True}
    return type(f"Keyed{name.title()}", (VersionMixin, base), {**marks, **columns})


class Keyed(Model):
    __abstract__ = True
    metadata = MetaData()


CLASSES = {name: keyed(name, Keyed, key) for name, (key, *_) in KEYS.items()}


def rows() -> list[dict[str, Any]]:
    return [{"order_no": a, "item": b, "place": place, "n": 1} for a, b, place in IDS]


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=[AuditBook()])


async def by_objects(database: Database, cls: Any) -> None:
    things = Repository(cls)
    async with unit(database):
        for row in rows():
            await things.add(cls(**row))
    async with unit(database):
        for key in IDS:
            (await things.get(key)).n = 2
    async with unit(database):
        for key in IDS:
            await things.delete(await things.get(key))


async def in_bulk(database: Database, cls: Any) -> None:
    things = Repository(cls)
    async with unit(database):
        await things.insert_many(rows())
    async with unit(database):
        await things.update_many(n=1, values={"n": 2})
    async with unit(database):
        await things.delete_many(n=2)


async def over_http(database: Database, cls: Any) -> None:
    """On PostgreSQL in one statement each."""
    app = App(Module("lines", routes=[resource(cls, prefix="/lines", access="open")]), database=database)
    transport = httpx2.ASGITransport(app=asgi(app))
    async with app, httpx2.AsyncClient(transport=transport, base_url="http://uno") as client:
        for row, id in zip(rows(), IDS.values(), strict=True):
            made = await client.post("/lines", json=row)
            path = made.headers["location"]
            assert path == f"/lines/{quote(id, safe=',')}"
            changed = await client.patch(path, json={"n": 2}, headers={"If-Match": made.headers["etag"]})
            assert changed.status_code == 200
            assert (await client.delete(path)).status_code == 204
            found = (await client.get(f"{path}/history")).json()["items"]
            assert [one["operation"] for one in found] == ["create", "update", "delete"]


@pytest.mark.parametrize("way", [by_objects, in_bulk, over_http])
@pytest.mark.parametrize("cls", [NumberedLine, Captured])
@pytest.mark.parametrize("commit", ["auto", "session"])
async def test_every_way_files_a_composite_key_under_the_same_text(
    fresh: Fresh, backend: str, way: Any, cls: Any, commit: str
) -> None:
    database = await fresh(backend, Base.metadata, commit=commit)
    await way(database, cls)
    trail = AuditTrail(database)
    for key, id in IDS.items():
        assert id_text(key) == id
        assert record_ids.split(id) == [str(part) for part in key]
        found = await trail.history(cls, key)
        assert [(one.operation, one.record_id) for one in found] == [(o, id) for o in ("create", "update", "delete")]
        assert len(await trail.query(AuditLog.record_id == key)) == 3
    assert len(await trail.query()) == 3 * len(IDS)


async def test_a_single_key_is_as_it_is(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Base.metadata)
    async with unit(database):
        await Repository(Word).add(Word(id="x\\,y"))
    assert [one.record_id for one in await AuditTrail(database).history(Word, "x\\,y")] == ["x\\,y"]


async def test_a_database_with_the_triggers_of_before_gets_those_of_now(fresh: Fresh) -> None:
    database = await fresh("postgresql", Base.metadata)
    async with database.transaction() as transaction:
        [(made,)] = await transaction.execute(text("SELECT pg_get_functiondef('uno_audit_keyed_captured'::regproc)"))
        before = made.replace("chr(92)", "''")
        assert before != made
        await transaction.connection.exec_driver_sql(before)
    await schema.create(database, [Base.metadata])
    await by_objects(database, Captured)
    assert len(await AuditTrail(database).history(Captured, ("x,y", "z", 1))) == 3


async def test_one_record_has_one_text_and_that_is_its_path(fresh: Fresh, backend: str) -> None:
    operations = ["get", "create", "replace", "merge", "history", "bulk_delete"]
    routes = [resource(cls, prefix=f"/{n}", access="open", operations=operations) for n, cls in CLASSES.items()]
    app = App(Module("keyed", routes=routes), database=await fresh(backend, Keyed.metadata))
    transport = httpx2.ASGITransport(app=asgi(app))
    async with app, httpx2.AsyncClient(transport=transport, base_url="http://uno") as client:
        for name, (_, sent, _, id) in KEYS.items():
            made = await client.post(f"/{name}", json={"k": sent, "n": 1})
            path = made.headers["location"]
            assert path == f"/{name}/{quote(id, safe=',')}"
            done = [
                await client.get(path),
                await client.patch(path, json={"n": 2}, headers={"If-Match": made.headers["etag"]}),
                await client.put(path, json={"n": 3}),
                await client.post(f"/{name}/bulk/delete", json={"ids": [sent, sent]}),
            ]
            assert (name, [one.status_code for one in done]) == (name, [200, 200, 200, 204])
            found = (await client.get(f"{path}/history")).json()["items"]
            filed = [(one["operation"], one["record_id"]) for one in found]
            assert filed == [(one, id) for one in ("create", "update", "update", "delete")]


@pytest.mark.parametrize("commit", ["auto", "session"])
async def test_python_files_it_under_the_same_text(fresh: Fresh, backend: str, commit: str) -> None:
    database = await fresh(backend, Keyed.metadata, commit=commit)
    trail = AuditTrail(database)
    for name, (_, _, key, id) in KEYS.items():
        await changed_in_python(database, CLASSES[name], key)
        for asked in (key, id, UTC_OF.get(name, key)):
            found = await trail.history(CLASSES[name], asked)
            filed = [(one.operation, one.record_id) for one in found]
            assert filed == [(one, id) for one in ("create", "update", "update", "delete", "create")]
            assert await trail.as_of(CLASSES[name], asked, found[0].timestamp) is not None


async def changed_in_python(database: Database, cls: Any, key: Any) -> None:
    things = Repository(cls)
    async with unit(database):
        await things.add(cls(k=key, n=1))
    async with unit(database):
        (await things.get(key)).n = 2
    async with unit(database):
        await things.update_many(n=2, values={"n": 3})
    async with unit(database):
        await things.delete_many(n=3)
    async with unit(database):
        await things.insert_many([{"k": key, "n": 4}])


async def test_a_part_of_a_composite_key_is_that_of_what_is_stored(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Base.metadata)
    async with unit(database):
        await Repository(Priced).add(Priced(shop="a,b", price=Decimal("1.5")))
    for asked in (("a,b", Decimal("1.5")), r"a\,b,1.50", r"a\,b,1.5"):
        [entry] = await AuditTrail(database).history(Priced, asked)
        assert entry.record_id == r"a\,b,1.50"


KEPT: list[tuple[type, Any, Any]] = [
    (KeptNumber, Decimal("1.125"), Decimal("1.13")),
    (KeptDay, datetime(2026, 1, 2, 3, tzinfo=UTC), date(2026, 1, 2)),
    (KeptMoment, datetime(2026, 1, 2, 3), datetime(2026, 1, 2, 3, tzinfo=UTC)),  # noqa: DTZ001 - in UTC
]


@pytest.mark.parametrize(("cls", "given", "stored"), KEPT)
async def test_what_was_given_finds_what_is_stored_of_it(
    fresh: Fresh, backend: str, cls: Any, given: Any, stored: Any
) -> None:
    database = await fresh(backend, KeptBase.metadata)
    kept = Repository(cls)
    async with UnitOfWork(database, books=(AuditBook(),)):
        one = await kept.add(cls(id=given, n=1))
        assert await kept.get(given) is await kept.get(stored) is one
    async with UnitOfWork(database, books=(AuditBook(),)):
        await kept.update(given, n=2)
        found = await kept.get(given)
        assert (found.id, found is await kept.get(stored)) == (stored, True)
    trail = AuditTrail(database)
    assert [one.operation for one in await trail.history(cls, given)] == ["create", "update"]
    assert await trail.history(cls, given) == await trail.history(cls, stored)
    async with UnitOfWork(database):
        await kept.delete(given)
        assert not await kept.exists()


def test_a_key_that_is_stored_with_other_digits_is_refused() -> None:
    class Inexact(Model):
        __abstract__ = True
        metadata = MetaData()

    cls = keyed("single", Inexact, REAL())
    with pytest.raises(Misconfigured, match="KeyedSingle has a key of the type REAL.*an Integer, a Numeric or a Str"):
        Database("sqlite://").plan(cls)


def test_ids_are_texts_as_in_paths() -> None:
    given = [Tone.DARK, Step.FIRST, True, Decimal("1E+2"), timedelta(days=-1, microseconds=1), b"\xfb\xff", 7, "a,b"]
    assert [id_text(one) for one in given] == ["dark", "1", "true", "100", "-86399.999999", "-_8=", "7", "a,b"]
    assert id_text((Tone.LIGHT, 1)) == r"bright\, light,1"
