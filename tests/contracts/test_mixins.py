"""What the mixins of models do by themselves."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped
from tests.contracts.conftest import Fresh

from uno import context
from uno.context import Context
from uno.data import ActorMixin, Database, Model, Repository, UnitOfWork, UUIDMixin
from uno.errors import Misconfigured


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Ordered(UUIDMixin, ActorMixin, Base):
    __tablename__ = "mixin_ordered"
    name: Mapped[str]


class Drawn(UUIDMixin, Base):
    __tablename__ = "mixin_drawn"
    __uuid__ = "v4"


class Dated(UUIDMixin, Base):
    __tablename__ = "mixin_dated"
    __uuid__ = "ulid"


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    return await fresh(backend, Base.metadata, commit=request.param)


async def test_it_is_known_who_made_a_row_and_who_changed_it_last(database: Database) -> None:
    repository = Repository(Ordered)
    with context.use(Context(actor="ann")):
        async with UnitOfWork(database):
            made = await repository.add(Ordered(name="a"))
    with context.use(Context(actor="bob")):
        async with UnitOfWork(database):
            await repository.update(made.id, name="b")
    async with UnitOfWork(database):
        await repository.update(made.id, name="b")  # nothing changes, so nobody changed it
        found = await repository.get(made.id)
        assert (found.created_by, found.updated_by) == ("ann", "bob")


@pytest.mark.parametrize(("cls", "version"), [(Drawn, 4), (Dated, None)])
async def test_a_model_chooses_the_kind_of_its_uuids(database: Database, cls: Any, version: int | None) -> None:
    async with UnitOfWork(database):
        made = [await Repository(cls).add(cls()) for _ in range(3)]
    ids: list[UUID] = [one.id for one in made]
    assert len(set(ids)) == 3
    if version is None:
        assert {one.int >> 96 for one in ids} == {ids[0].int >> 96}  # the same minutes
    else:
        assert {one.version for one in ids} == {version}


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Misconfigured, match="'v7' or 'v4' or 'ulid', not 'v9'"):

        class Odd(UUIDMixin, Base):
            __tablename__ = "mixin_odd"
            __uuid__ = "v9"  # type: ignore[assignment]
