"""Resources in somebody's own FastAPI application: with and without uno's own tables, on either backend."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.flows.resources.shop import Client, Parcel, fields_in

from uno.api import build_crud_router
from uno.app import App, Module
from uno.data import Database, Model, SoftDeleteMixin, TimestampMixin, UUIDMixin, VersionMixin, schema
from uno.errors import Misconfigured

ALL = ["list", "get", "create", "replace", "merge", "delete", "restore", "bulk_create", "bulk_delete"]


class Tables(Model):
    __abstract__ = True
    metadata = MetaData()


class Crate(UUIDMixin, VersionMixin, TimestampMixin, SoftDeleteMixin, Tables):
    """So plain that PostgreSQL writes it in one statement."""

    __tablename__ = "plain_crates"
    name: Mapped[str]
    weight: Mapped[int] = mapped_column(default=1)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'plain.db'}"


@asynccontextmanager
async def calling(api: FastAPI) -> AsyncIterator[Client]:
    transport = httpx2.ASGITransport(app=api, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://plain") as client:
        yield client


def with_router(database: Database | str, source: type = Crate, **options: Any) -> FastAPI:
    api = FastAPI()
    api.include_router(build_crud_router(source, database=database, **options))
    return api


async def test_a_router_takes_the_url_of_its_database(file: str) -> None:
    async with Database(file) as database:
        await schema.create(database, [Tables.metadata])
    with TestClient(with_router(file)) as client:
        assert client.post("/crates", json={"name": "a"}).status_code == 201
    with TestClient(with_router(file)) as client:
        assert [one["name"] for one in client.get("/crates").json()["items"]] == ["a"]
    for wrong, said in ((5, "takes a Database, or the URL of one, not a int"), ("nope", "URL cannot be read")):
        with pytest.raises(Misconfigured, match=said):
            with_router(wrong)  # type: ignore[arg-type]


async def test_without_audit_everything_works_on_either_backend(url: str) -> None:
    database = Database(url)
    api = with_router(database, audit=False, operations=ALL)
    async with database, calling(api) as client:
        await database.create_tables([Tables.metadata])
        made = await client.post("/crates", json={"name": "a"})
        assert (made.status_code, made.headers["etag"], made.json()["weight"]) == (201, '"1"', 1)
        there = made.headers["location"]
        changed = await client.patch(there, json={"name": "b"}, headers={"If-Match": '"1"'})
        assert (changed.status_code, changed.json()["name"], changed.headers["etag"]) == (200, "b", '"2"')
        stale = await client.patch(there, json={"name": "c"}, headers={"If-Match": '"1"'})
        assert stale.status_code == 412
        assert (await client.put(there, json={"name": "d"}, headers={"If-Match": '"2"'})).json()["version"] == 3
        assert (await client.post("/crates/bulk", json={"items": [{"name": "e"}]})).status_code == 201
        assert (await client.delete(there)).status_code == 204
        assert (await client.post(f"{there}/restore")).json()["version"] == 5
        assert len((await client.get("/crates")).json()["items"]) == 2


def test_without_audit_there_can_be_no_history(file: str) -> None:
    with pytest.raises(Misconfigured, match="Without audit there is no history of Crate; leave it or audit=False out"):
        build_crud_router(Crate, database=Database(file), audit=False, operations=["list", "history"])
    paths = with_router(Database(file), audit=False).openapi()["paths"]
    assert "/crates/{id}/history" not in paths


# ── tables that are not there ──

REMEDY = r"uno db create .*, or await App\(Module\(\.\.\., models=\[Crate\]\), database=database\)\.create_schema\(\)"


@pytest.mark.parametrize(
    ("audit", "told"),
    [
        (True, rf"none of uno's tables; create them with: {REMEDY}.*audit=False"),
        (False, "no table plain_crates; create it with .*create_schema"),
    ],
)
async def test_it_does_not_start_without_its_tables_and_says_what_helps(file: str, audit: bool, told: str) -> None:
    with pytest.raises(Misconfigured, match=told), TestClient(with_router(Database(file), audit=audit)):
        pass


def test_it_starts_where_the_lifespan_of_the_application_makes_them(file: str) -> None:
    database = Database(file)

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        async with database:
            await App(Module("crates", models=[Crate]), database=database).create_schema()
            yield

    api = FastAPI(lifespan=lifespan)
    api.include_router(build_crud_router(Crate, database=database))
    with TestClient(api) as client:
        there = client.post("/crates", json={"name": "a"}).headers["location"]
        assert client.patch(there, json={"name": "b"}).status_code == 200
        assert [one["operation"] for one in client.get(f"{there}/history").json()["items"]] == ["create", "update"]


async def test_without_a_lifespan_the_first_request_is_told(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Until they are there; then nobody looks for them again."""
    database = Database(url)
    api = with_router(database, audit=True)
    async with database, calling(api) as client:
        if database.backend == "sqlite":
            await database.create_tables([Tables.metadata])
            told = "none of uno's tables"
        else:
            told = "no table plain_crates"
        for _ in range(2):
            caplog.clear()
            with caplog.at_level(logging.WARNING, "uno.api"):
                refused = await client.post("/crates", json={"name": "a"})
            assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
            assert told in refused.json()["detail"]
            assert "create_schema()" in refused.json()["detail"]
            assert told in caplog.text
        await schema.create(database, [Tables.metadata])
        assert (await client.post("/crates", json={"name": "a"})).status_code == 201


