"""Classes declared in every way are resources alike, on PostgreSQL and on SQLite."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.contracts.kinds import KINDS, TABLES, Bare, Old
from tests.flows.resources.shop import EVERYTHING, Client, calling, fields_in

from uno.app import App, Module, resource
from uno.bus import command_handler
from uno.data import Database, Repository, UnitOfWork, schema
from uno.messages import Command
from uno.testing.postgres import DatabaseFarm


async def create(url: str) -> None:
    async with Database(url) as database:
        await schema.create(database, [TABLES])


@pytest.fixture(scope="module")
async def kinds_farm(farm: DatabaseFarm) -> DatabaseFarm:
    await farm.template("kinds", create)
    return farm


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
async def where(request: pytest.FixtureRequest, kinds_farm: DatabaseFarm) -> str:
    return "sqlite://" if request.param == "sqlite" else await kinds_farm.create("kinds")


@pytest.fixture(scope="module")
async def client(where: str) -> AsyncIterator[Client]:
    routes = [resource(kind, access="open", prefix=_path(kind), operations=EVERYTHING) for kind in KINDS]
    async with calling(App(Module("kinds", routes=routes), database=where)) as client:
        yield client


def _path(kind: type) -> str:
    return f"/{kind.__name__.lower()}"


@pytest.fixture(params=KINDS, ids=lambda cls: cls.__name__)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def path(client: Client, kind: Any) -> str:
    path = _path(kind)
    ids = [one["id"] for one in (await client.get(path)).json()["items"]]
    if ids:
        await client.post(f"{path}/bulk/delete", json={"ids": ids})
    return path


WHOLE = {
    "name": "Ada", "rank": 1, "state": "new", "price": "1.50", "born": "2026-01-31T09:30:00+00:00",
    "data": {}, "note": None, "deleted_at": None, "version": 1,
}  # fmt: skip


async def test_every_operation_does_the_same(client: Client, path: str) -> None:
    made = await client.post(path, json={"name": "Ada"})
    assert made.status_code == 201, made.text
    there = made.headers["location"]
    id = made.json()["id"]
    assert made.json() == {"id": id, **WHOLE}
    found = await client.get(there)
    assert (found.json(), found.headers["etag"]) == (made.json(), '"1"')
    assert (await client.get(f"{path}?name=Ada&fields=name,rank")).json()["items"] == [{"name": "Ada", "rank": 1}]

    merged = await client.patch(there, json={"data": {"a": {"b": 1}}, "state": "sent"}, headers={"If-Match": '"1"'})
    assert (merged.json()["data"], merged.json()["state"], merged.headers["etag"]) == ({"a": {"b": 1}}, "sent", '"2"')
    stale = await client.patch(there, json={"note": "x"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    put = await client.put(there, json={"name": "Bob", "price": "2.5", "born": "2026-02-01T00:00:00+02:00"})
    assert put.json() == {
        **WHOLE, "id": id, "name": "Bob", "price": "2.50", "born": "2026-01-31T22:00:00+00:00", "version": 3,
    }  # fmt: skip
    assert (await client.get(there)).json() == put.json()

    assert (await client.delete(there)).status_code == 204
    assert (await client.get(there)).status_code == 404
    back = await client.post(f"{there}/restore")
    assert (back.status_code, back.json()["deleted_at"], back.json()["version"]) == (200, None, 5)
    entries = (await client.get(f"{there}/history")).json()["items"]
    assert [one["operation"] for one in entries] == ["create", "update", "update", "soft_delete", "restore"]
    assert entries[1]["after"] == {"data": {"a": {"b": 1}}, "state": "sent"}


async def test_lists_are_filtered_sorted_and_paged(client: Client, path: str) -> None:
    items = [{"name": f"n{n}", "rank": n, "data": {"n": n}, "price": f"{n}.25"} for n in range(5)]
    made = await client.post(f"{path}/bulk", json={"items": items})
    assert (made.status_code, len(made.json()["items"])) == (201, 5)

    async def names(query: str) -> list[str]:
        found = await client.get(f"{path}?{query}")
        assert found.status_code == 200, found.text
        return [one["name"] for one in found.json()["items"]]

    assert await names("rank__gte=2&sort=-rank") == ["n4", "n3", "n2"]
    assert await names("data.n=3") == ["n3"]
    assert await names("price__between=1,3&sort=name") == ["n1", "n2"]
    assert await names("state=sent") == []
    assert await names("name__icontains=N1") == ["n1"]
    assert await names("born__lte=2026-01-31T10:30:00%2B01:00&limit=2&sort=name") == ["n0", "n1"]
    first = (await client.get(f"{path}?sort=-rank&limit=2&total=true")).json()
    rest = (await client.get(f"{path}?sort=-rank&after={first['next']}")).json()
    assert ([one["rank"] for one in first["items"] + rest["items"]], first["total"]) == ([4, 3, 2, 1, 0], 5)
    assert (await client.get(f"{path}?nmae=x")).status_code == 400


async def test_wrong_bodies_name_their_fields(client: Client, path: str, kind: Any) -> None:
    there = (await client.post(path, json={"name": "Ada"})).headers["location"]
    wrong: list[tuple[Any, str]] = [
        ({"rank": "x"}, "rank"),
        ({"rank": 2**31}, "rank"),
        ({"name": "far too long for the column"}, "name"),
        ({"name": None}, "name"),
        ({"state": "lost"}, "state"),
        ({"price": "1.234"}, "price"),
        ({"born": "2026-01-01T00:00:00"}, "born"),
        ({"version": 7}, "version"),
        ({"id": 7}, "id"),
        ({"deleted_at": None}, "deleted_at"),
        ({"__class__": 1}, "__class__"),
        ({"metadata": 1}, "metadata"),
        ({"_sa_instance_state": 1}, "_sa_instance_state"),
    ]
    wrong += [] if kind is Old else [({"rank": -1}, "rank")]
    wrong += [] if kind in (Old, Bare) else [({"name": "x"}, "name")]
    for body, field in wrong:
        for response in (
            await client.post(path, json={"name": "Bob", **body}),
            await client.patch(there, json=body),
            await client.put(there, json={"name": "Ada", "price": 1, "born": "2026-01-01T00:00:00Z", **body}),
        ):
            assert (response.status_code, fields_in(response)) == (422, [field]), response.text
    twice = await client.post(path, json={"name": "Ada"})
    assert (twice.status_code, fields_in(twice)) == (409, ["name"])
    assert (await client.get(there)).json()["version"] == 1


async def test_openapi_says_what_the_class_says(client: Client) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    for kind in KINDS:
        said = schemas[f"{kind.__name__}Create"]
        assert said["required"] == ["name"]
        assert said["properties"]["name"]["maxLength"] == 20
        assert said["additionalProperties"] is False
        assert "id" not in said["properties"]
    assert schemas["LiteCreate"]["properties"]["rank"]["minimum"] == 0


# ── handlers ──


@pytest.mark.parametrize("kind", [one for one in KINDS if one is not Old], ids=lambda cls: cls.__name__)
async def test_a_handler_may_ask_for_it(where: str, kind: Any) -> None:
    class Promote(Command[int]):
        hero_id: int

    class Enlist(Command[int]):
        title: str

    @command_handler(Promote)
    async def promote(command: Promote, hero: kind) -> int:  # type: ignore[valid-type]
        hero.rank += 1  # type: ignore[attr-defined]
        return int(hero.rank)  # type: ignore[attr-defined]

    @command_handler(Enlist)
    async def enlist(command: Enlist, heroes: Repository[kind]) -> int:  # type: ignore[valid-type]
        found = await heroes.find_one(name=command.title)
        return int(found.id)

    app = App(Module("army", models=[kind], handlers=[promote, enlist]), database=where)
    async with app:
        async with UnitOfWork(app.database):
            await Repository(kind).insert_many([{"name": f"h{kind.__name__}"}])
        id = (await app.bus.dispatch(Enlist(title=f"h{kind.__name__}"))).unwrap()
        assert (await app.bus.dispatch(Promote(hero_id=id))).unwrap() == 2
        missing = await app.bus.dispatch(Promote(hero_id=987654))
        assert "There is no" in str(missing.error)
