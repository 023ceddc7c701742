"""A composite key has one text in the audit trail, whoever writes it, and no two keys have the same."""

from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno import App, Module
from uno.api import asgi, resource
from uno.audit import AuditBook, AuditLog, AuditTrail
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin, record_ids, schema
from uno.errors import id_text

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


class Captured(VersionMixin, Base):
    __tablename__ = "keyed_captured"
    __audit__ = "trigger"
    order_no: Mapped[str] = mapped_column(primary_key=True)
    item: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int]


class Word(Base):
    __tablename__ = "keyed_words"
    id: Mapped[str] = mapped_column(primary_key=True)


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
