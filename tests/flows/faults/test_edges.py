"""What clients get wrong at the edges: each answer says what it is about, the same on both backends."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import SQLAlchemyError
from tests.flows.faults.depot import ALL, Client, Item, Shift, calling, fields_in, problems_in

from uno.app import App, Module, resource
from uno.audit import AuditTrail
from uno.data import Database, Repository, UnitOfWork, hooks
from uno.data.failures import translate
from uno.data.filters import Limits
from uno.errors import Conflict, Invalid, Misconfigured, Unavailable

SHIFTS = tuple(one for one in ALL if one not in ("restore",))


@pytest.fixture(autouse=True)
def hook() -> Iterator[None]:
    @hooks.before_insert(Shift)
    def refuse(shift: Shift) -> None:
        if shift.email == "nobody":
            raise Invalid.field("email", "Nobody has it.", "nobody")
        if shift.email == "quoted":
            raise Invalid.field("email", "The list has it (row 7).", "quoted")
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


async def test_a_bulk_error_of_a_hook_or_of_the_database_behind_hooks_says_the_item(asking: Client) -> None:
    assert (await asking.post("/shifts", json=shift(1, email="a"))).status_code == 201
    for email, code in (("nobody", "nobody"), ("a", "duplicate"), ("b", "duplicate")):
        items = [shift(2, email="b"), shift(3), shift(4, email=email)]
        response = await asking.post("/shifts/bulk", json={"items": items})
        assert [(one["field"], one["code"]) for one in problems_in(response)] == [("items.2.email", code)]
        assert "(row" not in response.text
    assert await days(asking, "") == [1]


async def test_what_a_hook_says_of_rows_is_left_as_it_is(asking: Client) -> None:
    response = await asking.post("/shifts/bulk", json={"items": [shift(2), shift(3, email="quoted")]})
    assert response.json()["detail"] == "items.1.email: The list has it (row 7)."
    assert [one["message"] for one in problems_in(response)] == ["The list has it (row 7)."]


async def test_a_value_that_a_hook_made_too_large_is_named(asking: Client) -> None:
    response = await asking.post("/shifts", json=shift(1, email="rich"))
    assert (response.status_code, fields_in(response)) == (422, ["wage"]), response.text


async def test_a_duration_is_asked_for_as_it_is_shown(asking: Client) -> None:
    for day, took in enumerate((30, 90.5, 200), 1):
        assert (await asking.post("/shifts", json=shift(day, took=took))).json()["took"] == took
    for query, found in (
        ("took=90.5", [2]),
        ("took__gte=90", [2, 3]),
        ("took__between=1e1,90.5", [1, 2]),
        ("took__in=PT30S,200", [1, 3]),
        ("took=PT1M30.5S", [2]),
        ('filter={"took__gt":90.5}', [3]),
        ('filter={"took__gt":"90.5"}', [3]),
    ):
        assert await days(asking, query) == found, query
    for wrong in ("soon", "1e99", "nan", "--1"):
        [error] = problems_in(await asking.get(f"/shifts?took={wrong}"))
        assert error["code"] == "value"
        assert "90.5" in error["message"] or "stored" in error["message"], error


async def test_a_plus_in_a_query_is_read_as_a_space_and_meant(asking: Client) -> None:
    assert (await asking.post("/shifts", json=shift(1, began="2025-12-31T23:30:00Z"))).status_code == 201
    assert await days(asking, "began__gte=2026-01-01T00:00:00+01:00") == [1]
    assert await days(asking, "began__gte=2026-01-01T00:00:00%2B00:00") == []
    assert await days(asking, "began=2026-01-01 00:30:00.0+0100") == [1]


async def test_a_condition_comes_once_and_has_not_too_many_values(asking: Client) -> None:
    [error] = problems_in(await asking.get("/shifts?day=1&day=2"))
    assert (error["field"], error["code"]) == ("day", "repeated")
    assert await days(asking, "day__gte=1&day__lte=2") == []
    [error] = problems_in(await asking.get("/shifts?day__in=1,2,3,4"))
    assert (error["field"], error["code"]) == ("day__in", "too_many")


async def test_a_key_of_two_parts_has_two_and_stays(asking: Client) -> None:
    made = await asking.post("/shifts", json=shift(1))
    for path in ("/shifts/a", "/shifts/a,1,2"):
        [error] = problems_in(await asking.get(path))
        assert (error["field"], error["message"]) == ("id", "It takes two parts with a comma between.")
    [error] = problems_in(await asking.patch(made.headers["location"], json={"day": 2}))
    assert (error["code"], error["message"]) == ("read_only", "It cannot be changed; leave it out.")


async def test_a_patch_takes_a_merge_patch_only(client: Client) -> None:
    there = (await client.post("/items", json={"sku": "A"})).headers["location"]
    for kind, status in (
        ("application/json", 200),
        ("application/merge-patch+json; charset=utf-8", 200),
        ("application/json-patch+json", 415),
        ("application/vnd.api+json", 415),
    ):
        response = await client.patch(there, content=b'{"shelf": "x"}', headers={"content-type": kind})
        assert response.status_code == status, response.text
    assert "merge-patch" in response.json()["detail"]
    assert "merge-patch" in response.headers["accept-patch"]


async def test_in_python_a_duplicate_and_a_number_that_is_too_large_name_the_attribute(shifts: App) -> None:
    repository: Repository[Shift] = Repository(Shift)
    database = shifts.database
    assert database is not None
    async with database:
        async with UnitOfWork(database):
            await repository.create(place="a", day=1, email="a")
        with pytest.raises(Conflict) as caught:
            async with UnitOfWork(database):
                await repository.create(place="a", day=2, email="a")
        assert str(caught.value) == "email: There is one with this value already."
        assert [one.field for one in caught.value.errors] == ["email"]
        if database.backend == "postgresql":
            with pytest.raises(Invalid) as wrong:
                async with UnitOfWork(database):
                    await repository.create(place="a", day=2, wage="12345.678")
            assert [one.field for one in wrong.value.errors] == ["wage"]
            with pytest.raises(Invalid) as wrong:
                async with UnitOfWork(database):
                    await repository.update_many(values={"wage": 12345}, everything=True)
            assert [one.field for one in wrong.value.errors] == ["wage"]
        with pytest.raises(Invalid, match="none of create, update"):
            await AuditTrail(database).query(operation="updated")


@pytest.mark.parametrize(
    "sql", ["SELEC 1", "SELECT x FROM depot_items", "SELECT 1 FROM nowhere", "DELETE FROM nowhere"]
)
async def test_sql_that_the_database_does_not_take_is_a_mistake_of_the_program(app: App, sql: str) -> None:
    assert app.database is not None
    async with app:
        with pytest.raises(Misconfigured, match="does not take this SQL") as caught:
            async with UnitOfWork(app.database) as uow:
                await uow.execute(sql)
        assert not isinstance(caught.value, SQLAlchemyError)
        assert "sqlalche.me" not in str(caught.value)


async def test_in_blocking_mode_it_is_as_well(url: str) -> None:
    def wrong() -> None:
        with Database(url).blocking as database:
            database.execute("SELEC 1")

    with pytest.raises(Misconfigured, match="does not take this SQL"):
        await asyncio.to_thread(wrong)


async def test_who_refers_to_it_is_said(client: Client) -> None:
    supplier = (await client.post("/suppliers", json={"code": "S", "city": "Ulm"})).headers["location"]
    id = int(supplier.rpartition("/")[2])
    assert (await client.post("/items", json={"sku": "A", "supplier_id": id})).status_code == 201
    response = await client.delete(supplier)
    assert (response.status_code, response.json()["detail"]) == (409, f"{Item.__name__} refers to it.")


def test_tables_that_were_changed_meanwhile_are_no_mistake_of_the_program() -> None:
    changed = asyncpg.InvalidCachedStatementError("cached statement plan is invalid")
    assert isinstance(translate(changed), Unavailable)
