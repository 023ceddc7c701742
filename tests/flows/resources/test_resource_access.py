"""Who may do what with a resource, and what is wrong with one before it starts."""

from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from sqlalchemy import DateTime, MetaData, func
from sqlalchemy.orm import Mapped, mapped_column
from tests.flows.resources.shop import Client, Customer, Order, Parcel, calling, shop

from uno.api import asgi
from uno.app import App, Module, Route, resource
from uno.bus import query_handler
from uno.data import Model, Repository
from uno.errors import Misconfigured
from uno.messages import Query
from uno.security import JWTAuthProvider, JWTSettings

SECRET = "a secret of forty letters, for tests only"


class Orders(Repository[Order]):
    """A repository of one's own."""


def app(database: str, **options: Any) -> App:
    auth = JWTAuthProvider(JWTSettings(secret_key=SecretStr(SECRET)))
    return App(Module("shop", models=[Customer], routes=[resource(Orders, **options)]), database=database, auth=auth)


async def token(made: App, *permissions: str) -> dict[str, str]:
    auth: Any = made.auth
    return {"Authorization": f"Bearer {await auth.create_token({'sub': 'ada', 'permissions': list(permissions)})}"}


async def statuses(client: Client, headers: dict[str, str]) -> list[int]:
    body = {"number": "A", "price": 1}
    return [
        (await client.get("/orders", headers=headers)).status_code,
        (await client.post("/orders", json=body, headers=headers)).status_code,
        (await client.get("/orders/none/history", headers=headers)).status_code,
    ]


async def test_each_operation_has_its_access(url: str) -> None:
    made = app(url, access={"list": "open"}, permissions={"history": ["audit:read"]})
    async with calling(made) as client:
        assert await statuses(client, {}) == [200, 401, 401]
        assert await statuses(client, await token(made)) == [200, 201, 403]
        assert await statuses(client, await token(made, "audit:read")) == [200, 409, 422]
        [entry] = (
            await client.get(f"/orders/{await the_id(client)}/history", headers=await token(made, "audit:read"))
        ).json()["items"]
        assert (entry["actor"], entry["actor_source"], entry["operation"]) == ("ada", "principal", "create")


async def the_id(client: Client) -> str:
    return str((await client.get("/orders")).json()["items"][0]["id"])


def test_without_authentication_nothing_asks_for_it() -> None:
    with pytest.raises(Misconfigured, match="nothing here can authenticate"):
        App(Module("shop", models=[Customer], routes=[resource(Order, access="authenticated")]), database="sqlite://")


class ListOrders(Query[list[str]]):
    pass


@query_handler(ListOrders)
async def list_orders(query: ListOrders) -> list[str]:
    return []


def test_two_on_one_path_do_not_start() -> None:
    routes: list[Any] = [resource(Order, access="open"), Route(ListOrders, access="open")]
    with pytest.raises(Misconfigured, match="route clash: GET /orders"):
        App(Module("shop", models=[Customer], handlers=[list_orders], routes=routes), database="sqlite://")
    beside: list[Any] = [resource(Order, access="open"), Route(ListOrders, path="/numbers", access="open")]
    both = App(Module("shop", models=[Customer], handlers=[list_orders], routes=beside), database="sqlite://")
    paths = asgi(both).openapi()["paths"]
    ids = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert {"ListOrders_get_orders", "ListOrders_get_numbers", "CreateOrder"} <= set(ids)
    assert len(ids) == len(set(ids))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"operations": ["list", "patch"]}, "'patch' is no operation of a resource of Customer"),
    ({"operations": "list"}, r"operations of a resource is a list: \['list'\]"),
    ({"permissions": "read"}, r"permissions of a resource is a list: \['read'\]"),
    ({"permissions": {"list": "read"}}, r"permissions of a resource is a list: \['read'\]"),
    ({"permissions": [5]}, "permissions of a resource has 5"),
    ({"tags": "shop"}, "tags of a Route is a list"),
    ({"hidden": "note"}, "hidden of a resource is a list"),
    ({"filterable": "id"}, "filterable of a resource is a list"),
    ({"sortable": "id"}, "sortable of a resource is a list"),
    ({"includable": "orders"}, "includable of a resource is a list"),
    ({"serialise": 5}, "serialise of a resource of Customer is a function of the object, or a pydantic model, not 5"),
    ({"serialise": lambda: 1}, "serialise of a resource of Customer is a function of the object"),
    ({"access": {"read": "open"}}, "'read' is no operation"),
    ({"operations": ["restore"]}, "has no deleted_at"),
    ({"limit": 0}, "between 1 and max_limit"),
    ({"hidden": ["nothing"]}, "has no attribute 'nothing'"),
    ({"hidden": ["name"]}, "Customer.name is hidden, and nothing can be new without it"),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: one[1])
