"""What the server sets cannot be given, and what is refused leaves rows, audit trail and keys as they were."""

from typing import Any

import pytest
from tests.flows.faults.depot import Client, calling, counted, database_of, depot, fields_in, rows_of

from uno import context
from uno.app import App
from uno.context import Context

UUID = "00000000-0000-7000-8000-000000000000"
MOMENT = "2026-01-31T10:00:00Z"
# Of what kind the refusal is; what is hidden is as unknown as what is not there.
OWNED: dict[str, tuple[Any, str]] = {
    "id": (UUID, "read_only"),
    "version": (7, "read_only"),
    "created_at": (MOMENT, "read_only"),
    "updated_at": (MOMENT, "read_only"),
    "created_by": ("mallory", "read_only"),
    "updated_by": ("mallory", "read_only"),
    "deleted_at": (MOMENT, "read_only"),
    "tenant": ("other", "read_only"),
    "is_deleted": (True, "unknown"),
    "margin": (99, "unknown"),
    "supplier": ({"code": "x"}, "unknown"),
    "supplier.code": ("x", "unknown"),
    "tenant_id": ("other", "unknown"),
    "actor": ("mallory", "unknown"),
    "nothing": (1, "unknown"),
    "_sa_instance_state": ({}, "unknown"),
    "__class__": ("Supplier", "unknown"),
    "__dict__": ({"margin": 1}, "unknown"),
    "metadata": ({}, "unknown"),
    "SKU": ("x", "unknown"),
    "$set": ({"margin": 1}, "unknown"),
}


async def state(app: App) -> tuple[Any, ...]:
    """All that is stored."""
    kept = (
        await rows_of(app, "depot_items"),
        await rows_of(app, "depot_suppliers"),
        await rows_of(app, "depot_counters"),
    )
    return *kept, await counted(app, "uno_audit"), await counted(app, "uno_idempotency")


async def test_what_the_server_sets_is_refused_and_nothing_has_changed(client: Client, app: App) -> None:
    made = await client.post("/items", json={"sku": "A-1", "price": "2.50"})
    there, whole = made.headers["location"], {"sku": "B-1", "price": "3.00"}
    before = await state(app)
    for name, (value, code) in OWNED.items():
        for given in (value, None, made.json().get(name)):
            body = {**whole, name: given}
            asked: list[tuple[str, str, Any, str]] = [
                ("POST", "/items", body, name),
                ("PUT", there, body, name),
                ("PATCH", there, body, name),
                ("PATCH", there, {name: given}, name),
                ("POST", "/items/bulk", {"items": [whole, body]}, f"items.1.{name}"),
            ]
            for method, path, sent, field in asked:
                for more in ({}, {"Idempotency-Key": "k"}, {"If-Match": '"1"'}):
                    response = await client.request(method, path, json=sent, headers=more)
                    assert (response.status_code, fields_in(response)) == (422, [field]), (method, sent, response.text)
                    assert response.json()["errors"][0]["code"] == code
    assert await state(app) == before
    assert (await client.get(there)).json() == made.json()


async def test_a_new_one_is_of_the_tenant_and_the_actor_of_the_context(client: Client, app: App) -> None:
    with context.use(Context(tenant="acme", actor="alice", actor_source="principal")):
        made = (await client.post("/items", json={"sku": "A-1"})).json()
    [row] = await rows_of(app, "depot_items")
    assert (row["version"], row["deleted_at"], row["margin"]) == (1, None, 30)
    assert (made["version"], made["created_by"], made["updated_by"]) == (1, row["created_by"], row["updated_by"])


