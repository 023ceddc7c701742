"""What is changed inside a JSON value: stored in documents and where the column is told to hear of it, else not."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import JSON, MetaData
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.audit import AuditBook, AuditTrail
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Hearing(VersionMixin, Base):
    __tablename__ = "hearing"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[dict[str, Any]] = mapped_column(MutableDict.as_mutable(JSON(none_as_null=True)), default=dict)
    tags: Mapped[list[str]] = mapped_column(MutableList.as_mutable(JSON(none_as_null=True)), default=list)


class Deaf(VersionMixin, Base):
    __tablename__ = "deaf"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    tags: Mapped[list[str]] = mapped_column(default=list)


@dataclass(eq=False)
class Paper(AggregateRoot[int]):
    id: int
    data: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)


KINDS: list[Any] = [Hearing, Deaf, Paper]


@pytest.fixture(params=["auto", "batch", "session"])
async def database(request: pytest.FixtureRequest, fresh: Fresh, backend: str) -> Database:
    return await fresh(backend, Base.metadata, commit=request.param)


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=[AuditBook()])


async def stored(database: Database, kind: Any) -> tuple[Any, ...]:
    async with UnitOfWork(database):
        one = await Repository[Any](kind).get(1)
        return one.data, one.tags


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_changed_inside_is_stored_where_it_is_heard_of(database: Database, kind: Any) -> None:
    repository: Repository[Any] = Repository(kind)
    async with unit(database):
        await repository.add(kind(id=1, data={"a": 1}, tags=["x"]))
    async with unit(database):
        one = await repository.get(1)
        one.data["b"] = 2
        one.tags.append("y")
        await repository.count()
        one.data["c"] = 3
    heard = kind is not Deaf
    assert await stored(database, kind) == (({"a": 1, "b": 2, "c": 3}, ["x", "y"]) if heard else ({"a": 1}, ["x"]))
    last = (await AuditTrail(database).history(kind, 1))[-1]
    assert (last.operation, last.after["data"]) == (  # type: ignore[index]
        ("update", {"a": 1, "b": 2, "c": 3}) if heard else ("create", {"a": 1})
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_assigned_anew_is_stored_and_heard_of_afterwards(database: Database, kind: Any) -> None:
    repository: Repository[Any] = Repository(kind)
    async with unit(database):
        await repository.insert_many([kind(id=1), kind(id=2)])
    async with unit(database):
        one = await repository.get(1)
        one.data, one.tags = {**one.data, "a": 1}, [*one.tags, "x"]
    assert await stored(database, kind) == ({"a": 1}, ["x"])
    if kind is not Deaf:
        async with unit(database) as uow:
            one = await repository.get(1)
            one.data = {"b": 1}
            await uow.flush()
            one.data["c"] = 2
            with pytest.raises(ZeroDivisionError):
                async with uow.savepoint():
                    one.data["undone"] = True
                    raise ZeroDivisionError
            one.data["d"] = 3
        assert await stored(database, kind) == ({"b": 1, "c": 2, "d": 3}, ["x"])
