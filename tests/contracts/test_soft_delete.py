"""What is deleted softly is gone for everybody who does not ask for it, and can come back."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import MetaData, UniqueConstraint, select
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.audit import AuditBook
from uno.audit.tables import audit
from uno.data import Database, Model, Repository, SoftDeleteMixin, UnitOfWork, UUIDMixin, VersionMixin
from uno.domain import AggregateRoot
from uno.errors import Conflict, Misconfigured, NotFound


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Member(UUIDMixin, VersionMixin, SoftDeleteMixin, Base):
    __tablename__ = "soft_members"
    email: Mapped[str] = mapped_column(unique=True)
    club: Mapped[str] = mapped_column(default="")
    number: Mapped[int] = mapped_column(default=0)
    __table_args__ = (UniqueConstraint("club", "number"),)


class Hard(Base):
    __tablename__ = "hard_rows"
    id: Mapped[int] = mapped_column(primary_key=True)


@dataclass(eq=False)
class Paper(AggregateRoot[str]):
    id: str
    title: str = ""
    deleted_at: datetime | None = None


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    return await fresh(backend, Base.metadata, commit=request.param)


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=(AuditBook(),))


async def operations(database: Database) -> list[str]:
    return [row.operation for row in await database.query(select(audit.c.operation).order_by(audit.c.id))]


@pytest.mark.parametrize("make", [lambda n: Member(email=f"{n}@x", number=n), lambda n: Paper(f"p{n}", f"{n}")])
async def test_it_is_gone_and_comes_back(database: Database, make: Any) -> None:
    first, second = make(1), make(2)
    things: Repository[Any] = Repository(type(first))
    async with unit(database):
        await things.add(first)
        await things.add(second)
    async with unit(database):
        assert await things.soft_delete(first.id)
        assert await things.get_by_id(first.id) is None
        assert [one.id for one in await things.find()] == [second.id]
    async with unit(database):
        for ask in (things.get, things.get_for_update, things.update):
            with pytest.raises(NotFound):
                await ask(first.id)
        assert (await things.count(), await things.count(include_deleted=True)) == (1, 2)
        assert not await things.exists(id=first.id)
        assert [one.id for one in (await things.page(limit=5, total=True)).items] == [second.id]
        gone = await things.get(first.id, include_deleted=True)
        assert gone.deleted_at is not None
        assert not await things.soft_delete(gone)
        assert await things.restore(first.id)
        assert not await things.restore(second)
    async with unit(database):
        assert (await things.get(first.id)).deleted_at is None
        await things.soft_delete(second)
        await things.delete(second.id)
    assert await operations(database) == ["create", "create", "soft_delete", "restore", "delete"]


async def test_the_unit_of_work_of_the_deletion_may_delete_for_good(database: Database) -> None:
    members: Repository[Member] = Repository(Member)
    async with unit(database):
        member = await members.add(Member(email="a@x"))
    async with unit(database):
        await members.soft_delete(member.id)
        await members.delete(member.id)
    assert await operations(database) == ["create", "delete"]


async def test_what_is_unique_is_so_among_the_others_only(database: Database) -> None:
    members: Repository[Member] = Repository(Member)
    async with unit(database):
        old = await members.add(Member(email="a@x", club="c", number=1))
    async with unit(database):
        await members.soft_delete(old.id)
    async with unit(database):
        await members.add(Member(email="a@x", club="c", number=1))
    for twin in (Member(email="a@x", club="d"), Member(email="b@x", club="c", number=1)):
        with pytest.raises(Conflict):
            async with unit(database):
                await members.add(twin)
    with pytest.raises(Conflict):
        async with unit(database):
            await members.restore(old.id)


async def test_what_has_no_deleted_at_is_deleted_for_good_only(database: Database) -> None:
    rows: Repository[Hard] = Repository(Hard)
    async with unit(database):
        row = await rows.add(Hard(id=1))
        for call in (rows.soft_delete, rows.restore):
            with pytest.raises(Misconfigured, match="Hard has no deleted_at; give it SoftDeleteMixin"):
                await call(row)
    assert Member(email="x").is_deleted is False
