"""include=: what an object refers to, in the same answer."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import ForeignKey, MetaData, Numeric
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.flows.resources.shop import Client, calling, fields_in

from uno.api import asgi
from uno.app import App, Module, resource
from uno.data import Database, Model, SoftDeleteMixin, UUIDMixin, VersionMixin, schema
from uno.data.filters import Limits
from uno.data.related import Extending
from uno.data.unit_of_work import UnitOfWork
from uno.errors import Misconfigured
from uno.security import JWTAuthProvider, JWTSettings


class Base(Model):
    __abstract__ = True
    metadata = MetaData(naming_convention=Model.metadata.naming_convention)


class Novelist(SoftDeleteMixin, Base):
    __tablename__ = "included_novelists"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    income: Mapped[int | None]
    pin: Mapped[str] = mapped_column(default="0000", info={"hidden": True})
    novels: Mapped[list["Novel"]] = relationship(
        viewonly=True, order_by="Novel.title.desc()", back_populates="novelist"
    )


class Novel(UUIDMixin, VersionMixin, SoftDeleteMixin, Base):
    __tablename__ = "included_novels"
    title: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    novelist_id: Mapped[int | None] = mapped_column(ForeignKey("included_novelists.id"))
    before_id: Mapped[Any | None] = mapped_column(ForeignKey("included_novels.id"))
    novelist: Mapped[Novelist | None] = relationship(viewonly=True, back_populates="novels")
    before: Mapped["Novel | None"] = relationship(viewonly=True, remote_side="Novel.id")
    genres: Mapped[list["Genre"]] = relationship(viewonly=True, secondary="included_kinds")


class Genre(Base):
    __tablename__ = "included_genres"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    weight: Mapped[Any] = mapped_column(Numeric(5, 2), default=1)


class Kind(Base):
    __tablename__ = "included_kinds"
    novel_id: Mapped[Any] = mapped_column(ForeignKey("included_novels.id"), primary_key=True)
    genre_id: Mapped[int] = mapped_column(ForeignKey("included_genres.id"), primary_key=True)


NOVELS = ("novelist", "before", "genres")


def library(url: str, **options: Any) -> App:
    routes = [
        resource(Novel, access="open", includable=NOVELS),
        resource(Novelist, access="open", includable=["novels"], **options),
        resource(Genre, access="open", hidden=["weight"]),
    ]
    return App(Module("library", models=[Kind], routes=routes), database=url)


async def fill(app: App) -> None:
    assert app.database is not None
    async with UnitOfWork(app.database) as uow:
        for n, name in ((1, 'A"n\n'), (2, "Bob"), (3, "Eve")):
            await uow.repository(Novelist).add(Novelist(id=n, name=name, income=n))
        genres = [await uow.repository(Genre).add(Genre(id=n, name=f"g{n}")) for n in (1, 2)]
        first = await uow.repository(Novel).add(Novel(title="one", novelist_id=1, data={"a": [1.5, None, "\x01é"]}))
        await uow.flush()
        second = await uow.repository(Novel).add(Novel(title="two", novelist_id=1, before_id=first.id))
        await uow.repository(Novel).add(Novel(title="three", novelist_id=2))
        await uow.repository(Novel).add(Novel(title="zero"))
        await uow.flush()
        for genre in reversed(genres):
            await uow.repository(Kind).add(Kind(novel_id=second.id, genre_id=genre.id))
        await uow.repository(Novelist).soft_delete(2)


@pytest.fixture
async def url(url: str) -> str:
    """A database with the tables of these models."""
    if url != "sqlite://":
        async with Database(url) as database:
            await schema.create(database, [Base.metadata])
    return url


@pytest.fixture
async def client(url: str, pages: list[Any]) -> AsyncIterator[Client]:
    app = library(url)
    async with calling(app) as client:
        await fill(app)
        yield client


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The pages that the database has made the JSON of."""
    found: list[Any] = []
    page = Extending.page

    async def noted(*args: Any) -> Any:
        found.append(args)
        return await page(*args)

    monkeypatch.setattr(Extending, "page", noted)
    return found


async def items(client: Client, path: str) -> list[dict[str, Any]]:
    response = await client.get(path)
    assert response.status_code == 200, response.text
    return response.json()["items"]  # type: ignore[no-any-return]


async def test_what_is_included_is_shown_and_no_more(client: Client) -> None:
    one, three, two, zero = await items(client, "/novels?sort=title&include=novelist,before,genres")
    assert one["novelist"] == {"id": 1, "name": 'A"n\n', "income": 1, "deleted_at": None}
    assert three["novelist"] is None  # who is deleted is not there
    assert (zero["novelist"], zero["before"], zero["genres"]) == (None, None, [])
    assert two["before"] == {name: value for name, value in one.items() if name not in NOVELS}
    assert two["genres"] == [{"id": 1, "name": "g1"}, {"id": 2, "name": "g2"}]  # the resource of genres hides more
    ann, eve = await items(client, "/novelists?include=novels&sort=name")
    assert ([novel["title"] for novel in ann["novels"]], eve["novels"]) == (["two", "one"], [])


async def test_both_ways_show_the_same(client: Client, pages: list[Any]) -> None:
    for path, names in (
        ("/novels", NOVELS[:1]),
        ("/novels", NOVELS[:2]),
        ("/novels", NOVELS),
        ("/novelists", ["novels"]),
    ):
        await _compare(client, pages, path, names)
        # Decimals have no form in SQLite's JSON.
        assert pages or "genres" in names


