"""Filters of many and of long values, and what a relationship leads to that is softly deleted."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from sqlalchemy import ForeignKey, MetaData, select
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import BACKENDS, Fresh
from tests.contracts.test_document_filters import Parcel, parcels
from tests.contracts.test_filters import ROWS, Base, Stocked, found
from tests.contracts.test_paging import fill

from uno.data import Database, Filter, Model, Repository, SoftDeleteMixin, UnitOfWork
from uno.data.failures import is_lost, translate
from uno.data.filters import Limits
from uno.errors import Invalid

MANY = 1_000
LONG = "a" * 60_000


@pytest.fixture(scope="module")
async def filled(lasting: Fresh) -> dict[str, Database]:
    made = {backend: await lasting(backend, Base.metadata) for backend in BACKENDS}
    for database in made.values():
        async with UnitOfWork(database):
            await fill()
            await Repository(Stocked).add(Stocked(id=99, name=f"é{LONG.upper()}ß", data={"k": LONG}))
    return made


def with_many(*wanted: Any) -> list[Any]:
    """As many as one list may have."""
    return [*range(10_000, 10_000 + MANY - len(wanted)), *wanted]


LISTS: list[list[Any]] = [
    with_many(0, 1.5, "a", True),
    with_many(False, None),
    with_many("", "1", None, True, False),
    [f"word {n}" for n in range(MANY - 1)] + ["true"],
    [None],
    [],
]


@pytest.mark.parametrize("values", LISTS, ids=range(len(LISTS)))
@pytest.mark.parametrize("operator", ["in", "not_in"])
async def test_a_list_of_many_values_is_compared_inside_json(
    filled: dict[str, Database], operator: str, values: list[Any]
) -> None:
    given = Filter(**{f"data.k__{operator}": values}) & Filter(id__lt=99)
    wanted = [row["id"] for row in ROWS if given.fits(Stocked(**row))]
    for database in filled.values():
        assert await found(database, given) == wanted, database.backend


def of_parcels() -> Mapping[str, list[Any]]:
    """Of each attribute two that are there among many that are not."""
    first = datetime(2100, 1, 1, tzinfo=UTC)
    sent = [one.sent for one in parcels() if one.sent is not None]
    prices = [one.price for one in parcels() if one.price is not None]
    return {
        "label": [f"nothing {n}" for n in range(MANY - 2)] + [parcels()[1].label, parcels()[2].label],
        "count": with_many(parcels()[1].count, parcels()[2].count),
        "weight": with_many(parcels()[1].weight, parcels()[2].weight),
        "price": [Decimal(n) / 3 for n in range(1_000_000, 1_000_000 + MANY - 3)] + [*prices[:2], None],
        "sent": [first + timedelta(days=n) for n in range(MANY - 2)] + [*sent[:1], None],
        "fragile": [True, None],
    }


@pytest.mark.parametrize("name", of_parcels())
@pytest.mark.parametrize("operator", ["in", "not_in"])
async def test_a_list_of_many_values_is_compared_in_documents(
    filled: dict[str, Database], operator: str, name: str
) -> None:
    given = Filter(**{f"{name}__{operator}": of_parcels()[name]})
    wanted = sorted(one.id for one in parcels() if given.fits(one))
    assert 0 < len(wanted) < len(parcels())
    for database in filled.values():
        async with UnitOfWork(database):
            assert sorted(one.id for one in await Repository(Parcel).find(given)) == wanted, database.backend


async def test_all_lists_of_a_filter_have_a_limit_together(filled: dict[str, Database]) -> None:
    within = [Filter(**{name: list(range(MANY))}) for name in ("size__in", "data.k__in", "id__not_in", "large__in")]
    most = Filter.group("and", [*within, Filter(small__in=list(range(MANY)))])
    for database in filled.values():
        before = time.process_time()
        assert await found(database, most) == []
        assert time.process_time() - before < 1  # 1.3 s for each list inside JSON, when each value was a term
        with pytest.raises(Invalid, match="size__in: All lists of a filter take at most 5000 values") as caught:
            await found(database, most & Filter(size__in=[1]))
        assert [(one.field, one.code) for one in caught.value.errors] == [("size__in", "too_many")]
    with pytest.raises(Invalid, match="at most 1000 values") as caught:
        await found(filled["sqlite"], Filter(size__in=range(MANY + 1)))
    assert [one.code for one in caught.value.errors] == ["too_many"]
    assert Limits(all_values=7).all_values == 7


async def test_too_many_parameters_are_no_lost_connection(filled: dict[str, Database]) -> None:
    statement = select(Stocked.id).where(Stocked.id.in_(range(40_000)))
    with pytest.raises(Invalid, match="more values than the database takes"):
        await filled["postgresql"].query(statement)
    error = asyncpg.InterfaceError("the number of query arguments cannot exceed 32767")
    assert isinstance(translate(error), Invalid)
    assert not is_lost(error)


TEXTS = {
    "contains": LONG,
    "icontains": LONG,
    "starts_with": f"é{LONG}",
    "istarts_with": f"é{LONG}",
    "ends_with": f"{LONG}ß",
    "iends_with": f"{LONG}ß",
}


@pytest.mark.parametrize("operator", TEXTS)
async def test_a_long_text_is_looked_for(filled: dict[str, Database], operator: str) -> None:
    text = TEXTS[operator]
    wanted = [99] if operator.startswith("i") else []
    for database in filled.values():
        assert await found(database, Filter(**{f"name__{operator}": text})) == wanted, database.backend
        assert await found(database, Filter(**{f"name__{operator}": text.upper().replace("SS", "ß")})) in ([99], [])
        assert await found(database, Filter(**{f"data.k__{operator}": LONG})) == [99]
        assert await found(database, Filter(**{f"name__{operator}": LONG + LONG})) == []


# ── softly deleted ──


class Held(Model):
    __abstract__ = True
    metadata = MetaData()


class Writer(SoftDeleteMixin, Held):
    __tablename__ = "held_writers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    works: Mapped[list["Work"]] = relationship(viewonly=True)


class Work(SoftDeleteMixin, Held):
    __tablename__ = "held_works"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    writer_id: Mapped[int] = mapped_column(ForeignKey("held_writers.id"))
    writer: Mapped[Writer] = relationship(viewonly=True)


async def test_a_filter_does_not_see_what_is_softly_deleted_beside_it(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Held.metadata)
    works, writers = Repository(Work), Repository(Writer)
    by_ada, all_by_ada = Filter(**{"writer.name": "Ada"}), Filter(**{"writer.name__ne": "Bob"})
    async with UnitOfWork(database):
        for id, name in enumerate(("Ada", "Bob")):
            await writers.add(Writer(id=id, name=name))
            await works.add(Work(id=id, title=f"of {name}", writer_id=id))
    async with UnitOfWork(database):
        assert [one.id for one in await works.find(by_ada)] == [0]
        await writers.soft_delete(await writers.get(0))
        await works.soft_delete(await works.get(1))
    async with UnitOfWork(database):
        for given in (by_ada, all_by_ada):
            assert await works.find(given) == []
        assert [one.id for one in await works.find(~by_ada)] == [0]
        assert await writers.find(Filter(**{"works.title__contains": "of"})) == []
    gone = Writer(id=0, name="Ada", deleted_at=datetime(2026, 1, 1, tzinfo=UTC))
    work = Work(id=0, title="of Ada", writer=gone)
    assert [given.fits(work) for given in (by_ada, all_by_ada, ~by_ada)] == [False, False, True]
    gone.deleted_at = None
    assert [given.fits(work) for given in (by_ada, all_by_ada, ~by_ada)] == [True, True, False]


@pytest.mark.parametrize("text", ['{"id": 1, "id": 2}', '{"or": [{"name": "a"}, {"id": 1, "id": 2}]}'])
def test_a_condition_that_json_has_twice_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="id: It can be given only once") as caught:
        Filter.of_json(text)
    assert [(one.field, one.code) for one in caught.value.errors] == [("id", "repeated")]
