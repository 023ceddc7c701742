"""A merge patch (RFC 7396) changes the parts of a value that it names; the others stay."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import JSON, MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.flows.resources.shop import Client, calling, fields_in

from uno.app import App, Module, resource
from uno.data import Database, Model, VersionMixin, schema
from uno.domain import AggregateRoot, ValueObject
from uno.testing.postgres import DatabaseFarm


class Sum(ValueObject):
    amount: int
    currency: str = "EUR"


@dataclass
class Place:
    street: str
    city: str = "Bonn"


class Bargain(AggregateRoot[str]):
    price: Sum
    place: Place
    stock: dict[str, int]
    notes: list[Sum]
    tip: Sum | None = None


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Tally(VersionMixin, Base):
    __tablename__ = "merge_tallies"
    id: Mapped[str] = mapped_column(primary_key=True)
    stock: Mapped[dict[str, int]] = mapped_column(JSON)
    extra: Mapped[dict[str, Any]] = mapped_column(JSON)


async def create_tables(url: str) -> None:
    async with Database(url) as database:
        await schema.create(database, [Base.metadata])


@pytest.fixture(params=["sqlite", "postgresql"])
async def client(request: pytest.FixtureRequest, farm: DatabaseFarm) -> AsyncIterator[Client]:
    await farm.template("merges", create_tables)
    routes = [resource(cls, access="open") for cls in (Bargain, Tally)]
    async with farm.database("merges") as url:
        where = "sqlite://" if request.param == "sqlite" else url
        async with calling(App(Module("merges", routes=routes), database=where)) as client:
            yield client


WHOLE: dict[str, Any] = {
    "id": "1",
    "price": {"amount": 1, "currency": "USD"},
    "place": {"street": "a", "city": "Ulm"},
    "stock": {"x": 1, "y": 2},
    "notes": [{"amount": 3, "currency": "CHF"}],
    "tip": None,
    "version": 1,
}


@pytest.mark.parametrize(
    ("patch", "becomes"),
    [
        ({"price": {"amount": 5}}, {"price": {"amount": 5, "currency": "USD"}}),
        ({"price": {"currency": "GBP"}}, {"price": {"amount": 1, "currency": "GBP"}}),
        ({"price": {"currency": None}}, {"price": {"amount": 1, "currency": "EUR"}}),
        ({"place": {"street": "b"}}, {"place": {"street": "b", "city": "Ulm"}}),
        ({"stock": {"x": None, "z": 3}}, {"stock": {"y": 2, "z": 3}}),
        ({"notes": [{"amount": 4}]}, {"notes": [{"amount": 4, "currency": "EUR"}]}),
        ({"tip": {"amount": 9}}, {"tip": {"amount": 9, "currency": "EUR"}}),
    ],
)
async def test_what_is_not_named_stays(client: Client, patch: dict[str, Any], becomes: dict[str, Any]) -> None:
    made = await client.post("/bargains", json={n: v for n, v in WHOLE.items() if n != "version"})
    assert made.json() == WHOLE, made.text
    changed = await client.patch("/bargains/1", json=patch)
    assert changed.json() == {**WHOLE, **becomes, "version": 2}
    assert (await client.get("/bargains/1")).json() == changed.json()


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"price": {"amount": None}}, "price.amount"),
        ({"price": {"amount": "many"}}, "price.amount"),
        ({"price": 5}, "price"),
        ({"price": None}, "price"),
        ({"stock": {"x": "one"}}, "stock.x"),
        ({"tip": {"currency": "GBP"}}, "tip.amount"),
        ({"place": {"street": "b"}, "price": {"amount": []}}, "price.amount"),
    ],
)
async def test_what_would_be_of_another_type_changes_nothing(client: Client, patch: dict[str, Any], field: str) -> None:
    await client.post("/bargains", json={n: v for n, v in WHOLE.items() if n != "version"})
    refused = await client.patch("/bargains/1", json=patch)
    assert (refused.status_code, fields_in(refused)) == (422, [field]), refused.text
    assert (await client.get("/bargains/1")).json() == WHOLE


async def test_parts_of_json_columns_are_merged_and_looked_at(client: Client) -> None:
    await client.post("/tallies", json={"id": "a", "stock": {"x": 1}, "extra": {"deep": {"one": 1, "two": [1]}}})
    patch = {"stock": {"x": None, "y": 2}, "extra": {"deep": {"one": None, "three": 3}}}
    changed = await client.patch("/tallies/a", json=patch, headers={"If-Match": '"1"'})
    assert changed.json() == {"id": "a", "stock": {"y": 2}, "extra": {"deep": {"two": [1], "three": 3}}, "version": 2}
    refused = await client.patch("/tallies/a", json={"stock": {"y": "two"}})
    assert (refused.status_code, fields_in(refused)) == (422, ["stock.y"])
    history = (await client.get("/tallies/a/history")).json()["items"]
    assert [one["operation"] for one in history] == ["create", "update"]


async def test_the_schema_of_a_patch_asks_for_nothing(client: Client) -> None:
    told = (await client.get("/openapi.json")).json()["components"]["schemas"]["BargainMerge"]["properties"]
    assert "required" not in told["price"]
    assert told["price"]["properties"]["amount"] == {"title": "Amount", "type": "integer"}
    assert {"type": "null"} in told["price"]["properties"]["currency"]["anyOf"]
    assert {"type": "null"} in told["stock"]["additionalProperties"]["anyOf"]
