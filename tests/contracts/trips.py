"""What the tests of synchronous code store, and how they run it."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any

from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.orm import Mapped, mapped_column, relationship

from uno.audit import AuditBook
from uno.data import (
    Database,
    Model,
    Repository,
    SoftDeleteMixin,
    TimestampMixin,
    UnitOfWork,
    VersionMixin,
)
from uno.data.blocking import Blocking
from uno.domain import AggregateRoot


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Trip(VersionMixin, SoftDeleteMixin, TimestampMixin, Base):
    __tablename__ = "blocking_trips"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    place: Mapped[str] = mapped_column(default="", unique=True)
    price: Mapped[int] = mapped_column(default=0)


class Tour(VersionMixin, Base, AggregateRoot[int]):
    """Its relationship makes it a class of SQLAlchemy's session."""

    __tablename__ = "blocking_tours"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(default="")
    stops: Mapped[list["TourStop"]] = relationship(cascade="all, delete-orphan")


class TourStop(Base):
    __tablename__ = "blocking_stops"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tour_id: Mapped[int | None] = mapped_column(ForeignKey("blocking_tours.id"))


class Trips(Repository[Trip]):
    async def cheap(self, limit: int) -> list[str]:
        return [trip.place for trip in await self.find(price__lt=limit, sort="place")]


def audited(database: Database) -> Database:
    """As that of an application."""

    def furnish(uow: UnitOfWork) -> None:
        uow.books = (AuditBook(),)

    database.furnish = furnish
    return database


def places(blocking: Blocking) -> list[str]:
    return list(blocking.execute("SELECT place FROM blocking_trips ORDER BY id").scalars())


def threaded(test: Callable[..., None]) -> Callable[..., Awaitable[None]]:
    """A test that is synchronous code, in a thread, as plain functions of a server run."""

    @wraps(test)
    async def run(**fixtures: Any) -> None:
        await asyncio.to_thread(test, **fixtures)

    return run


def threads(work: Callable[[int], Any], number: int) -> list[Any]:
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(work, range(number)))


def in_use(blocking: Blocking) -> int:
    use = blocking.database.pool_use()
    assert use is not None
    return use.in_use
