"""Conditional requests: nobody overwrites what somebody else has changed, and nobody loads what he has."""

import asyncio
from typing import Any

import httpx2
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from tests.flows.resources.shop import EVERYTHING, Base, Client, Customer, Order, an_order, calling, fields_in, shop

from uno.api import build_crud_router
from uno.app import App, Module, resource
from uno.data import Database, schema

ETAG, IF_MATCH, IF_NONE_MATCH = "etag", "If-Match", "If-None-Match"


async def test_only_who_has_read_the_last_version_changes_it(client: Client) -> None:
    made = await an_order(client)
    there, first = made.headers["location"], made.headers[ETAG]
    second = (await client.patch(there, json={"note": "a"}, headers={IF_MATCH: first})).headers[ETAG]
    for method, body in (("PATCH", {"note": "b"}), ("PUT", {"number": "B", "price": 1}), ("DELETE", None)):
        for stale in (first, f"W/{second}", '"x", "y"'):
            response = await client.request(method, there, json=body, headers={IF_MATCH: stale})
            assert (response.status_code, response.json()["type"]) == (412, "urn:uno:problem:precondition-failed")
    assert (await client.get(there)).json()["note"] == "a"
    assert (await client.patch(there, json={"note": "c"}, headers={IF_MATCH: f'"7", {second}'})).status_code == 200
    assert (await client.patch(there, json={"note": "d"}, headers={IF_MATCH: "*"})).status_code == 200
    odd = await client.patch(there, json={"note": "e"}, headers={IF_MATCH: "4"})
    assert (odd.status_code, fields_in(odd)) == (400, [IF_MATCH])


async def test_what_has_no_version_has_a_tag_of_what_can_be_seen(client: Client) -> None:
    made = await client.post("/customers", json={"name": "Ada"})
    there, first = made.headers["location"], made.headers[ETAG]
    assert (await client.get(there)).headers[ETAG] == first
    assert (await client.patch(there, json={"name": "Bob"}, headers={IF_MATCH: first})).headers[ETAG] != first
    assert (await client.patch(there, json={"name": "Cid"}, headers={IF_MATCH: first})).status_code == 412
    assert (await client.patch(there, json={"name": "Ada"})).headers[ETAG] == first


async def test_what_a_client_has_is_not_sent_again(client: Client) -> None:
    made = await an_order(client)
    there, tag = made.headers["location"], made.headers[ETAG]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        response = await client.get(there, headers={IF_NONE_MATCH: known})
        assert (response.status_code, response.content, response.headers[ETAG]) == (304, b"", tag)
    await client.patch(there, json={"note": "new"})
    assert (await client.get(there, headers={IF_NONE_MATCH: tag})).status_code == 200


async def test_who_prefers_a_minimal_answer_gets_no_body(client: Client) -> None:
    minimal = {"Prefer": "respond-async, return=minimal"}
    made = await client.post("/orders", json={"number": "A", "price": 1}, headers=minimal)
    assert (made.status_code, made.content, made.headers["preference-applied"]) == (201, b"", "return=minimal")
    there = made.headers["location"]
    patched = await client.patch(there, json={"note": "x"}, headers=minimal)
    assert (patched.status_code, patched.content, patched.headers[ETAG]) == (204, b"", '"2"')
    assert (
        await client.post("/orders/bulk", json={"items": [{"number": "B", "price": 1}]}, headers=minimal)
    ).content == b""
    assert "preference-applied" not in (await client.get(there, headers=minimal)).headers


async def test_where_it_is_required_nothing_is_changed_without_if_match(url: str) -> None:
    single = [one for one in EVERYTHING if one != "bulk_delete"]
    async with calling(shop(url, require_if_match=True, operations=single)) as client:
        there = (await an_order(client)).headers["location"]
        for method, body in (("PATCH", {"note": "b"}), ("PUT", {"number": "B", "price": 1}), ("DELETE", None)):
            response = await client.request(method, there, json=body)
            assert (response.status_code, response.json()["title"]) == (428, "If-Match is required")
        assert (await client.delete(there, headers={IF_MATCH: '"1"'})).status_code == 204
        assert (await client.post(f"{there}/restore")).status_code == 200


