"""What the values of a filter are read as: by the type of the column, in a statement and in Python."""

from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import JSON, Column, DateTime, Integer, MetaData, Numeric, Table, Time
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, registry
from tests.contracts.conftest import Fresh

from uno.data import Database, Filter, Model, Repository, UnitOfWork
from uno.errors import Invalid


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Visit(Base):
    __tablename__ = "filter_visits"
    id: Mapped[int] = mapped_column(primary_key=True)
    # Without a time zone.
    local: Mapped[datetime | None] = mapped_column(DateTime())
    # SQLAlchemy stores None as JSON's null in the first two, as that of SQL in the last.
    plain: Mapped[Any | None] = mapped_column(JSON)
    binary: Mapped[Any | None] = mapped_column(JSON().with_variant(JSONB(), "postgresql"))
    mixed: Mapped[dict[str, Any] | None]


visits: Repository[Visit] = Repository(Visit)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC).replace(tzinfo=None)
FIVE_HOURS = timezone(timedelta(hours=5))


@pytest.fixture
async def database(fresh: Fresh, backend: str) -> Database:
    made = await fresh(backend, Base.metadata)
    async with UnitOfWork(made):
        for number in range(4):
            local = NOON + timedelta(days=number) if number < 3 else None
            await visits.add(Visit(id=number, local=local))
    return made


# ── moments without a time zone ──


@pytest.mark.parametrize(
    "noon",
    [
        NOON,
        NOON.replace(tzinfo=UTC),
        NOON.replace(hour=17, tzinfo=FIVE_HOURS),
        "2026-01-02T12:00:00",
        "2026-01-02T17:00:00+05:00",
    ],
    ids=str,
)
async def test_a_moment_without_a_time_zone_is_compared_with_the_time_in_utc(database: Database, noon: Any) -> None:
    async with UnitOfWork(database):
        assert [one.id for one in await visits.find(local=noon)] == [0]
        assert [one.id for one in await visits.find(Filter(local__gt=noon), sort="id")] == [1, 2]
        assert [one.id for one in await visits.find(local__in=[noon, None], sort="id")] == [0, 3]
        assert await visits.update_many(local__between=[noon, noon], values={"local": None}) == 1


@pytest.mark.parametrize(("sort", "wanted"), [("local", [0, 1, 2, 3]), ("-local", [2, 1, 0, 3])])
async def test_a_page_goes_on_behind_a_moment_without_a_time_zone(
    database: Database, sort: str, wanted: list[int]
) -> None:
    found, after = [], None
    async with UnitOfWork(database):
        for _ in wanted:
            page = await visits.page(sort=sort, limit=1, after=after)
            found, after = [*found, *(one.id for one in page.items)], page.next
    assert (found, after) == (wanted, None)


# ── null of JSON ──


async def test_the_null_of_json_is_null(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Base.metadata)
    async with UnitOfWork(database):
        for number, stored in enumerate([{}, *(dict.fromkeys(JSONS, v) for v in (None, {}, False, "null", [None]))]):
            await visits.add(Visit(id=number, **stored))
    async with UnitOfWork(database):
        everything = await visits.find(sort="id")
        for name in JSONS:
            null = Filter(**{f"{name}__is_null": True})
            assert [one.id for one in everything if null.fits(one)] == [0, 1]
            assert [one.id for one in await visits.find(null, sort="id")] == [0, 1], name
            assert [one.id for one in await visits.find(~null, sort="id")] == [2, 3, 4, 5], name
            assert [one.id for one in await visits.find(**{name: None}, sort="id")] == [0, 1], name
            assert await visits.count(**{f"{name}__is_null": False}) == 4


JSONS = ("plain", "binary", "mixed")


def test_a_class_that_is_mapped_later_is_read_by_its_columns() -> None:
    class Crate:
        def __init__(self, weight: Decimal) -> None:
            self.weight, self.opened = weight, time(12)

    heavy = Filter(weight__gte="5")
    assert not heavy.fits(Crate(Decimal(7)))
    columns = Column("id", Integer, primary_key=True), Column("weight", Numeric(10, 2)), Column("opened", Time)
    registry().map_imperatively(Crate, Table("filters_crates", MetaData(), *columns))
    assert heavy.fits(Crate(Decimal(7)))
    # Where a column has no time zone, databases have none.
    assert Filter(opened__gte="12:00:00+02:00").fits(Crate(Decimal(7)))
    with pytest.raises(Invalid, match="It takes a time"):
        Filter(opened__gte=Decimal(5)).fits(Crate(Decimal(7)))
