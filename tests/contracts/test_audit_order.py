"""The entries of a record are in the order in which it changed, also where writers had to wait for each other."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.schema import ForeignKey
from tests.contracts.conftest import Fresh

from uno import clock
from uno.audit import AuditBook, AuditTrail
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin

WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


class Base(Model):
    __abstract__ = True
    metadata = MetaData()
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int]


class Turn(VersionMixin, Base):
    __tablename__ = "turns"


class Loose(Base):
    """Of two writers, the last one counts."""

    __tablename__ = "loose_turns"


class Turned(Base):
    """Its relationship makes it a class of SQLAlchemy's session."""

    __tablename__ = "turned"
    parts: Mapped[list["TurnedPart"]] = relationship(cascade="all, delete-orphan", lazy="selectin")


class TurnedPart(Base):
    __tablename__ = "turned_parts"
    turned_id: Mapped[int] = mapped_column(ForeignKey("turned.id"))


async def update(cls: Any) -> None:
    (await Repository(cls).get(1)).n = 2


async def update_two(cls: Any) -> None:
    await update(cls)
    await Repository(cls).add(cls(id=2, n=2))


async def update_many(cls: Any) -> None:
    await Repository(cls).update_many(cls.id < 9, values={"n": 2})


async def delete_many(cls: Any) -> None:
    await Repository(cls).delete_many(cls.id < 9)


async def create(cls: Any) -> None:
    await Repository(cls).add(cls(id=1, n=2))


async def insert_many(cls: Any) -> None:
    await Repository(cls).insert_many([{"id": 0, "n": 2}, {"id": 1, "n": 2}])


async def change(cls: Any) -> None:
    (await Repository(cls).get_for_update(1)).n = 1


async def delete(cls: Any) -> None:
    await Repository(cls).delete(await Repository(cls).get_for_update(1))


OPERATIONS = {
    change: "update",
    update: "update",
    update_two: "update",
    update_many: "update",
    delete: "delete",
    delete_many: "delete",
    create: "create",
    insert_many: "create",
}


@pytest.mark.parametrize("commit", ["auto", "batch", "session"])
@pytest.mark.parametrize(
    ("first", "second", "classes"),
    [
        (change, update, (Loose, Turned)),
        (change, update_two, (Loose, Turned)),
        (change, update_many, (Turn, Loose)),
        (change, delete_many, (Turn, Loose)),
        (delete, create, (Turn, Loose, Turned)),
        (delete, insert_many, (Turn, Loose)),
    ],
)
async def test_who_waited_comes_later(
    fresh: Fresh, commit: str, first: Any, second: Any, classes: tuple[type[Any], ...]
) -> None:
    database = await fresh("postgresql", Base.metadata, commit=commit)
    # SQLAlchemy's session reads what it changes, which is a conflict then.
    for cls in [one for one in classes if one is not Turn or commit != "session" or first is delete]:
        await _in_turn(database, cls, lambda cls=cls: first(cls), lambda cls=cls: second(cls))
        entries = await AuditTrail(database).history(cls, 1)
        operations = ["create", OPERATIONS[first], OPERATIONS[second]]
        assert [entry.operation for entry in entries] == operations
        assert (entries[-1].after or {}).get("n") == (None if second is delete_many else 2)
        now = await AuditTrail(database).as_of(cls, 1, clock.now() + timedelta(seconds=1))
        async with UnitOfWork(database):
            stored = await Repository(cls).get_by_id(1)
        assert now == (None if stored is None else {"id": 1, "n": stored.n})


async def _in_turn(
    database: Database, cls: type[Any], first: Callable[[], Awaitable[None]], second: Callable[[], Awaitable[None]]
) -> None:
    """Commit `second`, which has begun while `first` held the row, behind it."""

    async def run(work: Callable[[], Awaitable[None]]) -> None:
        async with UnitOfWork(database, books=[AuditBook()]):
            await work()

    await run(lambda: Repository(cls).add(cls(id=1, n=0)))
    async with UnitOfWork(database, books=[AuditBook()]) as uow:
        await first()
        await uow.flush()
        waiting = asyncio.create_task(run(second), context=Context())
        async with clock.timeout(30):
            while not (await database.query(WAITING))[0][0]:
                await asyncio.sleep(0.01)
    await waiting
