"""Pages by keyset: all rows once, in order, whatever comes and goes between two pages."""

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql
from tests.contracts.conftest import BACKENDS, Fresh
from tests.contracts.test_document_filters import Parcel, parcels
from tests.contracts.test_filters import ROWS, Base, Stocked

from uno.data import Database, Filter, Repository, UnitOfWork
from uno.data.paging import orders
from uno.errors import Invalid

SORTABLE = ["name", "size", "large", "weight", "price", "fresh", "code", "born", "seen", "id"]
DOCUMENT = ["label", "count", "weight", "price", "fragile", "sent"]
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


async def fill() -> None:
    """Put what there is of both kinds into the database of the unit of work."""
    for row in ROWS:
        await Repository(Stocked).add(Stocked(**{**row, "shelf_id": None}))
    for parcel in parcels():
        await Repository(Parcel).add(parcel)


@pytest.fixture(scope="module")
async def filled(lasting: Fresh) -> dict[str, Database]:
    made = {backend: await lasting(backend, Base.metadata) for backend in BACKENDS}
    for database in made.values():
        async with UnitOfWork(database):
            await fill()
    return made


def sorts(names: list[str]) -> st.SearchStrategy[list[str]]:
    one = st.tuples(st.sampled_from(names), st.booleans())
    several = st.lists(one, max_size=3, unique_by=lambda pair: pair[0])
    return several.map(lambda pairs: [f"-{name}" if down else name for name, down in pairs])


def in_order(entities: list[Any], sort: list[str]) -> list[Any]:
    """NULLs last in both directions, the id at the end."""
    found = sorted(entities, key=lambda one: one.id)
    for name in reversed(sort):
        plain = name.removeprefix("-")
        there = [one for one in found if getattr(one, plain) is not None]
        there.sort(key=lambda one: getattr(one, plain), reverse=name.startswith("-"))
        found = there + [one for one in found if getattr(one, plain) is None]
    return found


async def pages(entity: Any, sort: list[str], limit: int, **conditions: Any) -> list[Any]:
    found, after = [], None
    while True:
        page = await Repository(entity).page(sort=sort, limit=limit, after=after, **conditions)
        found += [one.id for one in page.items]
        assert len(page.items) <= limit
        if page.next is None:
            return found
        after = page.next


@given(sort=sorts(SORTABLE), limit=st.integers(1, 9))
@settings(max_examples=60, suppress_health_check=SLOW)
async def test_every_row_comes_once_and_in_order(filled: dict[str, Database], sort: list[str], limit: int) -> None:
    for database in filled.values():
        async with UnitOfWork(database):
            everything = await Repository(Stocked).find()
            wanted = [one.id for one in in_order(everything, [*sort, *([] if "id" in names(sort) else ["id"])])]
            assert await pages(Stocked, sort, limit) == wanted, database.backend
            assert await lists(Stocked, sort, 7 + limit) == (wanted, wanted, wanted), database.backend


async def lists(entity: Any, sort: list[str], size: int) -> tuple[list[Any], list[Any], list[Any]]:
    """What the ways without a cursor give: at once, in stretches, one after another."""
    repository: Repository[Any] = Repository(entity)
    at_once, text = await repository.find(sort=sort or [""]), ",".join(sort)
    count = range(0, len(at_once), size)
    stretches = [one for at in count for one in await repository.find(sort=text, limit=size, offset=at)]
    streamed = [one for at in count async for one in repository.stream(sort=text, batch=3, limit=size, offset=at)]
    return [one.id for one in at_once], [one.id for one in stretches], [one.id for one in streamed]


@given(sort=sorts(DOCUMENT), limit=st.integers(1, 7))
@settings(max_examples=40, suppress_health_check=SLOW)
async def test_every_document_comes_once_and_in_order(filled: dict[str, Database], sort: list[str], limit: int) -> None:
    wanted = [one.id for one in in_order(parcels(), sort)]
    for database in filled.values():
        async with UnitOfWork(database):
            assert await pages(Parcel, sort, limit) == wanted, database.backend
            assert await lists(Parcel, sort, 7 + limit) == (wanted, wanted, wanted), database.backend


def names(sort: list[str]) -> list[str]:
    return [one.removeprefix("-") for one in sort]