async def _compare(client: Client, pages: list[Any], path: str, names: Sequence[str]) -> None:
    include = ",".join(names)
    for asked in ("", "&limit=2&sort=-id", "&limit=1"):
        made = (await client.get(f"{path}?include={include}{asked}")).json()
        by_database = len(pages)
        fields = ",".join(name for name in made["items"][0] if name not in names)
        slow = (await client.get(f"{path}?include={include}{asked}&fields={fields}")).json()
        assert (by_database, len(pages)) == (len(pages), by_database)
        assert made == slow
        for one in made["items"]:
            response = await client.get(f"{path}/{one['id']}?include={include}")
            assert response.json() == one
            assert "etag" not in response.headers  # its version says nothing of what is included
            known = await client.get(f"{path}/{one['id']}?include={include}", headers={"If-None-Match": "*"})
            assert known.status_code == 200
            wrong = await client.get(f"{path}/{one['id']}?include={include}", headers={"If-None-Match": "'K$"})
            assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (400, "If-None-Match")
            chosen = await client.get(f"{path}/{one['id']}?include={include}&fields=id")
            assert chosen.json() == {"id": one["id"], **{name: one[name] for name in names}}


WRONG = [
    "nothing",
    "novelist,nothing",
    "novels",
    "novelist.novels",
    "__class__",
    "id",
    "data",
    "novelist ",
    "x" * 5_000,
]


async def test_what_cannot_be_included_is_named(client: Client) -> None:
    there = (await items(client, "/novels"))[0]["id"]
    asked = [f"{path}?include={name}" for path in ("/novels", f"/novels/{there}") for name in WRONG]
    asked += ["/novels?include=novelist&include=before", "/genres?include=novels"]
    for one in (*asked, f"/novels?include={','.join(map(str, range(10_000)))}"):
        response = await client.get(one)
        assert (response.status_code, set(fields_in(response))) == (400, {"include"}), one


async def test_too_many_beside_one_are_refused_both_ways(url: str) -> None:
    app = library(url, limits=Limits(included=1))
    async with calling(app) as client:
        await fill(app)
        for asked in ("", "&fields=id"):
            for path in ("/novelists", "/novelists/1"):
                response = await client.get(f"{path}?include=novels{asked}")
                assert (response.status_code, fields_in(response)) == (400, ["include"]), response.text
            assert [one["id"] for one in await items(client, f"/novelists?id=3&include=novels{asked}")] == [3]


async def test_who_may_not_read_it_may_not_include_it(url: str) -> None:
    auth = JWTAuthProvider(JWTSettings(secret_key=SecretStr("a secret of forty letters, for tests only")))
    routes = [
        resource(Novel, access="open", includable=["novelist", "genres"]),
        resource(Novelist, permissions={"get": ["novelists:read"]}),
        resource(Genre, access={"list": "authenticated"}),
    ]
    app = App(Module("library", models=[Kind], routes=routes), database=url, auth=auth)
    async with calling(app) as client:
        await fill(app)
        there = f"/novels/{(await items(client, '/novels'))[0]['id']}"
        tokens = [await auth.create_token({"sub": "ada", "permissions": p}) for p in ([], ["novelists:read"])]
        headers: list[dict[str, str]] = [{}, *({"Authorization": f"Bearer {one}"} for one in tokens)]
        for path in ("/novels", there):
            for include, wanted in (("novelist", [401, 403, 200]), ("genres", [401, 200, 200])):
                found = [await client.get(f"{path}?include={include}", headers=one) for one in headers]
                assert [one.status_code for one in found] == wanted


async def test_python_gets_the_objects(url: str) -> None:
    app = library(url)
    novels = app.modules[0].routes[0].messages  # type: ignore[union-attr]
    async with app:
        await fill(app)
        page = (await app.bus.dispatch(novels["list"](include=("novelist",), sort="title"))).unwrap()
        assert [one.novelist and one.novelist.name for one in page.items] == ['A"n\n', "Bob", 'A"n\n', None]


def test_the_document_says_what_can_be_included() -> None:
    document = asgi(library("sqlite://")).openapi()
    for path in ("/novels", "/novels/{id}"):
        told = {one["name"]: one for one in document["paths"][path]["get"]["parameters"]}
        assert told["include"]["schema"] == {"type": "array", "items": {"type": "string", "enum": list(NOVELS)}}
        assert (told["include"]["style"], told["include"]["explode"]) == ("form", False)
    assert "include" not in json.dumps(document["paths"]["/genres"]["get"]["parameters"])
    schema = document["components"]["schemas"]["NovelExtended"]
    assert set(NOVELS) <= set(schema["properties"])
    assert set(NOVELS).isdisjoint(schema["required"])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"includable": ["nothing"]}, "no relationship of Novel; it has before, genres, novelist"),
        ({"includable": ["title"]}, "no relationship of Novel"),
        ({"includable": ["before"], "serialise": dict}, "has no place for includable"),
    ],
)
def test_what_cannot_be_included_is_a_mistake(options: dict[str, Any], why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        App(Module("library", routes=[resource(Novel, access="open", **options)]), database="sqlite://")