BODIES: list[tuple[bytes, str, int]] = [
    (b"{", "application/json", 400),
    (b"[]", "application/json", 422),
    (b"null", "application/json", 422),
    (b'"a"', "application/json", 422),
    (b"1", "application/json", 422),
    (b'{"sku": "B", "sku": "C"}', "application/json", 400),
    (b'{"sku": NaN}', "application/json", 400),
    (b'{"stock": 1e999}', "application/json", 400),
    (b'{"sku": "\\u0000"}', "application/json", 422),
    (b'{"sku": "\\ud800"}', "application/json", 400),
    (b'{"data": {"a": "\\u0000"}}', "application/json", 422),
    (b'{"data": {"\\u0000": 1}}', "application/json", 422),
    (b'{"sku": "\xff"}', "application/json", 400),
    (b"[" * 50_000, "application/json", 400),
    (b'{"data":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}", "application/json", 400),
    (b'{"stock": ' + b"1" * 10_000 + b"}", "application/json", 400),
    (b'{"stock": 2147483648}', "application/json", 422),
    (b'{"stock": -1}', "application/json", 422),
    (b'{"stock": 1.5}', "application/json", 422),
    (b'{"stock": "1"}', "application/json", 422),
    (b'{"stock": true}', "application/json", 422),
    (b'{"price": "1e99"}', "application/json", 422),
    (b'{"price": "Infinity"}', "application/json", 422),
    (b'{"sku": {"$ne": null}}', "application/json", 422),
    (b'{"made_on": "0000-00-00"}', "application/json", 422),
    (b'{"seen_at": "2026-01-31T10:00:00"}', "application/json", 422),
    (b'{"batch": "x"}', "application/json", 422),
    (b'{"label": "***"}', "application/json", 422),
    (b"sku=B", "application/x-www-form-urlencoded", 415),
    (b'{"sku": "B"}', "text/plain", 415),
]


async def test_a_body_that_is_none_changes_nothing(client: Client, app: App) -> None:
    there = (await client.post("/items", json={"sku": "A-1"})).headers["location"]
    before = await state(app)
    for body, kind, status in BODIES:
        for method, path in (("POST", "/items"), ("PUT", there), ("PATCH", there), ("POST", "/items/bulk")):
            sent = b'{"items": [' + body + b"]}" if path.endswith("bulk") and status == 422 else body
            response = await client.request(method, path, content=sent, headers={"Content-Type": kind})
            told = (method, path, sent[:80], response.text[:500])
            assert response.status_code in (status, 422 if status == 400 else status), told
            assert response.headers["content-type"] == "application/problem+json", told
            assert len(response.content) < 20_000, told
    assert await state(app) == before


async def test_ids_that_are_none_are_refused(client: Client, app: App) -> None:
    before = await state(app)
    for id in ("none", "1", "*", "%00", "..%2f", "0" * 5_000, "'%20OR%20'1'='1", UUID + "x", "null", "%ff", "😀"):
        for method, body in (("GET", None), ("PUT", {"sku": "B"}), ("PATCH", {"sku": "B"}), ("DELETE", None)):
            response = await client.request(method, f"/items/{id}", json=body)
            assert response.status_code in (404, 422), (id, response.text)
            assert response.headers["content-type"] == "application/problem+json"
    for id in ("2147483648", "9" * 400, "-1", "1.0", "1e3", "0x1", "٣"):
        response = await client.get(f"/suppliers/{id}")
        assert response.status_code in (404, 422), (id, response.text)
    assert await state(app) == before


@pytest.mark.parametrize("ids", [[], [UUID] * 2_000, ["x"], [None], [[UUID]], [{"id": UUID}], UUID, {"0": UUID}])
async def test_ids_to_delete_that_are_none_are_refused(client: Client, app: App, ids: Any) -> None:
    await client.post("/items", json={"sku": "A-1"})
    before = await state(app)
    response = await client.post("/items/bulk/delete", json={"ids": ids})
    assert (response.status_code, bool(fields_in(response))) == (422, True)
    assert await state(app) == before


async def test_a_context_of_another_does_not_open_the_body(url: str) -> None:
    """Neither a header nor a query gives what the server sets."""
    app = depot(url)
    async with calling(app) as client:
        asked = {"X-Tenant": "other", "X-Tenant-ID": "other", "X-User": "mallory", "X-Actor": "mallory"}
        made = await client.post("/items", json={"sku": "A-1"}, headers=asked)
        assert (made.json()["tenant"], made.json()["created_by"]) == (None, None)
        for query in ("tenant=other", "version=9", "margin=1", "id=1"):
            refused = await client.post(f"/items?{query}", json={"sku": "A-2"})
            assert (refused.status_code, fields_in(refused)) == (400, [query.split("=")[0]])
            refused = await client.patch(f"{made.headers['location']}?{query}", json={"shelf": "A"})
            assert (refused.status_code, fields_in(refused)) == (400, [query.split("=")[0]])
    assert database_of(app)
