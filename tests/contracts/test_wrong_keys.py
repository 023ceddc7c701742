"""What a repository is asked with is looked at before the database is: the same errors on every backend."""

from typing import Any

import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.data import Database, Model, Repository, UnitOfWork, UUIDMixin
from uno.errors import Invalid


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Customer(UUIDMixin, Base):
    __tablename__ = "wrong_keys_customer"
    city: Mapped[str] = mapped_column(default="")


class Seat(Base):
    __tablename__ = "wrong_keys_seat"
    number: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
async def database(fresh: Fresh, backend: str) -> Database:
    return await fresh(backend, Base.metadata)


@pytest.mark.parametrize(("entity", "id", "field"), [(Customer, "not-a-uuid", "id"), (Seat, "first", "number")])
async def test_an_id_that_is_none_is_named(database: Database, entity: Any, id: str, field: str) -> None:
    things: Repository[Any] = Repository(entity)
    async with UnitOfWork(database):
        for ask in (things.get, things.get_by_id, things.get_for_update, things.delete, things.update):
            with pytest.raises(Invalid) as caught:
                await ask(id)
            assert [(error.field, error.code) for error in caught.value.errors] == [(field, "value")]


@pytest.mark.parametrize("wrong", [{"limit": -1}, {"offset": -1}, {"limit": 2**63}, {"offset": 10**30}])
async def test_a_stretch_that_is_none_is_named(database: Database, wrong: dict[str, int]) -> None:
    customers: Repository[Customer] = Repository(Customer)
    async with UnitOfWork(database):
        with pytest.raises(Invalid) as caught:
            await customers.find(**wrong)
        assert [error.field for error in caught.value.errors] == list(wrong)
        assert await customers.find(limit=2**63 - 1, offset=5) == []
