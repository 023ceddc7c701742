"""A composite id is in errors as it is in paths."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, String
from sqlalchemy.orm import Mapped, mapped_column
from tests.flows.resources.shop import Client, calling

from uno.app import App, Module, resource
from uno.data import Model, Repository, UnitOfWork, VersionMixin
from uno.errors import Conflict, NotFound
from uno.testing.postgres import DatabaseFarm


class Parted(Model):
    __abstract__ = True
    metadata = MetaData()


class Seat(Parted):
    __tablename__ = "parted_seats"
    row: Mapped[str] = mapped_column(String(20), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str | None]


class Versioned(VersionMixin, Parted):
    __tablename__ = "parted_versions"
    row: Mapped[str] = mapped_column(String(20), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str | None]


OPERATIONS = ("list", "create", "get", "replace", "merge", "delete", "history", "bulk_create", "bulk_delete")
PATHS = {"/seats": "Seat", "/versioned": "Versioned"}


@pytest.fixture(params=["sqlite", "postgresql"])
async def app(request: pytest.FixtureRequest, farm: DatabaseFarm, tmp_path: Path) -> App:
    url = f"sqlite:///{tmp_path / 'parts.db'}" if request.param == "sqlite" else await farm.create()
    routes = [
        resource(Seat, access="open", operations=OPERATIONS),
        resource(Versioned, access="open", operations=OPERATIONS, prefix="/versioned"),
    ]
    return App(Module("parts", routes=routes), database=url)


@pytest.fixture
async def client(app: App) -> AsyncIterator[Client]:
    await app.create_schema()
    async with calling(app) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
async def test_one_that_is_missing_is_named_as_in_the_path(client: Client, path: str) -> None:
    missing = f"There is no {PATHS[path]} with id 'none,1'."
    requests: list[tuple[str, str, Any]] = [
        ("GET", "/none,1", None),
        ("GET", "/none,1/history", None),
        ("PUT", "/none,1", {"note": "x"}),
        ("PATCH", "/none,1", {"note": "x"}),
        ("DELETE", "/none,1", None),
        ("POST", "/bulk/delete", {"ids": [["none", 1]]}),
    ]
    for method, below, body in requests:
        for headers in ({}, {"If-Match": '"1"'}):
            answer = await client.request(method, path + below, json=body, headers=headers)
            assert (answer.status_code, answer.json()["detail"]) == (404, missing), (method, below)


@pytest.mark.parametrize("path", PATHS)
async def test_one_that_is_otherwise_is_named_as_in_the_path(client: Client, path: str) -> None:
    there = (await client.post(path, json={"row": "a", "place": 1})).headers["location"]
    for method, body in (("PATCH", {"note": "x"}), ("PUT", {"note": "x"}), ("DELETE", None)):
        answer = await client.request(method, there, json=body, headers={"If-Match": '"99"'})
        told = answer.json()["detail"]
        assert answer.status_code == 412
        assert told.startswith(f"{PATHS[path]} 'a,1' "), told


async def test_one_that_is_there_already_is_named_as_in_a_path(app: App, client: Client) -> None:
    assert app.database is not None
    for _ in range(2):
        with pytest.raises(NotFound, match=r"There is no Seat with id 'a,1'\."):
            async with UnitOfWork(app.database):
                await Repository(Seat).get(("a", 1))
    async with UnitOfWork(app.database):
        await Repository(Seat).add(Seat(row="a", place=1))
    with pytest.raises(Conflict, match=r"Seat 'a,1' exists already\."):
        async with UnitOfWork(app.database):
            await Repository(Seat).add(Seat(row="a", place=1))
    answer = await client.post("/seats", json={"row": "a", "place": 1})
    assert answer.status_code == 409
    assert "(" not in answer.json()["detail"]
