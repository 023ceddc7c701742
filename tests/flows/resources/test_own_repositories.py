"""A repository that hides something hides it from every operation."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Mapped, mapped_column
from tests.flows.resources.shop import Base, Client, calling

from uno.app import App, Module, resource
from uno.data import Database, Page, Repository, SoftDeleteMixin, UnitOfWork, VersionMixin
from uno.errors import Misconfigured

EVERYTHING = ("list", "create", "get", "replace", "merge", "delete", "history", "bulk_delete")


class Memo(VersionMixin, SoftDeleteMixin, Base):
    __tablename__ = "rest_memos"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]


class Slip(Base):
    """No version: a change that expects something locks the row."""

    __tablename__ = "rest_slips"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]


class Mine(Repository[Any]):
    async def get_by_id(self, id: Any, **options: Any) -> Any:
        found = await super().get_by_id(id, **options)
        return found if found is None or found.owner == "me" else None

    async def page(self, *filters: Any, **options: Any) -> Page[Any]:
        return await super().page(*filters, owner="me", **options)


class Memos(Mine, Repository[Memo]):
    pass


class Slips(Mine, Repository[Slip]):
    pass


class Finding(Repository[Memo]):
    async def find(self, *filters: Any, **options: Any) -> list[Memo]:
        return await super().find(*filters, owner="me", **options)


class Paging(Finding):
    async def page(self, *filters: Any, **options: Any) -> Page[Memo]:
        return await super().page(*filters, owner="me", **options)


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    routes = [
        resource(Memos(), access="open", operations=[*EVERYTHING, "restore"]),
        resource(Slips(), access="open", operations=EVERYTHING),
    ]
    app = App(Module("memos", routes=routes), database=url)
    async with Database(url) as database:
        await database.create_tables([Base.metadata])
    async with calling(app) as client:
        yield client


@pytest.mark.parametrize("path", ["/memos", "/slips"])
async def test_what_a_repository_hides_is_hidden_from_every_operation(client: Client, path: str) -> None:
    for owner in ("you", "me"):
        assert (await client.post(path, json={"owner": owner})).status_code == 201
    assert [one["id"] for one in (await client.get(path)).json()["items"]] == [2]
    assert (await client.get(path, params={"total": True})).json()["total"] == 1
    for number, found in ((1, 404), (2, 200)):
        there = f"{path}/{number}"
        assert (await client.get(there)).status_code == found
        assert (await client.get(f"{there}/history")).status_code == found
        assert (await client.patch(there, json={"owner": "me"}, headers={"if-match": "*"})).status_code == found
        assert (await client.put(there, json={"owner": "me"})).status_code == found
    assert (await client.post(f"{path}/bulk/delete", json={"ids": [2, 1]})).status_code == 404
    assert (await client.delete(f"{path}/1")).status_code == 404
    assert [one["id"] for one in (await client.get(path)).json()["items"]] == [2]


async def test_where_something_is_hidden_no_history_outlives_what_it_is_about(client: Client) -> None:
    """Nobody could say whether it was hidden."""
    await client.post("/memos", json={"owner": "me"})
    assert (await client.delete("/memos/1")).status_code == 204
    assert [one["operation"] for one in (await client.get("/memos/1/history")).json()["items"]][-1] == "soft_delete"
    await client.post("/slips", json={"owner": "me"})
    assert (await client.delete("/slips/1")).status_code == 204
    assert (await client.get("/slips/1/history")).status_code == 404


async def test_only_what_was_deleted_has_a_history_that_outlives_it() -> None:
    app = App(Module("slips", routes=[resource(Slip, access="open")]), database="sqlite://")
    async with calling(app) as client:
        for _ in range(2):
            await client.post("/slips", json={"owner": "me"})
        await client.delete("/slips/1")
        async with UnitOfWork(app.database) as uow:
            await (await uow.transaction()).execute(delete(Slip))
        found = [await client.get(f"/slips/{number}/history") for number in (1, 2, 3)]
    assert [one.status_code for one in found] == [200, 404, 404]
    assert [one["operation"] for one in found[0].json()["items"]] == ["create", "delete"]


@pytest.mark.parametrize("source", [Finding, Finding()])
def test_a_list_that_would_not_ask_an_own_find_is_refused(source: Any) -> None:
    with pytest.raises(Misconfigured, match="Finding has a find of its own, but a list asks page and count; override"):
        _ = resource(source).messages
    assert resource(source, operations=["get"]).messages
    assert resource(Paging).messages