async def test_of_many_at_once_with_one_tag_one_wins(client: Client) -> None:
    for there, body in ((await an_order(client)).headers["location"], "note"), ("/customers/1", "name"):
        if body == "name":
            await client.post("/customers", json={"name": "Ada"})
        tag = (await client.get(there)).headers[ETAG]
        racing = (client.patch(there, json={body: f"n{n}"}, headers={IF_MATCH: tag}) for n in range(12))
        answers = await asyncio.gather(*racing)
        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 11
        [won] = [answer for answer in answers if answer.status_code == 200]
        assert (await client.get(there)).json() == won.json()


async def test_of_many_at_once_without_a_tag_everybody_changes_it(client: Client) -> None:
    order = (await an_order(client)).headers["location"]
    parcel = (await client.post("/parcels", json={"id": "p", "label": "x"})).headers["location"]
    for there, name in (order, "note"), (parcel, "label"):
        answers = await asyncio.gather(*(client.patch(there, json={name: f"n{n}"}) for n in range(20)))
        assert [answer.status_code for answer in answers] == [200] * 20
        entries = (await client.get(f"{there}/history")).json()["items"]
        assert sorted(entry["after"][name] for entry in entries[1:]) == sorted(f"n{n}" for n in range(20))
        assert (await client.get(there)).json()[name] == entries[-1]["after"][name]


# ── on any FastAPI application ──


async def refuse(token: str = "") -> None:
    if token != "mine":
        raise HTTPException(401, "Who are you?")


class Short(BaseModel):
    id: int
    name: str


async def test_a_router_is_the_same_without_an_app(url: str) -> None:
    database = Database(url)
    api = FastAPI()
    customers = build_crud_router(Customer, database=database, dependencies=[Depends(refuse)], require_if_match=True)
    api.include_router(customers, prefix="/v1")
    api.include_router(build_crud_router(Order, database=database, serialise=lambda one: {"n": one.number}))
    transport = httpx2.ASGITransport(app=api)
    async with (
        database,
        httpx2.AsyncClient(transport=transport, base_url="http://x", params={"token": "mine"}) as client,
    ):
        await schema.create(database, [Base.metadata])
        assert (await client.get("/v1/customers", params={"token": "other"})).status_code == 401
        await _runs(client, api)


async def _runs(client: Client, api: Any) -> None:
    client.params = httpx2.QueryParams()
    there = "/v1/customers"
    assert (await client.get(there)).status_code == 401
    orders = await client.post("/orders", json={"number": "A", "price": "1.5"})
    assert (orders.status_code, orders.json()) == (201, {"n": "A"})
    assert (await client.get("/orders?number=A")).json()["items"] == [{"n": "A"}]
    assert fields_in(await client.get("/orders?fields=number")) == ["fields"]
    assert fields_in(await client.get("/orders?limit=x")) == ["limit"]
    assert fields_in(await client.post("/orders", json={"number": 1, "version": 2})) == ["number", "price", "version"]
    assert fields_in(await client.get("/orders/none")) == ["id"]
    paths = api.openapi()["paths"]
    assert {"get", "put", "patch", "delete"} <= paths["/v1/customers/{id}"].keys()
    assert paths["/v1/customers/{id}"]["patch"]["operationId"] == "MergeCustomer"


async def test_a_router_answers_a_repeated_request_as_the_first_time(url: str) -> None:
    database = Database(url)
    api = FastAPI()
    api.include_router(build_crud_router(Customer, database=database))
    api.include_router(build_crud_router(Order, database=database, audit=False))
    key = {"Idempotency-Key": "k"}
    async with database, httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://x") as client:
        await schema.create(database, [Base.metadata])
        first, again = [await client.post("/customers", json={"name": "Ada"}, headers=key) for _ in range(2)]
        assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
        assert again.headers["idempotency-replayed"] == "true"
        other = await client.post("/customers", json={"name": "Bob"}, headers=key)
        assert (other.status_code, len((await client.get("/customers")).json()["items"])) == (422, 1)
        refused = await client.post("/orders", json={"number": "A", "price": 1}, headers=key)
        assert (refused.status_code, fields_in(refused)) == (422, ["Idempotency-Key"])


async def test_a_pydantic_model_may_say_what_is_shown(url: str) -> None:
    app = App(Module("shop", models=[Order], routes=[resource(Customer, access="open", serialise=Short)]), database=url)
    async with calling(app) as client:
        made = await client.post("/customers", json={"name": "Ada", "email": "ada@example.org"})
        assert made.json() == {"id": 1, "name": "Ada"}
        document = (await client.get("/openapi.json")).json()
        assert document["components"]["schemas"].keys() >= {"Short", "CustomerCreate", "Problem"}
