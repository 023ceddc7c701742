"""What a constraint refuses: 409 or 422 with the name of the field, the same on both backends; nothing is written."""

from typing import Any

from tests.flows.faults.depot import Client, counted, fields_in, rows_of

from uno.app import App

# Words of SQL and of schemas, and what is in other rows.
NEVER = (
    "select ",
    "insert",
    "update ",
    "delete from",
    "constraint",
    "depot_",
    "uq_",
    "ck_",
    "fk_",
    "pk_",
    "sqlite",
    "asyncpg",
)
NEVER += ("key (", "detail:", "violat", "s3cret", "taken-1", "other-row", 'relation "')


def told(response: Any, *, status: int, fields: list[str], codes: set[str]) -> None:
    """The answer is this refusal, and says nothing else."""
    assert (response.status_code, fields_in(response)) == (status, fields), response.text
    assert {one["code"] for one in response.json().get("errors", [])} == codes, response.text
    said = response.text.lower()
    assert [word for word in NEVER if word in said] == [], response.text


async def filled(client: Client) -> tuple[str, str]:
    """Where an item and a supplier are, beside others."""
    await client.post("/items", json={"sku": "taken-1", "shelf": "other-row"})
    await client.post("/suppliers", json={"code": "taken-1", "city": "Ulm", "name": "other-row"})
    supplier = (await client.post("/suppliers", json={"code": "S-1", "city": "Ulm"})).headers["location"]
    id = int(supplier.rpartition("/")[2])
    item = await client.post("/items", json={"sku": "A-1", "supplier_id": id})
    assert item.status_code == 201, item.text
    return item.headers["location"], supplier


async def state(app: App) -> tuple[Any, ...]:
    return await rows_of(app, "depot_items"), await rows_of(app, "depot_suppliers"), await counted(app, "uno_audit")


async def test_a_value_that_is_there_already_is_a_conflict(client: Client, app: App) -> None:
    item, supplier = await filled(client)
    before = await state(app)
    again: list[tuple[str, str, Any, str]] = [
        ("POST", "/items", {"sku": "taken-1"}, "sku"),
        ("PUT", item, {"sku": "taken-1"}, "sku"),
        ("PATCH", item, {"sku": "taken-1"}, "sku"),
        ("POST", "/items/bulk", {"items": [{"sku": "B-1"}, {"sku": "taken-1"}]}, "items.1.sku"),
        ("POST", "/items/bulk", {"items": [{"sku": "B-1"}, {"sku": "B-1"}]}, "items.1.sku"),
        (
            "POST",
            "/items/bulk",
            {"items": [*({"sku": f"C-{n}"} for n in range(300)), {"sku": "taken-1"}]},
            "items.300.sku",
        ),
        ("POST", "/suppliers", {"code": "taken-1", "city": "Ulm"}, "code"),
        ("PUT", supplier, {"code": "taken-1", "city": "Ulm"}, "code"),
        ("PATCH", supplier, {"code": "taken-1", "city": "Ulm"}, "code"),
        (
            "POST",
            "/suppliers/bulk",
            {"items": [{"code": "T-1", "city": "Ulm"}, {"code": "taken-1", "city": "Ulm"}]},
            "items.1.code",
        ),
    ]
    for method, path, body, field in again:
        told(await client.request(method, path, json=body), status=409, fields=[field], codes={"duplicate"})
    assert await state(app) == before
    crate = {"id": "taken-1", "label": "a"}
    assert (await client.post("/crates", json=crate)).status_code == 201
    twice = await client.post("/crates", json=crate)
    assert (twice.status_code, "depot" in twice.text, "uno_" in twice.text) == (409, False, False)


async def test_what_is_deleted_softly_does_not_take_its_values_along(client: Client) -> None:
    item, _ = await filled(client)
    assert (await client.delete(item)).status_code == 204
    other = await client.post("/items", json={"sku": "A-1"})
    assert other.status_code == 201
    told(await client.post(f"{item}/restore"), status=409, fields=["sku"], codes={"duplicate"})