async def test_they_are_looked_for_once(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    look = schema.require_stored

    async def counted(*args: object, **options: object) -> None:
        looked.append(args)
        await look(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(schema, "require_stored", counted)
    database = Database(file)
    api = with_router(database)
    async with database, calling(api) as client:
        await schema.create(database, [Tables.metadata])
        for _ in range(3):
            assert (await client.get("/crates")).status_code == 200
    assert len(looked) == 1


async def test_documents_need_a_table_of_unos_own(file: str) -> None:
    told = r"none of uno's tables; create them with: .*models=\[Parcel\](?!.*audit)"
    with pytest.raises(Misconfigured, match=told), TestClient(with_router(Database(file), Parcel, audit=False)):
        pass


# ── blocking calls ──


async def test_a_blocking_call_in_an_asynchronous_endpoint_says_what_to_write(file: str) -> None:
    crates = Database(file).blocking.repository(Crate)
    with pytest.raises(Misconfigured, match=r"would stop the event loop .*: `await .*count\(…\)`"):
        crates.count()


# ── what clients get wrong ──


async def test_what_cannot_be_null_is_said_so(client: Client) -> None:
    made = await client.post("/orders", json={"number": "A", "price": 1})
    there = made.headers["location"]
    for name in ("number", "price", "state", "amount", "data"):
        refused = await client.patch(there, json={name: None, "note": None})
        assert refused.status_code == 422
        error = {"field": name, "message": "It cannot be null.", "code": "null"}
        assert refused.json()["errors"] == [error]
    refused = await client.post("/orders/bulk", json={"items": [{"number": "B", "price": 1}, {"number": None}]})
    told = {error["field"]: error["message"] for error in refused.json()["errors"]}
    assert told["items.1.number"] == "It cannot be null."
    assert told.keys() == {"items.1.number", "items.1.price"}
    whole = await client.patch(there, content=b"null", headers={"content-type": "application/json"})
    assert (whole.status_code, fields_in(whole)) == (422, ["body"])


async def test_an_unknown_operator_is_told_those_that_there_are(client: Client) -> None:
    refused = await client.get("/orders", params={"number__startswith": "x"})
    assert (refused.status_code, fields_in(refused)) == (400, ["number__startswith"])
    [error] = refused.json()["errors"]
    assert error["message"].startswith("number cannot be compared with startswith; it takes ")
    assert error["message"].endswith("not_in, starts_with.")
    hidden = (await client.get("/orders", params={"secret__foo": "x"})).json()["errors"][0]
    unknown = (await client.get("/orders", params={"nosuch__foo": "x"})).json()["errors"][0]
    assert (hidden["code"], unknown["code"]) == ("unknown", "unknown")
    assert hidden["message"] == unknown["message"].replace("nosuch", "secret")
