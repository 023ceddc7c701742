"""What the values of a filter are read as: by the type of the column, in a statement and in Python."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import DateTime, MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.data import Database, Filter, Model, Repository, UnitOfWork


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Visit(Base):
    __tablename__ = "filter_visits"
    id: Mapped[int] = mapped_column(primary_key=True)
    # Without a time zone.
    local: Mapped[datetime | None] = mapped_column(DateTime())


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
