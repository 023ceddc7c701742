"""What a change answers is what is stored: in JSON true is not 1, and a number has the digits that it had."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import JSON, ForeignKey, MetaData, Numeric
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.flows.resources.shop import Client, calling

from uno.app import App, Module, resource
from uno.data import Database, Model, VersionMixin, schema
from uno.domain import AggregateRoot
from uno.testing.postgres import DatabaseFarm


class Base(Model):
    __abstract__ = True
    metadata = MetaData(naming_convention=Model.metadata.naming_convention)
    id: Mapped[int] = mapped_column(primary_key=True)


class Lamp(VersionMixin, Base):
    __tablename__ = "truth_lamps"
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    amount: Mapped[Decimal] = mapped_column(Numeric(), default=Decimal("1.0"))


class Hall(VersionMixin, Base):
    """Its relationship makes it a class of SQLAlchemy's session."""

    __tablename__ = "truth_halls"
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    amount: Mapped[Decimal] = mapped_column(Numeric(), default=Decimal("1.0"))
    doors: Mapped[list["HallDoor"]] = relationship(lazy="selectin")


class HallDoor(Base):
    __tablename__ = "truth_doors"
    hall_id: Mapped[int | None] = mapped_column(ForeignKey("truth_halls.id"))


@dataclass(eq=False)
class Note(AggregateRoot[str]):
    id: str
    data: dict[str, Any]
    amount: Decimal = Decimal("1.0")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
async def client(request: pytest.FixtureRequest, farm: DatabaseFarm) -> AsyncIterator[Client]:
    url = "sqlite://" if request.param == "sqlite" else await farm.create()
    if url != "sqlite://":
        async with Database(url) as database:
            await schema.create(database, [Base.metadata])
    routes = [resource(kind, access="open") for kind in (Lamp, Hall, Note)]
    async with calling(App(Module("truth", routes=routes), database=url)) as client:
        yield client


@pytest.mark.parametrize("condition", [True, False])
@pytest.mark.parametrize("path", ["/lamps", "/halls", "/notes"])
async def test_true_in_the_place_of_1_is_stored(client: Client, path: str, condition: bool) -> None:
    made = await client.post(path, json={"data": {"on": 1}} | ({"id": str(condition)} if path == "/notes" else {}))
    assert made.status_code == 201, made.text
    there = made.headers["location"]
    for version, value in enumerate((True, 1, 0, False), 1):
        headers = {"If-Match": f'"{version}"'} if condition else {}
        changed = await client.patch(there, json={"data": {"on": value}}, headers=headers)
        found = await client.get(there)
        assert repr(changed.json()["data"]) == repr(found.json()["data"]) == repr({"on": value})
        assert changed.headers["etag"] == found.headers["etag"] == f'"{version + 1}"'
    entries = (await client.get(f"{there}/history")).json()["items"]
    assert [repr(one["after"]["data"]["on"]) for one in entries] == ["1", "True", "1", "0", "False"]


@pytest.mark.parametrize("path", ["/lamps", "/halls"])
async def test_what_is_not_written_is_answered_as_it_is_stored(client: Client, path: str) -> None:
    there = (await client.post(path, json={"data": {"on": 1}})).headers["location"]
    before = await client.get(there)
    for more in ({}, {"data": {"on": 2}}):
        changed = await client.patch(there, json={"amount": "1.00", "data": {"on": 1.0}} | more)
        found = await client.get(there)
        assert (changed.text, changed.headers["etag"]) == (found.text, found.headers["etag"])
        assert found.json()["amount"] == before.json()["amount"]
        assert repr(found.json()["data"]) == repr({"on": 1} | more.get("data", {}))
