"""What handlers answer shows of stored objects what a resource shows: the key, and nothing that is hidden."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from types import new_class
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Column, Integer, MetaData, String, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column, registry
from sqlmodel import Field, SQLModel
from tests.flows.resources.shop import Client, calling

from uno.app import App, Module, Route, resource
from uno.bus import command_handler, query_handler
from uno.data import (
    ActorMixin,
    Database,
    Model,
    Page,
    Repository,
    SoftDeleteMixin,
    TimestampMixin,
    ULIDMixin,
    UUIDMixin,
    VersionMixin,
    schema,
)
from uno.domain import AggregateRoot
from uno.messages import Command, Query
from uno.testing.postgres import DatabaseFarm

TABLES = MetaData()
HIDDEN = {"hidden": True}
SECRET = 4_711


class Own(Model):
    __abstract__ = True
    metadata = TABLES


class Book(UUIDMixin, VersionMixin, SoftDeleteMixin, TimestampMixin, ActorMixin, Own):
    __tablename__ = "shown_books"
    title: Mapped[str]
    published: Mapped[date | None]
    lent: Mapped[timedelta | None]
    cost: Mapped[int] = mapped_column(default=SECRET, info=HIDDEN)


class Shelf(ULIDMixin, Own):
    __tablename__ = "shown_shelves"
    title: Mapped[str]
    cost: Mapped[int] = mapped_column(default=SECRET, info=HIDDEN)


class Lite(SQLModel, table=True):
    __tablename__ = "shown_lites"
    metadata = TABLES
    id: int | None = Field(default=None, primary_key=True)
    title: str
    cost: int = Field(default=SECRET, sa_column_kwargs={"info": HIDDEN})


class Datas(MappedAsDataclass, DeclarativeBase):
    metadata = TABLES


class Dataish(Datas):
    __tablename__ = "shown_dataish"
    id: Mapped[int] = mapped_column(init=False, primary_key=True)
    title: Mapped[str]
    cost: Mapped[int] = mapped_column(default=SECRET, info=HIDDEN)


class Mapped_:
    def __init__(self, title: str) -> None:
        self.title = title
        self.cost = SECRET


registry().map_imperatively(
    Mapped_,
    Table(
        "shown_mapped",
        TABLES,
        Column("id", Integer, primary_key=True),
        Column("title", String, nullable=False),
        Column("cost", Integer, info=HIDDEN),
    ),
)


@dataclass
class Paper(AggregateRoot[str]):
    id: str
    title: str
    cost: int = field(default=SECRET, metadata=HIDDEN)


KINDS: list[Any] = [Book, Shelf, Lite, Dataish, Mapped_, Paper]


def new(cls: Any) -> Any:
    return Paper(id="p", title="t") if cls is Paper else cls(title="t")


def routes(cls: Any) -> tuple[dict[str, Any], list[Any]]:
    """A route for each type that may have an object of the class inside, with its handler."""

    class Nested(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        one: cls
        several: list[cls]

    class Deep(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        left: Nested | None
        right: Nested

    class Untyped(BaseModel):
        one: Any

    @dataclass
    class Data:
        one: cls

    nested: Any = lambda one: Nested.model_construct(one=one, several=[one])  # noqa: E731
    shapes: dict[str, tuple[Any, Any]] = {
        "one": (cls, lambda one: one),
        "maybe": (cls | None, lambda one: one),
        "list": (list[cls], lambda one: [one]),
        "dict": (dict[str, cls], lambda one: {"it": one}),
        "page": (Page[cls], lambda one: Page([one])),
        "model": (Nested, nested),
        "deep": (Deep, lambda one: Deep.model_construct(left=nested(one), right=nested(one))),
        "untyped": (Untyped, lambda one: Untyped(one=[one])),
        "data": (Data, Data),
        "any": (Any, lambda one: {"it": [one, {"deep": one}], "nested": nested(one), "data": Data(one)}),
    }
    made, handlers = {}, []
    for name, (promised, make) in shapes.items():
        message, handler = query(cls, name, promised, make)
        made[name], handlers = Route(message, path=f"/{name}", method="GET", access="open"), [*handlers, handler]
    return made, handlers


def query(cls: Any, name: str, promised: Any, make: Any) -> tuple[Any, Any]:
    message = new_class(f"Get{name.capitalize()}", (Query[promised],))

    @query_handler(message)
    async def get(query: Any, known: Repository[cls]) -> Any:
        return make((await known.find(limit=1))[0])

    return message, get


async def create_schema(url: str) -> None:
    async with Database(url) as database:
        await schema.create(database, [TABLES])


@pytest.fixture(scope="module", autouse=True)
async def tables(farm: DatabaseFarm) -> None:
    await farm.template("shown", create_schema)


@pytest.fixture(params=["sqlite", "postgresql"])
async def address(request: pytest.FixtureRequest, farm: DatabaseFarm) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield "sqlite://"
    else:
        async with farm.database("shown") as url:
            yield url


class Make(Command[Any]):
    pass


def places(found: Any) -> list[dict[str, Any]]:
    """All objects with a title inside."""
    if isinstance(found, list):
        return [one for inner in found for one in places(inner)]
    if not isinstance(found, dict):
        return []
    return [found] if "title" in found else [one for inner in found.values() for one in places(inner)]


@pytest.mark.parametrize("cls", KINDS)
async def test_any_answer_shows_what_the_resource_shows(cls: Any, address: str) -> None:
    made, handlers = routes(cls)

    @command_handler(Make)
    async def make(command: Make, known: Repository[cls]) -> Any:
        return await known.add(new(cls))

    stored = resource(cls, prefix="/stored", access="open")
    routed = [stored, Route(Make, path="/make", method="POST", access="open"), *made.values()]
    app = App(Module("m", models=[cls], handlers=[make, *handlers], routes=routed), database=address)
    async with calling(app) as client:
        first = await client.post("/make")
        assert first.status_code == 200, first.text
        [wanted] = (await client.get("/stored")).json()["items"]
        assert "id" in wanted
        assert "cost" not in wanted
        assert first.json() == wanted
        for name in made:
            answer = await client.get(f"/{name}")
            assert answer.status_code == 200, (name, answer.text)
            found = places(answer.json())
            assert found, name
            assert all(one == wanted for one in found), (name, answer.json())
            assert str(SECRET) not in answer.text
        await document_hides(client, cls.__name__, wanted)


async def document_hides(client: Client, name: str, wanted: dict[str, Any]) -> None:
    document = (await client.get("/openapi.json")).json()
    assert '"cost"' not in json.dumps(document)
    schemas = document["components"]["schemas"]
    assert not [one for one in schemas if one[-1].isdigit()], sorted(schemas)  # two of one name
    assert set(schemas[name]["properties"]) == set(wanted)
    for path in ("/one", "/list", "/dict", "/model", "/deep", "/data", "/page"):
        told = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert f"#/components/schemas/{name}" in references(told, schemas), path


def references(told: Any, schemas: dict[str, Any], seen: frozenset[str] = frozenset()) -> set[str]:
    """The names of all schemas that are inside."""
    if isinstance(told, list):
        return {one for inner in told for one in references(inner, schemas, seen)}
    if not isinstance(told, dict):
        return set()
    found = {told["$ref"]} if "$ref" in told else set()
    inner = [schemas[one.rpartition("/")[2]] for one in found - seen]
    return found | references([*told.values(), *inner], schemas, seen | found)
