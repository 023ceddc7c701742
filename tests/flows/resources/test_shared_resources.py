"""One resource in several applications: what it knows of its neighbours is that of each application alone."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.flows.resources.shop import calling

from uno.api import asgi
from uno.app import App, Module, Resource, Route, resource
from uno.data import Model, Repository, UnitOfWork
from uno.errors import Misconfigured


class Shared(Model):
    __abstract__ = True
    metadata = MetaData()


class Writer(Shared):
    __tablename__ = "shared_writers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Essay(Shared):
    __tablename__ = "shared_essays"
    id: Mapped[int] = mapped_column(primary_key=True)
    writer_id: Mapped[int] = mapped_column(ForeignKey("shared_writers.id"))
    writer: Mapped[Writer] = relationship(viewonly=True)


essays = resource(Essay, access="open", includable=["writer"])
# As a program has it: at the top level of a Python module, for all applications that are made of it.
LIBRARY = Module("library", routes=[essays])
OPEN: dict[str, Any] = {"id": 1, "name": "Ann"}
HIDDEN: dict[str, Any] = {"id": 1}


def made(writers: Resource, *more: Module, library: Module = LIBRARY) -> App:
    return App(library, Module("writers", routes=[writers]), *more, database="sqlite://")


def writers(**options: Any) -> Resource:
    return resource(Writer, access="open", **options)


async def shown(app: App) -> list[Any]:
    """The writer in a list, by its id, and as OpenAPI has it."""
    async with calling(app) as client:
        assert app.database is not None
        async with UnitOfWork(app.database):
            await Repository(Writer).add(Writer(id=1, name="Ann"))
            await Repository(Essay).add(Essay(id=1, writer_id=1))
        listed = (await client.get("/essays?include=writer")).json()["items"][0]["writer"]
        one = (await client.get("/essays/1?include=writer")).json()["writer"]
    schemas = asgi(app).openapi()["components"]["schemas"]
    extended = schemas["EssayExtended"]["properties"]["writer"]
    reference = next(one["$ref"] for one in extended["anyOf"] if "$ref" in one) if "anyOf" in extended else None
    name = (reference or extended["$ref"]).rpartition("/")[2]
    return [listed, one, sorted(schemas[name]["properties"])]


async def test_each_application_shows_what_its_own_neighbours_show() -> None:
    open_one, hiding = made(writers()), made(writers(hidden=["name"]))
    for _ in range(2):
        assert await shown(open_one) == [OPEN, OPEN, ["id", "name"]]
        assert await shown(hiding) == [HIDDEN, HIDDEN, ["id"]]
        open_one = made(writers())


async def test_handlers_that_are_given_by_hand_know_the_neighbours_too() -> None:
    routes = [Route(one.message, one.method, one.path, one.status, "open") for one in essays.routes]
    by_hand = Module("library", routes=routes, handlers=essays.handlers)
    assert await shown(made(writers(hidden=["name"]), library=by_hand)) == [HIDDEN, HIDDEN, ["id"]]


async def test_an_application_that_is_refused_changes_no_other() -> None:
    library = Module(
        "library", routes=[resource(Essay, access="open", includable=["writer"], filterable=["writer.name"])]
    )
    first = made(writers(), library=library)
    with pytest.raises(Misconfigured, match=r"filterable='writer\.name': Essay has no such attribute"):
        made(writers(hidden=["name"]), library=library)
    assert await shown(first) == [OPEN, OPEN, ["id", "name"]]
    assert await shown(made(writers(), library=library)) == [OPEN, OPEN, ["id", "name"]]


async def test_what_is_dispatched_reaches_the_application_it_is_dispatched_in() -> None:
    for app in (made(writers()), made(writers(hidden=["name"]))):
        async with app:
            assert (await app.bus.dispatch(essays.messages["list"]())).unwrap().items == []


async def timers_gone() -> None:
    """The event loop keeps cancelled timers, with their contexts, until it has more than a hundred of them."""
    loop = asyncio.get_running_loop()
    for _ in range(200):
        loop.call_later(60.0, lambda: None).cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_nothing_is_kept_of_applications_that_are_gone() -> None:
    kept: list[weakref.ref[Any]] = []
    for _ in range(3):
        neighbour = writers()
        app = made(neighbour)
        await shown(app)
        kept += [weakref.ref(app), weakref.ref(neighbour)]
        assert all(one() is not None for one in kept[-2:])
        del neighbour, app
    await timers_gone()
    gc.collect()
    assert [one() for one in kept] == [None] * 6
