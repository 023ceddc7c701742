"""A unit of work that is entered again, or inside another one; and what is asked of the database there."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh
from tests.contracts.statements import statements_of

from uno.bus.pipeline import CallNext
from uno.data import Database, Model, Repository, SoftDeleteMixin, UnitOfWork, VersionMixin, hooks
from uno.data.middleware import in_unit
from uno.errors import Invalid, Misconfigured
from uno.result import Failure, Success


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Slip(VersionMixin, SoftDeleteMixin, Base):
    __tablename__ = "slips"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(default="")


slips: Repository[Slip] = Repository(Slip)


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    return await fresh(backend, Base.metadata, commit=request.param)


async def ids(database: Database) -> list[int]:
    async with UnitOfWork(database):
        return [one.id for one in await slips.find(sort="id")]


async def test_one_that_failed_is_not_entered_again(database: Database) -> None:
    failed, doomed = UnitOfWork(database), UnitOfWork(database)
    with pytest.raises(ZeroDivisionError):
        async with failed:
            await slips.create(id=1)
            raise ZeroDivisionError
    with pytest.raises(Invalid):
        async with doomed:
            await slips.create(id=2)
            doomed.doom(Invalid("no"))
    for one in (failed, doomed):
        with pytest.raises(Misconfigured, match="ended with an error"):
            async with one:
                pass
    assert await ids(database) == []


async def test_one_whose_message_failed_is_not_entered_again(database: Database) -> None:
    uow = UnitOfWork(database)

    async def fail(_message: Any) -> Any:
        await slips.create(id=1)
        return Failure(Invalid("no"))

    call: CallNext = fail
    assert isinstance(await in_unit(uow, None, call), Failure)
    with pytest.raises(Misconfigured, match="ended with an error"):
        async with uow:
            pass
    assert await ids(database) == []


async def test_one_that_ended_well_is_entered_again(database: Database) -> None:
    uow = UnitOfWork(database)
    for id in (1, 2):
        async with uow:
            await slips.create(id=id)

    async def create(_message: Any) -> Any:
        return Success(await slips.create(id=3))

    await in_unit(uow, None, create)
    assert await ids(database) == [1, 2, 3]


async def test_one_that_only_reads_does_so_inside_another_one(database: Database) -> None:
    async with UnitOfWork(database):
        first = await slips.create(id=1)
        inner = UnitOfWork(database, read_only=True)
        async with inner, inner, UnitOfWork(database):
            assert await slips.count() == 1
            for write in (slips.create(id=2), slips.delete(first), slips.soft_delete(first), slips.insert_many([])):
                with pytest.raises(Misconfigured, match="A query changes nothing"):
                    await write
        await slips.create(id=3)
    assert await ids(database) == [1, 3]


@pytest.fixture
def numbering() -> Iterator[None]:
    async def follow(slip: Slip) -> None:
        if slip.id < 10:
            await slips.create(id=slip.id + 10)

    hooks.before_insert(Slip)(follow)
    yield
    hooks.remove(follow)


@pytest.mark.usefixtures("numbering")
async def test_what_was_changed_before_is_written_with_its_hooks_where_only_reading_is_allowed(
    database: Database,
) -> None:
    async with UnitOfWork(database) as uow:
        await slips.create(id=1)
        async with UnitOfWork(database, read_only=True):
            assert [one.id for one in await slips.find(sort="id")] == [1, 11]
        await slips.create(id=2)
        async with UnitOfWork(database, read_only=True):
            await uow.session()
            assert await slips.exists(id=12)
    assert await ids(database) == [1, 2, 11, 12]


async def test_exists_reads_no_entity(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with UnitOfWork(database):
        await slips.insert_many([{"id": 1, "text": "a"}, {"id": 2, "text": "b"}])
        await slips.soft_delete(2)
    asked = statements_of(database, monkeypatch)
    async with UnitOfWork(database) as uow:
        found = [await slips.exists(**one) for one in ({}, {"id": 1}, {"text": "b"}, {"text__in": ["a", "b"]})]
        assert found == [True, True, False, True]
        assert await slips.exists(Slip.text == "b", include_deleted=True)
        assert len(uow.tracked) == 0
    queries = [one for one in asked if "slips" in one]
    assert len(queries) == 5
    assert all(one.startswith("SELECT EXISTS") for one in queries)
    async with UnitOfWork(database):
        slip = await slips.get(1)
        slip.text = "c"
        assert await slips.exists(text="c")
        await slips.delete(slip)
        assert not await slips.exists()
