"""In JSON true is not 1 and false is not 0, though Python calls them equal: what becomes of the one is stored."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import Field
from sqlalchemy import JSON, ForeignKey, MetaData, Text, TypeDecorator, select
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import Fresh

from uno.audit import AuditBook, AuditTrail
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class AsText(TypeDecorator[Any]):
    """JSON that the database takes for text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return json.dumps(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return json.loads(value)


class Thing(VersionMixin, Base):
    __abstract__ = True
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[Any] = mapped_column(JSON)


class Flat(Thing):
    __tablename__ = "truth_flat"


class Kept(Thing):
    __tablename__ = "truth_kept"
    data: Mapped[Any] = mapped_column(AsText)


class Rich(Thing):
    """Its relationship makes it a class of SQLAlchemy's session."""

    __tablename__ = "truth_rich"
    parts: Mapped[list["RichPart"]] = relationship(lazy="selectin")


class RichPart(Thing):
    __tablename__ = "truth_part"
    rich_id: Mapped[int | None] = mapped_column(ForeignKey("truth_rich.id"))


class Loose(Thing):
    """Nobody asks a repository for it."""

    __tablename__ = "truth_loose"


class Switches(Thing):
    """It says what is in its JSON."""

    __tablename__ = "truth_switches"
    data: Mapped[Annotated[dict[str, bool], Field(max_length=3)]] = mapped_column(JSON)


@dataclass(eq=False)
class Paper(AggregateRoot[int]):
    id: int
    data: Any = None


KINDS = [Flat, Kept, Rich, RichPart, Paper]
# Each is stored otherwise than the one before.
VALUES: list[Any] = [{"a": True}, {"a": 1}, {"a": [0, {"b": False}]}, {"a": [False, {"b": 0.0}]}, [1], [True], True, 1]


@pytest.fixture(params=["auto", "batch", "session"])
async def database(request: pytest.FixtureRequest, fresh: Fresh, backend: str) -> Database:
    return await fresh(backend, Base.metadata, commit=request.param)


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=[AuditBook()])


async def add(database: Database, kind: Any, data: Any) -> None:
    async with unit(database):
        made = kind(id=1, data=data)
        await Repository[Any](Rich if kind is RichPart else kind).add(
            Rich(id=1, data=None, parts=[made]) if kind is RichPart else made
        )


async def found(kind: Any) -> Any:
    """The thing; a part only through what it is a part of."""
    if kind is RichPart:
        return (await Repository(Rich).get(1)).parts[0]
    return await Repository[Any](kind).get(1)


async def stored(database: Database, kind: Any) -> tuple[str, int]:
    async with UnitOfWork(database):
        one = await found(kind)
        return repr(one.data), one.version


@pytest.mark.parametrize("kind", KINDS)
async def test_true_and_1_are_two_values(database: Database, kind: Any) -> None:
    await add(database, kind, {"a": 1})
    for version, value in enumerate(VALUES, 2):
        async with unit(database) as uow:
            one = await found(kind)
            one.data = value
            if value == [1]:  # also where it is not the commit that writes
                await uow.flush()
        assert await stored(database, kind) == (repr(value), version)
        last = (await AuditTrail(database).history(kind, 1))[-1]
        assert (last.operation, repr(last.after)) == ("update", repr({"data": value}))


@pytest.mark.parametrize("kind", KINDS)
async def test_1_and_1_0_are_one_number(database: Database, kind: Any) -> None:
    await add(database, kind, {"a": [1, True]})
    async with unit(database):
        (await found(kind)).data = {"a": [1.0, True]}
    assert await stored(database, kind) == (repr({"a": [1, True]}), 1)
    assert [one.operation for one in await AuditTrail(database).history(kind, 1)] == ["create"]


@pytest.mark.parametrize("kind", [Flat, Rich, Paper])
async def test_many_are_changed_alike_on_both_backends(fresh: Fresh, backend: str, kind: Any) -> None:
    database = await fresh(backend, Base.metadata)
    repository: Repository[Any] = Repository(kind)
    async with unit(database):
        await repository.insert_many([kind(id=n, data={"a": 1}) for n in range(3)])
    changes: list[tuple[Any, int]] = [(True, 3), (True, 0), (1.0, 3), (1, 0), (False, 3)]
    for value, count in changes:
        async with unit(database):
            assert await repository.update_many(values={"data": {"a": value}}, everything=True) == count
    assert await stored(database, kind) == ("{'a': False}", 4)
    last = (await AuditTrail(database).history(kind, 1))[-1]
    assert (repr(last.before), repr(last.after)) == ("{'data': {'a': 1.0}}", "{'data': {'a': False}}")


async def test_a_session_writes_it_of_a_class_that_is_known_to_nobody_else(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Base.metadata)
    async with database.session() as session:
        session.add(Loose(id=1, data={"a": 1}))
    async with database.session() as session:
        (await session.scalars(select(Loose))).one().data = {"a": True}
    async with database.session() as session:
        one = (await session.scalars(select(Loose))).one()
        assert (repr(one.data), one.version) == ("{'a': True}", 2)


async def test_what_a_class_makes_of_numbers_is_stored(fresh: Fresh) -> None:
    database = await fresh("sqlite", Base.metadata)
    given: Any = {"a": 1, "b": False}
    await add(database, Switches, given)
    assert await stored(database, Switches) == (repr({"a": True, "b": False}), 1)