async def test_a_page_goes_on_where_it_was_when_rows_come_and_go(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Base.metadata)
    things: Repository[Stocked] = Repository(Stocked)
    async with UnitOfWork(database):
        for number in range(0, 20, 2):
            await things.add(Stocked(id=number, name=f"n{number:02}"))
    async with UnitOfWork(database):
        first = await things.page(sort="name", limit=4, total=True)
    assert (first.total, [one.id for one in first.items]) == (10, [0, 2, 4, 6])
    async with UnitOfWork(database):
        for number in (1, 3, 9):
            await things.add(Stocked(id=number, name=f"n{number:02}"))
        await things.delete(6)
    async with UnitOfWork(database):
        second = await things.page(Filter(id__lt=100), sort="name", limit=4, after=first.next)
    assert [one.id for one in second.items] == [8, 9, 10, 12]


@pytest.mark.parametrize(
    "after",
    [
        "",
        "nonsense",
        "ä",
        "A" * 5000,
        base64.urlsafe_b64encode(b"[]").decode(),
        base64.urlsafe_b64encode(b'[["name","id"],["a"]]').decode(),
        base64.urlsafe_b64encode(b'[["name","id"],["a","x"]]').decode(),
        base64.urlsafe_b64encode(b'[["name","id"],["\\u0000",1]]').decode(),
        base64.urlsafe_b64encode(json.dumps([["size", "id"], [1, 1]]).encode()).decode(),
        # No key is null.
        base64.urlsafe_b64encode(json.dumps([["Stocked", "name", "id"], ["a", None]]).encode()).decode(),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
    ],
)
async def test_what_is_no_cursor_of_this_list_is_refused(filled: dict[str, Database], after: str) -> None:
    async with UnitOfWork(filled["sqlite"]):
        with pytest.raises(Invalid) as caught:
            await Repository(Stocked).page(sort="name", after=after)
        assert [error.field for error in caught.value.errors] == ["after"]


@pytest.mark.parametrize("after", [5, b"abc", ["a"]])
async def test_a_cursor_is_a_text(filled: dict[str, Database], after: Any) -> None:
    async with UnitOfWork(filled["sqlite"]):
        with pytest.raises(Invalid, match="after: It is no cursor"):
            await Repository(Stocked).page(sort="name", after=after)


@pytest.mark.parametrize(
    "sort",
    ["nothing", "data", "data.k", "shelf.label", "name,name", "-name,name", "__class__", "name;--", [*SORTABLE, "x"]],
    ids=str,
)
@pytest.mark.parametrize("method", ["page", "find", "stream"])
async def test_what_cannot_be_sorted_by_is_refused(filled: dict[str, Database], sort: Any, method: str) -> None:
    for database in filled.values():
        async with UnitOfWork(database):
            with pytest.raises(Invalid) as caught:
                asked = getattr(Repository(Stocked), method)(sort=sort)
                await (asked if method != "stream" else anext(asked))
            assert [error.field for error in caught.value.errors] == ["sort"]


async def test_a_stretch_of_unsorted_rows_is_in_the_order_of_the_key(filled: dict[str, Database]) -> None:
    for database in filled.values():
        async with UnitOfWork(database):
            found = [one.id for at in range(0, 8, 2) for one in await Repository(Stocked).find(limit=2, offset=at)]
            assert found == [row["id"] for row in ROWS[:8]]
            assert [one.id async for one in Repository(Stocked).stream(limit=3, offset=1)] == found[1:4]
            assert [one.id for one in await Repository(Stocked).get_all(limit=5)] == found[:5]


async def test_an_index_is_read_in_both_directions(filled: dict[str, Database]) -> None:
    database = filled["postgresql"]
    fields = database.fields(database.plan(Stocked))
    for sort in ("id", "-id"):
        by = [one.by for one in orders(sort, fields, ())]
        statement = select(Stocked.id).order_by(*by).limit(2)
        literal = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
        async with database.transaction() as transaction:
            await transaction.execute(text("SET LOCAL enable_seqscan = off"))
            plan = await transaction.execute(text(f"EXPLAIN {literal}"))
        found = " ".join(row[0] for row in plan)
        assert "Index" in found
        assert "Sort" not in found
