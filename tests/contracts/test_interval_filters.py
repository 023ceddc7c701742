"""Durations are filtered and sorted by their length, on every backend and in Python."""

from datetime import timedelta

import pytest
from sqlalchemy import Interval, MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.data import Database, Filter, Model, Repository, UnitOfWork
from uno.errors import Invalid


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Trip(Base):
    __tablename__ = "interval_trips"
    id: Mapped[str] = mapped_column(primary_key=True)
    took: Mapped[timedelta | None] = mapped_column(Interval)


LENGTHS = {
    "back": timedelta(hours=-36),
    "blink": timedelta(microseconds=1),
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "most": timedelta(days=2_900_000),
    "none": None,
    "year": timedelta(days=365, microseconds=5),
    "zero": timedelta(0),
}
ORDERED = ["back", "zero", "blink", "hour", "day", "year", "most"]
HOUR = timedelta(hours=1)
FILTERS = [
    (Filter(took=HOUR), "hour"),
    (Filter(took="PT1H"), "hour"),
    (Filter(took=3600), "hour"),
    (Filter(took__ne=HOUR), "back blink day most none year zero"),
    (Filter(took__lt=HOUR), "back blink zero"),
    (Filter(took__lte="01:00:00"), "back blink hour zero"),
    (Filter(took__gt=HOUR), "day most year"),
    (Filter(took__gte="P1D"), "day most year"),
    (Filter(took__between=["-P2D", "PT1H"]), "back blink hour zero"),
    (Filter(took__in=[HOUR, timedelta(days=365, microseconds=5)]), "hour year"),
    (Filter(took__not_in=[HOUR, timedelta(0)]), "back blink day most none year"),
    (Filter(took__is_null=True), "none"),
    (Filter(took__is_null=False), "back blink day hour most year zero"),
]


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    made = await fresh(backend, Base.metadata, commit=request.param)
    async with UnitOfWork(made):
        await Repository(Trip).insert_many([{"id": id, "took": took} for id, took in LENGTHS.items()])
    return made


async def test_each_operator_compares_lengths(database: Database) -> None:
    async with UnitOfWork(database):
        everything = await Repository(Trip).find(sort="id")
        assert {one.id: one.took for one in everything} == LENGTHS
        for given, wanted in FILTERS:
            found = [one.id for one in await Repository(Trip).find(given, sort="id")]
            assert found == wanted.split(), given
    durations = [(Filter(took__gt=HOUR), "day most year"), (Filter(took__between=(-2 * HOUR, HOUR)), "blink hour zero")]
    for given, wanted in durations:
        assert [one.id for one in everything if given.fits(one)] == wanted.split()


async def test_they_are_sorted_and_paged_by_length(database: Database) -> None:
    known = Filter(took__is_null=False)
    for sort, wanted in (("took", ORDERED), ("-took", ORDERED[::-1])):
        async with UnitOfWork(database):
            page = await Repository(Trip).page(known, sort=sort, limit=2)
            found = list(page.items)
            while page.next is not None:
                page = await Repository(Trip).page(known, sort=sort, limit=2, after=page.next)
                found += page.items
        assert [one.id for one in found] == wanted


@pytest.mark.parametrize(
    "value", ["tomorrow", "P", "1e400", float("nan"), float("inf"), 1e15, "-P999999999D", "P2940000D", ""]
)
async def test_what_is_no_duration_or_beyond_all_names_its_field(database: Database, value: object) -> None:
    async with UnitOfWork(database):
        with pytest.raises(Invalid, match="took"):
            await Repository(Trip).find(Filter(took__lt=value))
