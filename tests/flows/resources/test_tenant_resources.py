"""Two tenants side by side over HTTP, on tables whose policies keep them apart."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.tenants import member, run
from tests.flows.resources.shop import fields_in

from uno import context
from uno.api import asgi
from uno.app import App, Module, resource
from uno.bus import command_handler, event_handler
from uno.context import Context
from uno.data import Database, Model, Repository, UnitOfWork, UUIDMixin, VersionMixin, schema
from uno.domain import AggregateRoot
from uno.messages import Command, DomainEvent
from uno.testing.postgres import DatabaseFarm

Client = httpx2.AsyncClient


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Bill(UUIDMixin, VersionMixin, Base):
    __tablename__ = "tenant_bills"
    number: Mapped[int]
    note: Mapped[str] = mapped_column(default="")
    tenant: Mapped[str | None]


class Card(AggregateRoot[str]):
    """A document."""

    def __init__(self, id: str, text: str = "") -> None:
        super().__init__(id=id)
        self.text = text


class Counted(DomainEvent):
    number: int


class Count(Command[int]):
    number: int


bills: Repository[Bill] = Repository(Bill)
seen: list[tuple[str | None, set[str | None], int]] = []


@command_handler(Count)
async def count(command: Count, uow: UnitOfWork) -> int:
    uow.record(Counted(number=command.number))
    return await bills.count()


@event_handler(Counted, durable=True, name="counting")
async def counted(event: Counted) -> None:
    found = await bills.find()
    await bills.add(Bill(number=event.number, note="by a job", tenant=context.current().tenant))
    seen.append((context.current().tenant, {one.tenant for one in found}, len(found)))


EVERYTHING = ("list", "create", "get", "replace", "merge", "delete", "history", "bulk_create", "bulk_delete")


class Tenancy:
    """Stands for what knows from a token who asks."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        who = dict(scope.get("headers", ())).get(b"x-test-tenant")
        with context.use(context.current().replace(tenant=who and who.decode())):
            await self.app(scope, receive, send)


async def _prepare(url: str) -> None:
    async with Database(url) as database:
        await schema.create(database, [Base.metadata])


@pytest.fixture
async def owner(farm: DatabaseFarm) -> AsyncIterator[str]:
    await farm.template("tenants", _prepare)
    async with farm.database("tenants") as url:
        yield url


@pytest.fixture
async def app(owner: str) -> AsyncIterator[App]:
    async with member(owner, "tenant_bills") as url:
        routes = [resource(one, access="open", operations=EVERYTHING) for one in (Bill, Card)]
        async with App(Module("bills", routes=routes, handlers=[count, counted]), database=url) as app:
            yield app


@asynccontextmanager
async def client_of(app: App, tenant: str | None) -> AsyncIterator[Client]:
    web = asgi(app)
    web.add_middleware(Tenancy)
    headers = {} if tenant is None else {"x-test-tenant": tenant}
    async with Client(transport=httpx2.ASGITransport(app=web), base_url="http://bills", headers=headers) as client:
        yield client


async def side_by_side(app: App, work: Callable[[Client, str], Awaitable[Any]]) -> None:
    async with client_of(app, "north") as north, client_of(app, "south") as south:
        await asyncio.gather(*(work(client, tenant) for client, tenant in [(north, "north"), (south, "south")] * 3))


async def all_of(client: Client, where: str = "") -> list[dict[str, Any]]:
    response = await client.get(f"/bills?limit=100{where}")
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


async def test_each_tenant_has_a_resource_of_its_own(app: App) -> None:
    async def work(client: Client, tenant: str) -> None:
        made = await client.post("/bills", json={"number": 1})
        assert made.status_code == 201, made.text
        there, etag = made.headers["location"], made.headers["etag"]
        assert made.json()["tenant"] == tenant
        assert (await client.get(there)).json() == made.json()
        changed = await client.patch(there, json={"note": tenant}, headers={"if-match": etag})
        assert (changed.status_code, changed.json()["note"], changed.json()["version"]) == (200, tenant, 2)
        put = await client.put(there, json={"number": 2, "note": "put"}, headers={"if-match": '"2"'})
        assert (put.status_code, put.json()["number"]) == (200, 2)
        assert (await client.patch(there, json={"note": "x"}, headers={"if-match": '"1"'})).status_code == 412
        many = await client.post("/bills/bulk", json={"items": [{"number": n} for n in range(3)]})
        assert many.status_code == 201, many.text
        for where in ("", "&number__gte=0", "&sort=-number", "&fields=id,tenant"):
            assert {one["tenant"] for one in await all_of(client, where)} == {tenant}
        page = (await client.get("/bills?limit=1&total=true")).json()
        assert page["next"] is not None
        again = (await client.get(f"/bills?limit=1&after={page['next']}")).json()
        assert again["items"][0]["tenant"] == tenant
        history = (await client.get(f"{there}/history")).json()["items"]
        assert [one["operation"] for one in history] == ["create", "update", "update"]
        gone = [one["id"] for one in many.json()["items"]]
        assert (await client.post("/bills/bulk/delete", json={"ids": gone})).status_code == 204
        assert (await client.delete(there)).status_code == 204
        assert (await client.get(there)).status_code == 404
        deleted = (await client.get(f"{there}/history")).json()["items"]
        assert [one["operation"] for one in deleted] == ["create", "update", "update", "delete"]

    await side_by_side(app, work)


