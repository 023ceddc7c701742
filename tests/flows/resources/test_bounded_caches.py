"""Whatever clients ask for, no more than so much is remembered, and what is usual goes the fast way again."""

import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice, permutations
from typing import Any

import pytest
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.flows.resources.shop import Base, Client, Parcel, calling

from uno.api import list_query
from uno.app import App, Module, resource, resource_handlers
from uno.app.representation import shown
from uno.data import Database, Filter, UUIDMixin, VersionMixin, database, rendered
from uno.data.paging import Order
from uno.data.rendered import Renderer
from uno.data.statement import Prepared

NAMES = [f"c{n}" for n in range(8)]
SPOKES = [f"spoke{n}" for n in range(4)]
COLUMNS = {name: mapped_column(default=0) for name in NAMES}
Wide: Any = type(
    "Wide",
    (VersionMixin, UUIDMixin, Base),
    {"__tablename__": "rest_wide", "__annotations__": dict.fromkeys(NAMES, Mapped[int]), **COLUMNS},
)


class Spoke(Base):
    __tablename__ = "rest_spokes"
    id: Mapped[int] = mapped_column(primary_key=True)


class Hub(Base):
    __tablename__ = "rest_hubs"
    id: Mapped[int] = mapped_column(primary_key=True)
    spoke0_id: Mapped[int | None] = mapped_column(ForeignKey(Spoke.id))
    spoke1_id: Mapped[int | None] = mapped_column(ForeignKey(Spoke.id))
    spoke2_id: Mapped[int | None] = mapped_column(ForeignKey(Spoke.id))
    spoke3_id: Mapped[int | None] = mapped_column(ForeignKey(Spoke.id))
    spoke0: Mapped[Spoke | None] = relationship(foreign_keys=[spoke0_id], viewonly=True)
    spoke1: Mapped[Spoke | None] = relationship(foreign_keys=[spoke1_id], viewonly=True)
    spoke2: Mapped[Spoke | None] = relationship(foreign_keys=[spoke2_id], viewonly=True)
    spoke3: Mapped[Spoke | None] = relationship(foreign_keys=[spoke3_id], viewonly=True)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Renderer]:
    """What makes JSON in the database, as it is made."""
    found: list[Renderer] = []
    make = Renderer.__init__

    def making(renderer: Renderer, *arguments: Any) -> None:
        make(renderer, *arguments)
        found.append(renderer)

    monkeypatch.setattr(Renderer, "__init__", making)
    return found


@asynccontextmanager
async def serving(cls: type, **options: Any) -> AsyncIterator[Client]:
    routes = [resource(cls, access="open", prefix="/them", **options)]
    async with calling(App(Module("them", routes=routes), database="sqlite://")) as client:
        yield client


async def test_ever_other_sorts_leave_no_more_than_so_many_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered, "MOST_ORDERS", 10)
    monkeypatch.setattr(database, "MOST_SHAPES", 10)
    async with serving(Wide) as client:
        before = alive(Prepared), alive(Order)
        for names in islice(permutations(NAMES, 3), 200):
            assert (await client.get("/them", params={"sort": ",".join(names)})).status_code == 200
        assert 0 < alive(Prepared) - before[0] <= 10
        assert alive(Order) - before[1] <= 10 * 4  # three attributes and the key
        prepared: list[Any] = []
        monkeypatch.setattr(Database, "prepare", _counting(Database.prepare, prepared))
        for _ in range(5):
            await client.get("/them", params={"sort": "-c0"})
        assert len(prepared) == 1


async def test_conditions_with_ever_other_values_are_one_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[Any] = []
    monkeypatch.setattr(Database, "prepare", _counting(Database.prepare, prepared))
    async with serving(Wide) as client:
        for number in range(20):
            assert (await client.post("/them", json={"c0": number})).status_code == 201
        prepared.clear()
        for number in range(10):
            given = {"limit": 1, "c0__between": f"{number},{number + 4}", "sort": "-c0"}
            first = (await client.get("/them", params=given)).json()
            assert [one["c0"] for one in first["items"]] == [number + 4]
            second = (await client.get("/them", params={**given, "after": first["next"]})).json()
            assert [one["c0"] for one in second["items"]] == [number + 3]
        assert len(prepared) == 2


async def test_ever_other_queries_do_not_keep_a_usual_one_from_being_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[Any] = []
    of_query = Filter.of_query
    monkeypatch.setattr(list_query, "MOST_KNOWN", 20)
    monkeypatch.setattr(Filter, "of_query", _counting(of_query, read))
    async with serving(Wide) as client:
        for number in range(100):
            await client.get("/them", params={"limit": 1, "c0": number})
        read.clear()
        for _ in range(5):
            await client.get("/them", params={"limit": 1})
        assert len(read) == 1


async def test_what_is_included_is_made_in_one_way_in_whatever_order_it_is_asked_for(
    made: list[Renderer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_handlers, "MOST_RENDERERS", 8)
    gone: list[Any] = []
    async with serving(Hub, includable=SPOKES) as client:
        made.clear()
        for names in permutations(SPOKES):
            assert (await client.get("/them", params={"include": ",".join(names)})).status_code == 200
        assert len(made) == 1
        for count in (1, 2):
            for names in permutations(SPOKES, count):
                await client.get("/them", params={"include": ",".join(names)})
        gone = [weakref.ref(one) for one in made]
        made.clear()
        gc.collect()
        assert len([one for one in gone if one() is not None]) <= 8


class Name(str):
    """One of which can be told whether anybody remembers it."""


def test_names_that_are_refused_are_not_remembered() -> None:
    database = Database("sqlite://")
    fields = database.fields(database.plan(Parcel))
    label, refused = Name("label"), [Name(f"parts.k{number}") for number in range(300)]
    assert fields.find(label) is not None
    assert [fields.find(name) for name in refused] == [None] * 300
    kept = [weakref.ref(name) for name in (label, *refused)]
    del label, refused
    gc.collect()
    assert [n for n, name in enumerate(kept) if name() is not None] == [0]


def test_a_resource_that_nobody_has_is_freed() -> None:
    one = resource(Wide)
    assert shown(one, Wide(id=None))["c0"] is None
    freed = weakref.ref(one)
    del one
    gc.collect()
    assert freed() is None


def alive(cls: type) -> int:
    """How many objects of a class there are."""
    gc.collect()
    return sum(type(one) is cls for one in gc.get_objects())


def _counting(function: Any, calls: list[Any]) -> Any:
    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return function(*arguments, **options)

    return counted
