"""What clients get wrong at the edges: each answer says what it is about, the same on both backends."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError
from tests.flows.faults.depot import ALL, Client, Item, Shift, calling, fields_in, problems_in

from uno.app import App, Module, resource
from uno.audit import AuditTrail
from uno.data import Database, Repository, UnitOfWork, hooks
from uno.data.filters import Limits
from uno.errors import Conflict, Invalid, Misconfigured

SHIFTS = tuple(one for one in ALL if one not in ("restore",))


@pytest.fixture(autouse=True)
def hook() -> Iterator[None]:
    @hooks.before_insert(Shift)
    def refuse(shift: Shift) -> None:
        if shift.email == "nobody":
            raise Invalid.field("email", "Nobody has it.", "nobody")
        if shift.email == "rich":
            shift.wage = 12345  # type: ignore[assignment]

    yield
    hooks.remove(refuse)


@pytest.fixture
def shifts(url: str) -> App:
    found = resource(Shift, access="open", operations=SHIFTS, limits=Limits(values=3))
    return App(Module("shifts", routes=[found]), database=Database(url))


@pytest.fixture
async def asking(shifts: App) -> AsyncIterator[Client]:
    async with calling(shifts) as client:
        yield client


def shift(day: int, **values: Any) -> dict[str, Any]:
    return {"place": "a", "day": day, **values}


async def days(client: Client, query: str) -> list[int]:
    response = await client.get(f"/shifts?{query}")
    assert response.status_code == 200, response.text
    return sorted(one["day"] for one in response.json()["items"])


async def test_who_refers_to_it_is_said(client: Client) -> None:
    supplier = (await client.post("/suppliers", json={"code": "S", "city": "Ulm"})).headers["location"]
    id = int(supplier.rpartition("/")[2])
    assert (await client.post("/items", json={"sku": "A", "supplier_id": id})).status_code == 201
    response = await client.delete(supplier)
    assert (response.status_code, response.json()["detail"]) == (409, f"{Item.__name__} refers to it.")
