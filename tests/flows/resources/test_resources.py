"""Stored objects over HTTP: each operation as a client sees it, on PostgreSQL and on SQLite."""

import re
from typing import Any

import pytest
from tests.flows.resources.shop import Client, Customer, Order, an_order, fields_in

from uno import context
from uno.app import App, Module, resource
from uno.context import Context


async def test_a_new_one_is_created_found_and_listed(client: Client) -> None:
    made = await an_order(client, amount=2, data={"a": {"b": 1}})
    there = made.headers["location"]
    assert (made.json()["price"], made.json()["state"], made.json()["version"]) == ("9.90", "new", 1)
    assert made.json()["created_at"].endswith("+00:00")
    found = await client.get(there)
    assert (found.status_code, found.json(), found.headers["etag"]) == (200, made.json(), '"1"')
    assert there == f"/orders/{made.json()['id']}"
    assert (await client.get("/orders")).json() == {"items": [made.json()], "next": None}
    assert (await client.head(there)).headers["etag"] == '"1"'


async def test_what_is_hidden_is_nowhere(client: Client) -> None:
    made = await an_order(client)
    there = made.headers["location"]
    assert "secret" not in made.text
    assert "secret" not in (await client.get(f"{there}/history")).text
    for query in ("secret=s3cret", "sort=secret", "fields=secret", "secret__is_null=false"):
        response = await client.get(f"/orders?{query}")
        assert (response.status_code, "s3cret" in response.text.replace(query, "")) == (400, False)
    for body in ({"secret": "x"}, {"number": "B", "price": 1, "secret": "x"}):
        assert fields_in(await client.patch(there, json=body)) == ["secret"]
    assert "secret" not in (await client.get("/openapi.json")).text


OWNED = ("id", "version", "created_at", "updated_at", "deleted_at", "tenant", "origin", "unknown")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_what_the_server_sets_is_refused_and_the_row_is_unchanged(client: Client, method: str) -> None:
    before = await an_order(client)
    there = before.headers["location"]
    whole = {"number": "A-1", "price": 1}
    for name in OWNED:
        body = {**whole, name: before.json().get(name)}
        response = await client.request(method, "/orders" if method == "POST" else there, json=body)
        assert (response.status_code, fields_in(response)) == (422, [name])
    assert (await client.get(there)).json() == before.json()
    assert len((await client.get("/orders")).json()["items"]) == 1


async def test_a_change_to_equal_values_moves_neither_the_version_nor_the_time(client: Client) -> None:
    made = await an_order(client, note="n", data={"a": {"b": [1]}}, amount=3)
    there = made.headers["location"]
    whole = {"number": "A-1", "price": "9.9", "note": "n", "data": {"a": {"b": [1]}}, "amount": 3, "state": "new"}
    for response in (
        await client.put(there, json={**whole, "customer_id": None}),
        await client.patch(there, json={"price": 9.9, "data": {"a": {"b": [1]}}}),
        await client.patch(there, json={}),
        await client.get(there),
    ):
        assert (response.status_code, response.json()) == (200, made.json()), response.text
    assert len((await client.get(f"{there}/history")).json()["items"]) == 1
    moved = (await client.patch(there, json={"amount": 4})).json()
    assert (moved["version"], moved["updated_at"] > made.json()["updated_at"]) == (2, True)


