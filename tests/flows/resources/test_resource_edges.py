"""What is hidden stays so in errors and filters; cursors that are given are taken; keys and versions at their ends."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, ForeignKey, MetaData, Numeric, SmallInteger, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.flows.resources.shop import Client, calling, fields_in

from uno.api import asgi
from uno.app import App, Module, resource
from uno.data import Model, Repository, UnitOfWork, VersionMixin
from uno.errors import Misconfigured
from uno.testing.postgres import DatabaseFarm


class Edges(Model):
    __abstract__ = True
    metadata = MetaData()


class Person(Edges):
    __tablename__ = "edge_people"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    phone: Mapped[str] = mapped_column(default="")


class Budget(Edges):
    __tablename__ = "edge_budgets"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    amount: Mapped[int] = mapped_column(default=0)
    grp: Mapped[str] = mapped_column(default="g")
    max_secret: Mapped[int] = mapped_column(default=40)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("edge_people.id"))
    person: Mapped[Person | None] = relationship(viewonly=True)
    __table_args__ = (CheckConstraint("amount <= max_secret", name="within"), UniqueConstraint("grp", "max_secret"))


class Small(Edges):
    __tablename__ = "edge_small"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    n: Mapped[int] = mapped_column(default=0)
    version: Mapped[int] = mapped_column(SmallInteger)
    __mapper_args__ = {"version_id_col": version}


class Numbered(VersionMixin, Edges):
    __tablename__ = "edge_numbered"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]


class Place(Edges):
    __tablename__ = "edge_places"
    shelf: Mapped[str] = mapped_column(String(20), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)


class Measure(Edges):
    __tablename__ = "edge_measures"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    exact: Mapped[Decimal | None] = mapped_column(Numeric)
    text: Mapped[str | None]


BULK = ("list", "create", "get", "merge", "bulk_create")


@pytest.fixture(params=["sqlite", "postgresql"])
async def app(request: pytest.FixtureRequest, farm: DatabaseFarm, tmp_path: Path) -> App:
    url = f"sqlite:///{tmp_path / 'edges.db'}" if request.param == "sqlite" else await farm.create()
    routes = [
        resource(Budget, access="open", hidden=["max_secret"], operations=BULK),
        resource(Small, access="open", operations=(*BULK, "bulk_delete"), max_bulk=1_500),
        resource(Place, access="open", operations=(*BULK, "bulk_delete")),
        resource(Numbered, access="open", prefix="/numbered"),
        resource(Measure, access="open", operations=(*BULK, "delete", "history")),
    ]
    return App(Module("edges", routes=routes), database=url)


@asynccontextmanager
async def opened(app: App) -> AsyncIterator[Client]:
    await app.create_schema()
    async with calling(app) as client:
        yield client


async def test_an_error_names_nothing_that_is_hidden(app: App) -> None:
    async with opened(app) as client:
        assert (await client.post("/budgets", json={"id": "a"})).status_code == 201
        check: list[tuple[str, str, Any]] = [
            ("POST", "/budgets", {"id": "b", "amount": 50, "grp": "h"}),
            ("PATCH", "/budgets/a", {"amount": 50}),
            ("POST", "/budgets/bulk", {"items": [{"id": "c", "grp": "i", "amount": 77}]}),
        ]
        twice: list[tuple[str, str, Any]] = [
            ("POST", "/budgets", {"id": "d"}),
            ("POST", "/budgets/bulk", {"items": [{"id": "d"}]}),
        ]
        for wanted, field, requests in ((422, "amount", check), (409, "grp", twice)):
            for method, path, body in requests:
                response = await client.request(method, path, json=body)
                place = "items.0." if path.endswith("/bulk") else ""
                assert (response.status_code, fields_in(response)) == (wanted, [place + field]), response.text
                assert "secret" not in response.text


async def test_a_version_beyond_its_column_does_not_fit(app: App) -> None:
    async with opened(app) as client:
        await client.post("/smalls", json={"id": "a"})
        for tag in ('"99999"', '"32768"', '"999999999"', '"99999", "32768"', '"99999999999999999999"', '"x"'):
            answer = await client.patch("/smalls/a", json={"n": 1}, headers={"If-Match": tag})
            assert answer.status_code == 412, (tag, answer.text)
        assert (await client.patch("/smalls/a", json={"n": 1}, headers={"If-Match": '"32767", "1"'})).status_code == 200


async def test_a_key_that_no_path_can_have_is_refused(app: App) -> None:
    async with opened(app) as client:
        for key in (".", "..", "", "/", "a/b", "a/history"):
            answer = await client.post("/smalls", json={"id": key})
            assert (answer.status_code, fields_in(answer)) == (422, ["id"])
            answer = await client.post("/budgets/bulk", json={"items": [{"id": key}]})
            assert (answer.status_code, fields_in(answer)) == (422, ["items.0.id"])
        for key in ("...", ".a", "a.", " ", "a%2Fb", "\\", "?", "\n"):
            answer = await client.post("/smalls", json={"id": key})
            assert (await client.get(answer.headers["location"])).json()["id"] == key


async def test_a_part_of_a_key_that_no_path_can_have_is_refused(app: App) -> None:
    async with opened(app) as client:
        for key in ("/", "a/b"):
            answer = await client.post("/places", json={"shelf": key, "place": 1})
            assert (answer.status_code, fields_in(answer)) == (422, ["shelf"])
            answer = await client.post("/places/bulk", json={"items": [{"shelf": key, "place": 1}]})
            assert (answer.status_code, fields_in(answer)) == (422, ["items.0.shelf"])
        for key in ("", ".", "..", "a,b", "\\"):
            answer = await client.post("/places", json={"shelf": key, "place": 1})
            assert (await client.get(answer.headers["location"])).json() == {"shelf": key, "place": 1}


async def test_what_has_a_key_that_no_path_can_have_is_listed_and_deleted_in_bulk(app: App) -> None:
    keys = ["", ".", "a/b"]
    async with opened(app) as client:
        assert app.database is not None
        async with UnitOfWork(app.database):
            await Repository(Small).insert_many([Small(id=key) for key in keys])
            await Repository(Place).insert_many([Place(shelf=key, place=1) for key in keys])
        for path, name in (("/smalls", "id"), ("/places", "shelf")):
            for query in ("", "&fields=" + name):
                answer = await client.get(f"{path}?sort={name}{query}")
                assert [one[name] for one in answer.json()["items"]] == keys, answer.text
        assert (await client.post("/smalls/bulk/delete", json={"ids": keys})).status_code == 204
        gone = await client.post("/places/bulk/delete", json={"ids": [[key, 1] for key in keys]})
        assert gone.status_code == 204


async def test_as_many_are_deleted_together_as_may_be_created(app: App) -> None:
    keys = [str(n) for n in range(1_500)]
    async with opened(app) as client:
        assert (await client.post("/smalls/bulk", json={"items": [{"id": key} for key in keys]})).status_code == 201
        lost = await client.post("/smalls/bulk/delete", json={"ids": [*keys[:-1], "none"]})
        assert (lost.status_code, "none" in lost.json()["detail"]) == (404, True)
        many = await client.post("/smalls/bulk/delete", json={"ids": [*keys, "more"]})
        assert (many.status_code, fields_in(many)) == (422, ["ids"])
        assert (await client.post("/smalls/bulk/delete", json={"ids": keys})).status_code == 204
        assert (await client.get("/smalls")).json()["items"] == []


async def test_openapi_says_which_keys_no_path_can_have(app: App) -> None:
    schemas = asgi(app).openapi()["components"]["schemas"]
    nameless = {"enum": ["", ".", ".."]}
    assert schemas["SmallCreate"]["properties"]["id"]["not"] == {"anyOf": [{"pattern": "/"}, nameless]}
    assert schemas["PlaceCreate"]["properties"]["shelf"]["not"] == {"pattern": "/"}


async def collected(client: Client, query: str) -> list[int]:
    found: list[int] = []
    after = ""
    while True:
        answer = await client.get(f"/measures?{query}&limit=2{after}")
        assert answer.status_code == 200, answer.text
        found += [one["id"] for one in answer.json()["items"]]
        if answer.json()["next"] is None:
            return found
        after = f"&after={answer.json()['next']}"


async def test_pages_go_on_behind_nan_and_infinities(app: App) -> None:
    ends = [-math.inf, -1.5, 0.0, 2.5, math.inf, math.inf, math.nan, math.nan]
    async with opened(app) as client:
        assert app.database is not None
        on_sqlite = app.database.backend == "sqlite"
        async with UnitOfWork(app.database):
            for id, value in enumerate(ends):
                exact = Decimal(0) if on_sqlite else Decimal(str(value))
                kept = None if on_sqlite and math.isnan(value) else value
                await Repository(Measure).add(Measure(id=id, value=kept, exact=exact))
            await Repository(Measure).add(Measure(id=8))
        # SQLite has no NaN; NULL comes last in both directions.
        downwards = [4, 5, 3, 2, 1, 0, 6, 7, 8] if on_sqlite else [6, 7, 4, 5, 3, 2, 1, 0, 8]
        for fields in ("", "&fields=id"):
            assert await collected(client, f"sort=value{fields}") == [0, 1, 2, 3, 4, 5, 6, 7, 8]
            assert await collected(client, f"sort=-value{fields}") == downwards
            if not on_sqlite:
                assert await collected(client, f"sort=exact{fields}") == [0, 1, 2, 3, 4, 5, 6, 7, 8]
                assert await collected(client, f"sort=-exact{fields}") == downwards


async def test_a_cursor_that_is_given_is_taken(app: App) -> None:
    async with opened(app) as client:
        assert app.database is not None
        async with UnitOfWork(app.database):
            for id in range(3):
                await Repository(Measure).add(Measure(id=id, text="ä" * 20_000))
        assert await collected(client, "sort=text") == [0, 1, 2]
        async with UnitOfWork(app.database):
            (await Repository(Measure).get(1)).text = "ä" * 30_000
        for fields in ("", "&fields=id"):
            answer = await client.get(f"/measures?sort=text&limit=2{fields}")
            assert answer.status_code == 200
            answer = await client.get(f"/measures?sort=-text&limit=1{fields}")
            assert (answer.status_code, fields_in(answer)) == (400, ["sort"])
        assert (await client.get("/measures?sort=-text")).status_code == 200


DIGITS = ["0", "1.10", "0.0000001", "0.00000000000123", "-12.5", "0.123456789012345", "5" + "0" * 30]
# More than SQLite keeps.
MANY = ["123456789012345678901234567890.123456789", "7" * 40, "3.1415926535897932384626"]


async def test_what_is_shown_of_a_new_number_is_what_is_stored(app: App) -> None:
    async with opened(app) as client:
        assert app.database is not None
        on_sqlite = app.database.backend == "sqlite"
        for number in MANY if on_sqlite else ():
            refused = await client.post("/measures", json={"exact": number})
            assert (refused.status_code, fields_in(refused)) == (422, ["exact"])
        numbers = DIGITS if on_sqlite else [*DIGITS, *MANY]
        for number in numbers:
            new = await client.post("/measures", json={"exact": number})
            there = new.headers["location"]
            shown = await client.get(there)
            assert (new.json(), new.headers["etag"]) == (shown.json(), shown.headers["etag"])
            changed = await client.patch(there, json={"exact": "3.14159265358979"})
            shown = await client.get(there)
            assert (changed.json(), changed.headers["etag"]) == (shown.json(), shown.headers["etag"])
            assert (await client.delete(there, headers={"If-Match": changed.headers["etag"]})).status_code == 204
            # Nothing is written twice; SQLite gives the same key again.
            last = (await client.get(f"{there}/history")).json()["items"][-3:]
            assert [one["operation"] for one in last] == ["create", "update", "delete"]
        several = await client.post("/measures/bulk", json={"items": [{"exact": number} for number in numbers]})
        assert several.json()["items"] == (await client.get("/measures?sort=id")).json()["items"]


WRONG: list[tuple[list[dict[str, Any]], str]] = [
    ([{"filterable": ["person.phone"]}], "filterable='person.phone': Budget has no such attribute that can be seen"),
    ([{"require_if_match": True, "operations": ["get", "bulk_delete"]}], "bulk_delete of Budget knows no conditions"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_would_undo_a_promise_is_refused_at_start(options: list[dict[str, Any]], message: str) -> None:
    for first in (True, False):
        person = resource(Person, access="open", hidden=["phone"])
        budget = resource(Budget, access="open", **options[0])
        with pytest.raises(Misconfigured, match=message):
            App(Module("edges", routes=[person, budget] if first else [budget, person]), database="sqlite://")


def test_what_is_seen_elsewhere_can_be_filtered_by() -> None:
    routes = [resource(Person, access="open"), resource(Budget, access="open", filterable=["person.phone"])]
    assert App(Module("edges", routes=routes), database="sqlite://").endpoints


def test_a_number_with_a_negative_scale_is_refused() -> None:
    class Rounded(Model):
        __abstract__ = True
        metadata = MetaData()

    class Hundreds(Rounded):
        __tablename__ = "edge_hundreds"
        id: Mapped[int] = mapped_column(primary_key=True)
        total: Mapped[Decimal] = mapped_column(Numeric(10, -2))

    with pytest.raises(Misconfigured, match="Hundreds.total is of a type of which there is no JSON; hide it"):
        App(Module("edges", routes=[resource(Hundreds, access="open")]), database="sqlite://")


async def test_a_number_is_not_given_twice(app: App) -> None:
    async with opened(app) as client:
        first = await client.post("/numbered", json={"owner": "ada"})
        there = first.headers["location"]
        assert (await client.delete(there)).status_code == 204
        second = (await client.post("/numbered", json={"owner": "bob"})).headers["location"]
        assert second != there
        stale = await client.patch(there, json={"owner": "ada2"}, headers={"If-Match": first.headers["etag"]})
        assert stale.status_code == 404
        entries = (await client.get(f"{second}/history")).json()["items"]
        assert [one["after"]["owner"] for one in entries] == ["bob"]