async def test_a_reference_to_nothing_is_a_conflict(client: Client, app: App) -> None:
    item, _ = await filled(client)
    before = await state(app)
    nothing: list[tuple[str, str, Any, str]] = [
        ("POST", "/items", {"sku": "B-1", "supplier_id": 99}, ""),
        ("PUT", item, {"sku": "A-1", "supplier_id": 99}, ""),
        ("PATCH", item, {"supplier_id": 99}, ""),
        ("POST", "/items/bulk", {"items": [{"sku": "B-1"}, {"sku": "B-2", "supplier_id": 99}]}, "items.1."),
        ("POST", "/items/bulk", {"items": [{"sku": f"C-{n}", "supplier_id": 99} for n in range(300)]}, "items.0."),
    ]
    for method, path, body, place in nothing:
        response = await client.request(method, path, json=body)
        told(response, status=409, fields=[f"{place}supplier_id"], codes={"reference"})
    assert await state(app) == before


async def test_what_others_refer_to_is_not_deleted(client: Client, app: App) -> None:
    _, supplier = await filled(client)
    before = await state(app)
    id = int(supplier.rpartition("/")[2])
    for response in (
        await client.delete(supplier),
        await client.post("/suppliers/bulk/delete", json={"ids": [id]}),
        await client.post("/suppliers/bulk/delete", json={"ids": [1, id]}),
    ):
        told(response, status=409, fields=[], codes=set())
        assert response.json()["detail"] == "Item refers to it."
    assert await state(app) == before


async def test_a_value_that_a_check_refuses_is_not_valid(client: Client, app: App) -> None:
    item, _ = await filled(client)
    before = await state(app)
    negative: list[tuple[str, str, Any, str]] = [
        ("POST", "/items", {"sku": "B-1", "stock": -1}, ""),
        ("PUT", item, {"sku": "A-1", "stock": -1}, ""),
        ("PATCH", item, {"stock": -1}, ""),
        ("POST", "/items/bulk", {"items": [{"sku": "B-1"}, {"sku": "B-2", "stock": -1}]}, "items.1."),
        ("POST", "/items/bulk", {"items": [{"sku": f"C-{n}", "stock": 5 - n} for n in range(300)]}, "items.6."),
    ]
    for method, path, body, place in negative:
        told(await client.request(method, path, json=body), status=422, fields=[f"{place}stock"], codes={"check"})
    assert await state(app) == before


async def test_a_null_that_only_the_database_refuses_is_not_valid(client: Client, app: App) -> None:
    _, supplier = await filled(client)
    before = await state(app)
    two = [{"code": "T-1", "city": "Ulm"}, {"code": "T-2", "city": None}]
    null: list[tuple[str, str, Any, str]] = [
        ("POST", "/suppliers", {"code": "T-1", "city": None}, ""),
        ("PUT", supplier, {"code": "S-1", "city": None}, ""),
        ("PATCH", supplier, {"city": None}, ""),
        ("POST", "/suppliers/bulk", {"items": two}, "items.1."),
        ("POST", "/suppliers/bulk", {"items": [{"code": f"T-{n}", "city": None} for n in range(300)]}, "items.0."),
    ]
    for method, path, body, place in null:
        told(await client.request(method, path, json=body), status=422, fields=[f"{place}city"], codes={"missing"})
    assert await state(app) == before


async def test_a_null_that_the_model_refuses_never_gets_there(client: Client, app: App) -> None:
    item, _ = await filled(client)
    before = await state(app)
    for body in ({"sku": None}, {"stock": None}, {"active": None}, {"grade": None}, {"price": None}):
        [name] = body
        for method, path in (("PUT", item), ("PATCH", item), ("POST", "/items")):
            response = await client.request(method, path, json={"sku": "A-1", **body})
            assert (response.status_code, fields_in(response)) == (422, [name]), (method, body, response.text)
    assert await state(app) == before


async def test_several_wrongs_are_one_refusal(client: Client, app: App) -> None:
    """Which constraint is named first is the database's business; nothing is written, and no text of SQL is told."""
    item, _ = await filled(client)
    before = await state(app)
    for body in (
        {"sku": "taken-1", "stock": -1},
        {"sku": "taken-1", "supplier_id": 99},
        {"stock": -1, "supplier_id": 99},
    ):
        response = await client.patch(item, json=body)
        assert response.status_code in (409, 422), response.text
        assert set(fields_in(response)) <= set(body)
        assert [word for word in NEVER if word in response.text.lower()] == []
    assert await state(app) == before