async def test_put_is_full_and_patch_merges(client: Client) -> None:
    there = (await an_order(client, note="keep", amount=7, data={"a": 1, "b": {"c": 1, "d": 2}})).headers["location"]
    patched = await client.patch(
        there,
        json={"data": {"b": {"c": None, "e": [1]}}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert patched.json()["data"] == {"a": 1, "b": {"d": 2, "e": [1]}}
    assert (patched.json()["note"], patched.json()["amount"], patched.json()["version"]) == ("keep", 7, 2)
    assert (await client.patch(there, json={"note": None})).json()["note"] is None
    assert fields_in(await client.patch(there, json={"amount": None})) == ["amount"]
    unchanged = await client.patch(there, json={})
    assert (unchanged.status_code, unchanged.json()["version"]) == (200, 3)
    assert fields_in(await client.put(there, json={"number": "A-2"})) == ["price"]
    put = (await client.put(there, json={"number": "A-2", "price": 3})).json()
    assert (put["amount"], put["data"], put["price"], put["note"]) == (1, {}, "3.00", None)


async def test_deleted_softly_it_is_gone_and_can_come_back_with_its_history(client: Client) -> None:
    there = (await an_order(client)).headers["location"]
    assert (await client.delete(there)).status_code == 204
    assert (await client.get(there)).status_code == 404
    assert (await client.delete(there)).status_code == 404
    assert (await client.get("/orders?total=true")).json() == {"items": [], "next": None, "total": 0}
    back = await client.post(f"{there}/restore")
    assert (back.status_code, back.json()["deleted_at"], back.headers["etag"]) == (200, None, '"3"')
    entries = (await client.get(f"{there}/history")).json()["items"]
    assert [entry["operation"] for entry in entries] == ["create", "soft_delete", "restore"]
    found, where, pages = [], f"{there}/history?limit=1", 0
    while where:
        page = await client.get(where)
        found += page.json()["items"]
        links = dict(re.findall(r'<([^>]*)>; rel="(\w+)"', page.headers.get("link", "")))
        where = next((link for link, rel in links.items() if rel == "next"), "")
        assert (page.json()["next"] is None) is (not where)
        pages += 1
    assert (found, pages) == (entries, len(entries))
    for wrong in ("limit=0", "limit=1001", "after=x", "after=%F0%9F%98%80", "offset=1", "sort=id"):
        refused = await client.get(f"{there}/history?{wrong}")
        assert (refused.status_code, fields_in(refused)) == (400, [wrong.partition("=")[0]]), wrong
    nothing = "/orders/00000000-0000-7000-8000-000000000000/history"
    assert (await client.get(nothing)).status_code == 404


async def test_several_are_created_and_deleted_together_or_not_at_all(client: Client) -> None:
    rows = [{"number": f"B-{n}", "price": n} for n in range(3)]
    made = await client.post("/orders/bulk", json={"items": rows})
    ids = [one["id"] for one in made.json()["items"]]
    assert (made.status_code, len(ids)) == (201, 3)
    twice = await client.post("/orders/bulk", json={"items": [{"number": "C", "price": 1}, rows[0]]})
    assert (twice.status_code, fields_in(twice)) == (409, ["items.1.number"])
    wrong = await client.post("/orders/bulk", json={"items": [{"number": "C", "price": "x"}]})
    assert (wrong.status_code, fields_in(wrong)) == (422, ["items.0.price"])
    unknown = {"ids": [ids[0], "00000000-0000-7000-8000-000000000000"]}
    assert (await client.post("/orders/bulk/delete", json=unknown)).status_code == 404
    assert len((await client.get("/orders")).json()["items"]) == 3
    assert (await client.post("/orders/bulk/delete", json={"ids": ids})).status_code == 204
    assert (await client.get("/orders")).json()["items"] == []


async def test_what_the_database_refuses_is_told_by_field_and_without_sql(client: Client) -> None:
    there = (await an_order(client)).headers["location"]
    await an_order(client, "A-2")
    refused: list[tuple[Any, int, list[str]]] = [
        ({"number": "A-2"}, 409, ["number"]),
        ({"customer_id": 99}, 409, ["customer_id"]),
        ({"amount": 0}, 422, ["amount"]),
        ({"number": "far too long a number"}, 422, ["number"]),
        ({"amount": 2**31}, 422, ["amount"]),
        ({"price": "1.234"}, 422, ["price"]),
        ({"price": "NaN"}, 422, ["price"]),
        ({"note": "\0"}, 422, ["note"]),
        ({"state": "lost"}, 422, ["state"]),
    ]
    for body, status, fields in refused:
        response = await client.patch(there, json=body)
        assert (response.status_code, fields_in(response)) == (status, fields), response.text
        said = response.text.lower()
        assert not any(word in said for word in ("insert", "select ", "constraint", "rest_orders", "uq_", "ck_", "fk_"))
    customer = (await client.post("/customers", json={"name": "Ada"})).headers["location"]
    assert (await client.patch(there, json={"customer_id": int(customer.split("/")[-1])})).status_code == 200
    referred = await client.delete(customer)
    # SQLite does not say who, so that it is named only if there is one class that may.
    assert (referred.status_code, referred.json()["detail"].removeprefix("Something else ")) in [
        (409, "Order refers to it."),
        (409, "refers to it."),
    ]


async def test_composite_keys_and_documents_are_resources_too(client: Client) -> None:
    line = await client.post("/lines", json={"order": "a,b", "place": 2, "weight": 1.5})
    assert line.status_code == 201
    there = line.headers["location"]
    assert (await client.get(there)).json() == {"order": "a,b", "place": 2, "weight": 1.5}
    assert (await client.put(there, json={"weight": 2})).json()["weight"] == 2
    again = await client.post("/lines", json={"order": "a,b", "place": 2, "weight": 1})
    assert (again.status_code, fields_in(again)) == (409, ["order", "place"])
    assert (await client.post("/lines/bulk/delete", json={"ids": [["a,b", 2]]})).status_code == 204
    assert (await client.get(there)).status_code == 404
    parcel = await client.post("/parcels", json={"id": "p1", "label": "glass"})
    assert (parcel.status_code, parcel.json()) == (201, {"id": "p1", "label": "glass", "parts": [], "version": 1})
    assert (await client.patch("/parcels/p1", json={"parts": ["x"]})).headers["etag"] == '"2"'
    assert (await client.get("/parcels?label=glass&sort=-label")).json()["items"][0]["parts"] == ["x"]
    assert fields_in(await client.patch("/parcels/p1", json={"pin": "1"})) == ["pin"]
    assert (await client.delete("/parcels/p1")).status_code == 204


async def test_the_tenant_of_a_new_one_is_that_of_the_context(url: str) -> None:
    orders = resource(Order)
    app = App(Module("shop", routes=[orders], models=[Customer]), database=url)
    async with app:
        create: Any = orders.messages["create"]
        with context.use(Context(tenant="acme")):
            made = (await app.bus.dispatch(create(values=orders.schemas.create(number="T", price=1)))).unwrap()
        assert made.tenant == "acme"
