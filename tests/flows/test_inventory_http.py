"""The demo application over HTTP: what a user meets first, right and wrong."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import Table, func, select

from uno.api import asgi
from uno.app import App
from uno.audit.tables import audit
from uno.data import Database
from uno.examples.inventory import app as inventory, generate
from uno.examples.inventory.tables import packages
from uno.queue.tables import deliveries
from uno.testing.postgres import DatabaseFarm


async def create_schema(url: str) -> None:
    async with Database(url) as database:
        await inventory(database=database).create_schema()


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        await farm.template("inventory", create_schema)
        yield farm


@pytest.fixture
async def app(farm: DatabaseFarm) -> AsyncIterator[App]:
    async with inventory(database=await farm.create("inventory")) as app:
        yield app


@pytest.fixture
async def client(app: App, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    generate(tmp_path, 10)
    transport = httpx2.ASGITransport(app=asgi(app))
    async with httpx2.AsyncClient(transport=transport, base_url="http://inventory") as client:
        (await client.post("/packages/scan", json={"path": str(tmp_path)})).raise_for_status()
        yield client


async def rows(app: App) -> tuple[int, ...]:
    """How many packages, entries of the audit trail and deliveries there are."""
    return tuple([await count(app, table) for table in (packages, audit, deliveries)])


async def count(app: App, table: Table) -> int:
    assert app.database is not None
    return int((await app.database.query(select(func.count()).select_from(table)))[0][0])


async def test_a_package_is_listed_approved_and_remembered(client: httpx2.AsyncClient) -> None:
    [first] = (await client.get("/packages", params={"limit": 1, "status": "pending"})).json()
    assert first["id"] == "sample-00000"
    headers = {"X-Correlation-ID": "my-approval"}
    approved = await client.post("/packages/sample-00000/approve", json={"approved_by": "ada"}, headers=headers)
    assert (approved.status_code, approved.json()["status"]) == (200, "approved")
    assert (await client.get("/packages/Sample.00000")).json() == approved.json()
    history = (await client.get("/packages/sample-00000/history")).json()
    assert [(entry["operation"], entry["correlation_id"] == "my-approval") for entry in history] == [
        ("create", False),
        ("update", True),
    ]
    assert len((await client.get("/packages/sample-00000/dependents")).json()) == 9


async def test_two_first_scans_at_the_same_moment_are_both_answered(app: App, tmp_path: Path) -> None:
    generate(tmp_path, 40)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=asgi(app)), base_url="http://inventory") as client:
        scan = {"path": str(tmp_path)}
        answers = await asyncio.gather(*(client.post("/packages/scan", json=scan) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert sorted(answer.json()["discovered"] for answer in answers) == [0, 0, 40]
    assert await count(app, packages) == 40


WRONG: dict[str, tuple[str, str, Any, int, str | None]] = {
    "approve_without_a_name": ("POST", "/packages/sample-00001/approve", {}, 422, "approved_by"),
    "approve_with_a_nul": ("POST", "/packages/sample-00001/approve", {"approved_by": "a\0"}, 422, "approved_by"),
    "annotate_with_a_nul": ("POST", "/packages/sample-00001/annotate", {"note": "a\0"}, 422, "note"),
    "unknown_field": ("POST", "/packages/sample-00001/annotate", {"note": "a", "nota": "b"}, 422, "nota"),
    "wrong_type": ("POST", "/packages/sample-00001/annotate", {"note": 1}, 422, "note"),
    "unknown_package": ("POST", "/packages/nothing/approve", {"approved_by": "ada"}, 404, None),
    "sql_in_the_id_to_approve": (
        "POST",
        "/packages/x';DELETE FROM packages--/approve",
        {"approved_by": "ada"},
        422,
        "package_id",
    ),
    "sql_in_the_id": ("GET", "/packages/x';DROP TABLE packages--", None, 422, "package_id"),
    "unknown_order": ("GET", "/packages?sort=colour", None, 422, "sort"),
    "too_many": ("GET", "/packages?limit=501", None, 422, "limit"),
    "unknown_filter": ("GET", "/packages?colour=red", None, 400, "colour"),
    "unknown_status": ("GET", "/packages?status=perhaps", None, 422, "status"),
    "no_such_folder": ("POST", "/packages/scan", {"path": "/no/such/folder"}, 422, "path"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_what_is_wrong_is_named_and_nothing_is_written(
    app: App, client: httpx2.AsyncClient, wrong: tuple[str, str, Any, int, str | None]
) -> None:
    method, path, body, status, field = wrong
    before = await rows(app)
    response = await client.request(method, path, json=body)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert [error["field"] for error in response.json().get("errors", [])] == ([field] if field else [])
    assert await rows(app) == before


UNREADABLE = {
    "cut_off": (b'{"approved_by": "ad', 400, "The body is not valid JSON: "),
    "a_list": (b'["ada"]', 422, None),
    "not_utf_8": (b'{"approved_by": "\xff"}', 400, "The body is not UTF-8."),
    "ten_megabytes": (b'{"approved_by": "%s"}' % (b"a" * 10_000_000), 413, "The body is larger than 1048576 bytes."),
}


@pytest.mark.parametrize("unreadable", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_a_body_that_cannot_be_read_is_a_problem_and_nothing_is_written(
    app: App, client: httpx2.AsyncClient, unreadable: tuple[bytes, int, str | None]
) -> None:
    body, status, detail = unreadable
    before = await rows(app)
    headers = {"Content-Type": "application/json"}
    response = await client.post("/packages/sample-00001/approve", content=body, headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert response.json()["detail"].startswith(detail or ""), response.text
    assert await rows(app) == before
    assert (await client.get("/packages/sample-00001")).json()["status"] == "pending"


async def test_approving_twice_is_a_conflict(app: App, client: httpx2.AsyncClient) -> None:
    await client.post("/packages/sample-00001/approve", json={"approved_by": "ada"})
    before = await rows(app)
    again = await client.post("/packages/sample-00001/approve", json={"approved_by": "bob"})
    assert (again.status_code, again.json()["detail"]) == (409, "sample-00001 1.0.0 is already approved, by ada.")
    assert await rows(app) == before


async def test_every_operation_and_every_field_of_it_is_described(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert sorted(operation["operationId"] for operation in operations) == [
        "AnnotatePackage",
        "ApprovePackage",
        "FindDependents",
        "GetLicenceCheck",
        "GetPackage",
        "GetPackageHistory",
        "ListLicenceChecks",
        "ListPackages",
        "RejectPackage",
        "ScanEnvironment",
        "SummariseInventory",
    ]
    parameters = [one for operation in operations for one in operation.get("parameters", [])]
    schemas = document["components"]["schemas"]
    asked = [schemas[name]["properties"] for name in schemas if name.endswith(("Body", "ScanEnvironment"))]
    assert all(operation["description"] for operation in operations)
    assert all(parameter["description"] for parameter in parameters)
    assert all(field["description"] for fields in asked for field in fields.values())
    assert schemas["Package"]["properties"].keys() >= {"id", "release", "licence", "status", "decided_by"}


async def test_the_summary_is_counted_anew_once_something_is_decided(client: httpx2.AsyncClient) -> None:
    before = (await client.get("/summary")).json()
    assert before["packages"] == sum(before["by_status"].values()) == sum(before["by_licence"].values()) > 0
    assert "approved" not in before["by_status"]
    await client.post("/packages/sample-00001/approve", json={"approved_by": "ada"})
    after = (await client.get("/summary")).json()
    assert after == before | {"by_status": {"pending": before["packages"] - 1, "approved": 1}}


async def test_checks_of_licences_can_be_looked_through(app: App, client: httpx2.AsyncClient) -> None:
    await app.worker().drain()
    everything = (await client.get("/licence-checks", params={"sort": "package_id", "total": "true"})).json()
    assert everything["total"] == len(everything["items"]) == 10
    one = everything["items"][3]
    found = (await client.get("/licence-checks", params={"package_id": one["package_id"]})).json()
    assert found == {"items": [one], "next": None}
    assert (await client.get(f"/licence-checks/{one['id']}")).json() == one
    pages, after = [], None
    while after != "":
        page = (await client.get("/licence-checks", params={"limit": 4, **({"after": after} if after else {})})).json()
        pages.append(len(page["items"]))
        after = page["next"] or ""
    assert pages == [4, 4, 2]
    refused = await client.get("/licence-checks", params={"licence_sha": "x"})
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "licence_sha"
    assert (await client.delete(f"/licence-checks/{one['id']}")).status_code == 405
