"""What is shown of related objects, or found by them, is no more than their own resource gives to whoever asks."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.flows.resources.shop import Client, Customer, Order, calling, fields_in

from uno.api import build_crud_router
from uno.app import App, Module, resource
from uno.data import Database, Model, Page, Repository, UnitOfWork, schema
from uno.errors import Misconfigured
from uno.security import JWTAuthProvider, JWTSettings

BESIDE: Any = {"includable": ["customer"], "filterable": ["number", "customer.name"]}
AUTH = JWTAuthProvider(JWTSettings(secret_key=SecretStr("a secret of forty letters, for tests only")))
READ = "customers:read"


def orders(**options: Any) -> Any:
    return resource(Order, access="open", **BESIDE, **options)


async def fill(database: Database | None) -> str:
    assert database is not None
    async with UnitOfWork(database) as uow:
        await uow.repository(Customer).add(Customer(id=1, name="Ada", email="ada@x"))
        order = await uow.repository(Order).add(Order(number="A-1", price=1, customer_id=1))
    return f"/orders/{order.id}"


async def statuses(client: Client, path: str) -> list[int]:
    """Of who has the permission, of whom nobody knows, of who is only known."""
    known = [
        {"Authorization": f"Bearer {await AUTH.create_token({'sub': 'ada', 'permissions': p})}"} for p in ([READ], [])
    ]
    return [(await client.get(path, headers=one)).status_code for one in (known[0], {}, known[1])]


def filtered(**condition: str) -> str:
    name, value = next(iter(condition.items()))
    return f"/orders?{httpx2.QueryParams({'filter': json.dumps({'not': {f'customer.{name}': value}})})}"


@pytest.mark.parametrize(
    "options",
    [{}, {"operations": ["create", "history"]}, {"operations": ["get"]}, {"operations": ["list", "merge"]}],
    ids=str,
)
async def test_who_is_not_let_in_there_gets_and_finds_nothing_here(url: str, options: Any) -> None:
    customers = resource(Customer, permissions=[READ], **options)
    app = App(Module("shop", routes=[orders(), customers]), database=url, auth=AUTH)
    async with calling(app) as client:
        there = await fill(app.database)
        for path in (
            "/orders?include=customer",
            f"{there}?include=customer",
            "/orders?customer.name__starts_with=A",
            filtered(name="Bob"),
            filtered(name__in="x") + "&number=A-1",
        ):
            # The second time the query is remembered.
            wanted = [400, 401, 403] if "__in" in path else [200, 401, 403]
            assert [await statuses(client, path) for _ in range(2)] == [wanted] * 2, path
        assert await statuses(client, "/orders?number__starts_with=A") == [200] * 3
        assert await statuses(client, there) == [200] * 3


async def test_what_is_filtered_by_is_a_list(url: str) -> None:
    """Who may read one whose id is known may not look for one."""
    customers = resource(Customer, access={"get": "open"}, permissions={"list": [READ]})
    app = App(Module("shop", routes=[customers, orders(sortable=["customer.name"])]), database=url, auth=AUTH)
    async with calling(app) as client:
        await fill(app.database)
        assert await statuses(client, "/orders?include=customer") == [200] * 3
        assert await statuses(client, "/orders?customer.name=Ada") == [200, 401, 403]
        # Nothing is sorted by what is related, whoever asks.
        assert await statuses(client, "/orders?sort=customer.name") == [400] * 3


# ── what is read or shown in another way ──


class Customers(Repository[Customer]):
    async def page(self, *filters: Any, **options: Any) -> Page[Customer]:
        return await super().page(*filters, name="Ada", **options)


class Tree(Model):
    __abstract__ = True
    metadata = MetaData()


class Node(Tree):
    __tablename__ = "guarded_nodes"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    pin: Mapped[str] = mapped_column(default="0000")
    kind: Mapped[str] = mapped_column(default="node")
    above_id: Mapped[int | None] = mapped_column(ForeignKey("guarded_nodes.id"))
    above: Mapped["Node | None"] = relationship(viewonly=True, remote_side="Node.id")
    leaf: Mapped["Leaf | None"] = relationship(
        viewonly=True, remote_side="Node.id", primaryjoin="foreign(Node.above_id) == remote(Node.id)"
    )
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "node"}


class Leaf(Node):
    __mapper_args__ = {"polymorphic_identity": "leaf"}


LEAF = {"id": 1, "kind": "leaf", "above_id": None}


async def grow(database: Database | None) -> None:
    assert database is not None
    async with UnitOfWork(database) as uow:
        await uow.repository(Leaf).add(Leaf(id=1))
        await uow.flush()
        await uow.repository(Node).add(Node(id=2, above_id=1))


class Nodes(Repository[Node]):
    async def get_by_id(self, id: Any, **options: Any) -> Node | None:
        return None


@pytest.mark.parametrize(
    ("source", "options", "why"),
    [
        (Customer, {"serialise": lambda one: {"name": one.name}}, "resource of Customer has serialise= of its own"),
        (Customers, {}, "resource of Customer has Customers, a repository of its own"),
    ],
)
@pytest.mark.parametrize("asked", [{"includable": ["customer"]}, {"filterable": ["number", "customer.name"]}])
def test_what_is_shown_in_a_way_of_its_own_there_is_not_asked_for_here(
    source: Any, options: Any, why: str, asked: dict[str, Any]
) -> None:
    ((option, names),) = asked.items()
    for first in (0, 1):
        routes = [resource(Order, access="open", **asked), resource(source, access="open", **options)]
        with pytest.raises(Misconfigured, match=f"{option}='{names[-1]}' of Order: the {why}.*; leave it out"):
            App(Module("shop", routes=routes[::-1] if first else routes), database="sqlite://")


def test_what_it_does_in_a_way_of_its_own_itself_counts_as_well() -> None:
    told = "includable='above' of Node: the resource of Node has Nodes, a repository of its own"
    nodes: dict[str, Any] = {"access": "open", "includable": ["above"]}
    with pytest.raises(Misconfigured, match=told):
        App(Module("tree", routes=[resource(Nodes, **nodes)]), database="sqlite://")
    with pytest.raises(Misconfigured, match=told):
        build_crud_router(Nodes, database=Database("sqlite://"), **nodes)


async def test_where_the_class_itself_is_no_resource_that_of_its_base_counts() -> None:
    lists = resource(Node, operations=["list"], permissions=[READ], hidden=["pin"])
    gets = resource(Node, operations=["get"], access="open", includable=["leaf"])
    app = App(Module("tree", routes=[lists, gets]), database="sqlite://", auth=AUTH)
    async with calling(app) as client:
        await grow(app.database)
        assert await statuses(client, "/nodes/2?include=leaf") == [200, 401, 403]
    nodes = resource(Node, access="open", hidden=["pin"], includable=["leaf"])
    app = App(Module("tree", routes=[nodes]), database="sqlite://")
    async with calling(app) as client:
        await grow(app.database)
        assert (await client.get("/nodes/2?include=leaf")).json()["leaf"] == LEAF


# ── routers of an application that is none of uno's ──


def nobody() -> None:
    raise HTTPException(401, "no")


def anybody() -> None: ...


def together(database: Database, customers: dict[str, Any], given: dict[str, Any], *, prefix: str = "") -> FastAPI:
    api = FastAPI()
    inner = APIRouter()
    inner.include_router(build_crud_router(Customer, database=database, **customers))
    api.include_router(build_crud_router(Order, database=database, **BESIDE, **given), prefix=prefix)
    api.include_router(inner, dependencies=[Depends(anybody)] if prefix else [])
    return api


GUARDED: list[dict[str, Any]] = [
    {"dependencies": [Depends(nobody)]},
    {"access": "authenticated"},
    {"permissions": [READ]},
    {"permissions": {"list": [READ], "get": [READ]}},
    {"dependencies": [Depends(nobody)], "operations": ["create"]},
]


@pytest.mark.parametrize("guard", GUARDED, ids=" ".join)
async def test_a_router_that_asks_for_less_does_not_start(guard: dict[str, Any], tmp_path: Any) -> None:
    database = Database(f"sqlite:///{tmp_path / 'plain.db'}")
    api = together(database, guard, {})
    told = "='customer' of Order: the router of Customer has dependencies.*give this one the same"
    with pytest.raises(Misconfigured, match=told), TestClient(api):
        pass
    # Where nobody runs the lifespan it is said to each request.
    async with asking(api) as client:
        for path in ("/orders?include=customer", "/orders?customer.name=Ada", "/orders"):
            refused = await client.get(path)
            assert (refused.status_code, "router of Customer" in refused.json()["detail"]) == (503, True)


async def test_what_is_given_when_it_is_included_counts() -> None:
    with (
        pytest.raises(Misconfigured, match="router of Customer"),
        TestClient(together(Database("sqlite://"), {}, {}, prefix="/v1")),
    ):
        pass


SAME: list[dict[str, Any]] = [{}, *({k: v for k, v in one.items() if k != "operations"} for one in GUARDED)]


@pytest.mark.parametrize("guard", SAME, ids=" ".join)
async def test_routers_that_ask_for_the_same_start(guard: dict[str, Any]) -> None:
    database = Database("sqlite://")
    async with database:
        await schema.create(database, [Order.metadata])
        with TestClient(together(database, guard, guard)) as client:
            assert client.get("/orders?include=customer").status_code == (401 if guard else 200)


async def test_what_one_router_hides_no_other_shows(url: str) -> None:
    database = Database(url)
    async with database, asking(together(database, {"hidden": ["email"]}, {})) as client:
        await schema.create(database, [Order.metadata])
        there = await fill(database)
        for shown in ((await client.get("/orders?include=customer")).json()["items"][0], await got(client, there)):
            assert shown["customer"] == {"id": 1, "name": "Ada"}


async def test_what_a_router_hides_it_does_not_show_beside_others() -> None:
    database = Database("sqlite://")
    api = FastAPI()
    api.include_router(build_crud_router(Node, database=database, hidden=["pin"], includable=["above"]))
    async with database, asking(api) as client:
        await schema.create(database, [Tree.metadata])
        await grow(database)
        assert (await client.get("/nodes/2?include=above")).json()["above"] == LEAF
        named = api.openapi()["components"]["schemas"]["NodeExtended"]["properties"]
        assert "pin" not in named


@asynccontextmanager
async def asking(api: FastAPI) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://plain") as client:
        yield client


async def got(client: Client, path: str) -> Any:
    return (await client.get(f"{path}?include=customer")).json()


# ── nothing where something has to be ──


async def _in_app(use: Callable[[Client], Any]) -> None:
    everything = ["create", "get", "replace", "merge", "bulk_create", "bulk_delete"]
    app = App(Module("tree", routes=[resource(Node, access="open", operations=everything)]), database="sqlite://")
    async with calling(app) as client:
        await use(client)


async def _in_router(use: Callable[[Client], Any]) -> None:
    database, api = Database("sqlite://"), FastAPI()
    api.include_router(build_crud_router(Node, database=database))
    async with database, asking(api) as client:
        await schema.create(database, [Tree.metadata])
        await use(client)


@pytest.mark.parametrize("within", [_in_app, _in_router])
async def test_a_missing_body_is_no_empty_object(within: Any) -> None:
    async def use(client: Client) -> None:
        made = await client.post("/nodes", json={"id": 1, "pin": "1234"})
        there = made.headers["location"]
        for method, path in (("PUT", there), ("PATCH", there), ("POST", "/nodes")):
            for headers in ({}, {"content-type": "application/json"}):
                refused = await client.request(method, path, headers=headers)
                assert (refused.status_code, fields_in(refused)) == (422, ["body"]), (method, refused.text)
                assert refused.json()["errors"][0]["code"] == "missing"
        for path in ("/nodes/bulk", "/nodes/bulk/delete") if within is _in_app else ():
            refused = await client.post(path)
            assert (refused.status_code, fields_in(refused)) == (422, ["body"])
        assert (await client.get(there)).json() == made.json()
        assert (await client.patch(there, json={})).status_code == 200

    await within(use)