async def test_what_another_tenant_has_is_not_there(app: App) -> None:
    async with client_of(app, "north") as north, client_of(app, "south") as south, client_of(app, None) as nobody:
        made = await north.post("/bills", json={"number": 1, "note": "a secret"})
        there, id = made.headers["location"], made.json()["id"]
        gone = (await north.post("/bills", json={"number": 2, "note": "a secret"})).headers["location"]
        assert (await north.delete(gone)).status_code == 204
        for client in (south, nobody):
            answers = [
                await client.get(there),
                await client.put(there, json={"number": 3}),
                await client.patch(there, json={"note": "mine"}),
                await client.patch(there, json={"note": "mine"}, headers={"if-match": '"1"'}),
                await client.delete(there),
                await client.get(f"{there}/history"),
                await client.get(f"{gone}/history"),
                await client.post("/bills/bulk/delete", json={"ids": [id]}),
            ]
            assert {answer.status_code for answer in answers} <= {404, 412}
            assert not any("secret" in answer.text or "north" in answer.text for answer in answers)
            assert await all_of(client) == await all_of(client, "&note=a%20secret") == []
            page = (await client.get("/bills?total=true")).json()
            assert (page["items"], page["total"]) == ([], 0)
        refused = await nobody.post("/bills", json={"number": 1})
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
        assert "insert" not in refused.text.lower()
        assert "tenant_bills" not in refused.text
        assert fields_in(refused) == []
        assert (await nobody.post("/bills/bulk", json={"items": [{"number": 1}]})).status_code == 403
        assert (await north.get(there)).json() == made.json()


async def test_a_job_is_of_the_tenant_that_asked_for_it(app: App) -> None:
    seen.clear()
    for number, tenant in enumerate(["north", "south", "south"]):
        with context.use(Context(tenant=tenant)):
            assert (await app.bus.dispatch(Count(number=number))).unwrap() == 0
    await app.worker().drain()
    assert {(who, frozenset(found)) for who, found, _ in seen} <= {
        (who, frozenset(found)) for who in ("north", "south") for found in ([], [who])
    }
    async with client_of(app, "north") as north, client_of(app, "south") as south:
        assert [one["number"] for one in await all_of(north)] == [0]
        assert {one["number"] for one in await all_of(south)} == {1, 2}


async def test_commands_of_two_tenants_at_once_keep_apart(app: App) -> None:
    async def count_(tenant: str) -> int:
        with context.use(Context(tenant=tenant)):
            return (await app.bus.dispatch(Count(number=7))).unwrap()

    async with client_of(app, "north") as north:
        for number in range(3):
            await north.post("/bills", json={"number": number})
    assert await asyncio.gather(*map(count_, ["north", "south"] * 10)) == [3, 0] * 10


async def test_uno_s_own_tables_of_documents_may_have_policies(app: App, owner: str) -> None:
    """One for all kinds, by what the documents say themselves."""
    await run(
        owner,
        "ALTER TABLE uno_document ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON uno_document USING (body->>'text' = current_setting('uno.tenant', true))",
    )
    assert app.database is not None
    app.database.forget_tables()
    async with client_of(app, "north") as north, client_of(app, "south") as south:
        made = await north.post("/cards", json={"id": "1", "text": "north"})
        assert made.status_code == 201, made.text
        assert (await south.get("/cards/1")).status_code == 404
        assert (await south.get("/cards")).json()["items"] == []
        assert (await north.get("/cards")).json()["items"] == [made.json()]
        assert (await south.post("/cards", json={"id": "2", "text": "north"})).status_code == 403
        assert (await south.get("/cards/1/history")).status_code == 404
        assert (await north.patch("/cards/1", json={"text": "south"})).status_code == 403