def test_a_wrong_resource_is_told_when_the_application_is_made(wrong: tuple[dict[str, Any], str]) -> None:
    options, text = wrong
    with pytest.raises(Misconfigured, match=text):
        App(Module("shop", routes=[resource(Customer, **{"access": "open", **options})]), database="sqlite://")
    with pytest.raises(Misconfigured, match="neither mapped to a table nor an aggregate"):
        App(Module("shop", routes=[resource(str, access="open")]), database="sqlite://")


def test_the_document_says_what_there_is() -> None:
    document = asgi(shop("sqlite://")).openapi()
    paths, schemas = document["paths"], document["components"]["schemas"]
    assert set(paths["/orders/{id}"]) == {"get", "put", "patch", "delete"}
    assert {"412", "422", "409", "404"} <= paths["/orders/{id}"]["patch"]["responses"].keys()
    assert "304" in paths["/orders/{id}"]["get"]["responses"]
    assert schemas["OrderCreate"]["required"] == ["number", "price"]
    assert schemas["OrderCreate"]["properties"]["number"]["maxLength"] == 12
    assert not {"id", "version", "secret", "tenant"} & schemas["OrderMerge"]["properties"].keys()
    assert {"id", "version", "tenant", "created_at"} <= set(schemas["Order"]["required"])
    parameters = {one["name"]: one["schema"] for one in paths["/orders"]["get"]["parameters"]}
    assert parameters["limit"]["maximum"] == 1000
    assert parameters["amount"]["type"] == "integer"
    assert parameters["state"]["enum"] == ["new", "sent"]
    assert "secret" not in parameters


# ── what SQLAlchemy's own session has to write ──


class Slow(Model):
    """The database changes a column itself, so that SQLAlchemy reads it again."""

    __abstract__ = True
    metadata = MetaData()


class Note(Slow):
    __tablename__ = "rest_notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    changed_at: Mapped[Any] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now(), info={"read_only": True}
    )


async def test_columns_that_the_database_sets_are_shown_as_it_set_them() -> None:
    made = App(Module("notes", routes=[resource(Note, access="open")]), database="sqlite://")
    async with calling(made) as client:
        note = await client.post("/notes", json={"text": "a"})
        assert note.json()["changed_at"] is not None
        patched = await client.patch(note.headers["location"], json={"text": "b"})
        assert (patched.status_code, patched.json()["text"]) == (200, "b")
        assert (await client.get(note.headers["location"])).json() == patched.json()


async def test_messages_of_a_resource_are_dispatched_like_others() -> None:
    parcels = resource(Parcel, operations=["create", "list", "get"])
    async with App(Module("parcels", routes=[parcels]), database="sqlite://") as made:
        create: Any = parcels.messages["create"]
        (await made.bus.dispatch(create(values=parcels.schemas.create(id="p", label="x")))).unwrap()
        page = (await made.bus.dispatch(parcels.messages["list"](sort="label"))).unwrap()
        assert [one.id for one in page.items] == ["p"]
        missing = await made.bus.dispatch(parcels.messages["get"](id="q"))
        assert missing.is_failure
    transport = httpx2.ASGITransport(app=asgi(made))
    async with made, httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/parcels")).status_code == 200
