"""Many gets of one turn of the loop are one query, in the unit of work of who asks."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh
from tests.contracts.statements import statements_of

from uno import clock, context
from uno.data import Database, Model, Repository, SoftDeleteMixin, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.errors import Invalid, Misconfigured, NotFound


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Piece(VersionMixin, SoftDeleteMixin, Base):
    __tablename__ = "loader_parts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Place(Base):
    __tablename__ = "loader_places"
    shelf: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str] = mapped_column(default="")


@dataclass(eq=False)
class Crate(AggregateRoot[str]):
    """A plain aggregate: stored as a document."""

    id: str
    weight: int


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    made = await fresh(backend, Base.metadata, commit=request.param)
    async with UnitOfWork(made):
        for id in range(1, 6):
            gone = clock.now() if id == 5 else None
            await Repository(Piece).add(Piece(id=id, name=f"part {id}", deleted_at=gone))
            await Repository(Place).add(Place(shelf="ab"[id % 2], number=id))
            await Repository(Crate).add(Crate(f"c{id}", id))
    return made


def selects(seen: list[str], table: str) -> int:
    return sum(table in one and one.lstrip().upper().startswith(("SELECT", "WITH")) for one in seen)


async def test_gets_of_one_moment_are_one_query(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with UnitOfWork(database):
        loader = Repository(Piece).loader()
        seen = statements_of(database, monkeypatch)
        found = await asyncio.gather(*(loader.load(id) for id in (3, 1, 3, 2)))
        assert [one.name for one in found] == ["part 3", "part 1", "part 3", "part 2"]
        assert found[0] is found[2]
        assert selects(seen, "loader_parts") == 1
        # They are those of the unit of work, which is not asked again.
        assert await Repository(Piece).get(1) is found[1]
        assert await loader.load(2) is found[3]
        assert selects(seen, "loader_parts") == 1


async def test_each_caller_gets_its_own_or_its_own_error(database: Database) -> None:
    async with UnitOfWork(database):
        loader = Repository(Piece).loader()
        found = await asyncio.gather(*(loader.load(id) for id in (1, 99, 5, "2", "x")), return_exceptions=True)
        one, missing, gone, text, wrong = found
        assert isinstance(one, Piece)
        assert isinstance(missing, NotFound)
        assert missing.id == 99
        assert isinstance(gone, NotFound)
        assert text.id == 2
        assert isinstance(wrong, Invalid)
        assert [one and one.id for one in await loader.load_many([5, 4, 99, 4])] == [None, 4, None, 4]
        assert (await Repository(Piece).loader(include_deleted=True).load(5)).id == 5


async def test_keys_of_several_parts_and_documents_too(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with UnitOfWork(database):
        places = Repository(Place).loader()
        seen = statements_of(database, monkeypatch)
        found = await asyncio.gather(*(places.load(("ab"[n % 2], n)) for n in (1, 2, 3)))
        assert [(one.shelf, one.number) for one in found] == [("b", 1), ("a", 2), ("b", 3)]
        assert await places.load_many([("a", 1)]) == [None]
        assert selects(seen, "loader_places") == 2
        crates = Repository(Crate).loader()
        assert [one.weight for one in await asyncio.gather(*(crates.load(f"c{n}") for n in (4, 2)))] == [4, 2]
        assert selects(seen, "uno_document") == 1


async def test_it_sees_what_the_unit_of_work_has_not_written_yet(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with UnitOfWork(database):
        parts = Repository(Piece)
        (await parts.get(1)).name = "changed"
        await parts.add(Piece(id=7, name="new"))
        await parts.delete(2)
        loader = parts.loader()
        found = await loader.load_many([1, 7, 2, 3])
        assert [one and one.name for one in found] == ["changed", "new", None, "part 3"]


async def test_changes_to_what_it_loaded_are_stored(database: Database) -> None:
    async with UnitOfWork(database):
        loader = Repository(Piece).loader()
        for part in await asyncio.gather(loader.load(1), loader.load(2)):
            part.name = "changed"
    async with UnitOfWork(database):
        assert await Repository(Piece).count(name="changed") == 2


async def test_get_many_reads_more_than_one_statement_takes(database: Database, backend: str) -> None:
    async with UnitOfWork(database):
        found = await Repository(Piece).get_many(range(2500))
        assert [one.id for one in found if one is not None] == [1, 2, 3, 4]
        assert found[4] is not None
        assert found[4].id == 4


async def test_a_cancelled_caller_takes_nothing_from_the_others(database: Database) -> None:
    async with UnitOfWork(database):
        loader = Repository(Piece).loader()
        tasks = [asyncio.create_task(loader.load(id)) for id in (1, 2, 3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()
        assert [task.result().id for task in tasks[1:]] == [2, 3]


async def test_it_works_in_an_open_transaction(database: Database) -> None:
    async with UnitOfWork(database) as uow:
        await uow.transaction()
        loader = Repository(Piece).loader()
        assert [one.id for one in await asyncio.gather(loader.load(1), loader.load(2))] == [1, 2]
        assert (await Repository(Piece).get(3)).id == 3


async def test_its_unit_of_work_has_to_be_open_and_its_own(database: Database) -> None:
    with pytest.raises(Misconfigured, match="No unit of work"):
        Repository(Piece).loader()
    async with UnitOfWork(database):
        loader = Repository(Piece).loader()
        with pytest.raises(Misconfigured, match="Two tasks"):
            await asyncio.create_task(_made_elsewhere())
    with pytest.raises(Misconfigured, match="loader of Piece is over"):
        await loader.load(1)


async def _made_elsewhere() -> None:
    Repository(Piece).loader()


async def test_a_loader_that_is_not_awaited_does_not_disturb_the_commit(database: Database) -> None:
    async with UnitOfWork(database):
        parts = Repository(Piece)
        loader = parts.loader()
        await parts.add(Piece(id=8, name="stored"))
        late = asyncio.ensure_future(loader.load(1))
    [found] = await asyncio.gather(late, return_exceptions=True)
    assert isinstance(found, Piece | Misconfigured)
    async with UnitOfWork(database):
        assert (await Repository(Piece).get(8)).name == "stored"


def _engine(database: Database, backend: str) -> AsyncEngine:
    scheme, _, rest = database.url.partition("://")
    url = f"{scheme.partition('+')[0]}+{'asyncpg' if backend == 'postgresql' else 'aiosqlite'}://{rest}"
    return create_async_engine(url.replace("sslmode", "ssl"))


async def test_a_repository_that_works_alone_has_a_loader_that_does(database: Database, backend: str) -> None:
    engine = _engine(database, backend)
    parts = Repository(Piece, session_factory=async_sessionmaker(engine))
    loader = parts.loader()
    assert [one.id for one in await asyncio.gather(loader.load(1), loader.load(2))] == [1, 2]
    assert [one and one.id for one in await parts.get_many([3, 9])] == [3, None]
    await engine.dispose()


class Shown(Repository[Piece]):
    """Hides one of them."""

    async def get_by_id(self, id: int, **options: Any) -> Piece | None:
        return None if id == 1 else await super().get_by_id(id, **options)


class Strict(Repository[Piece]):
    async def get(self, id: int, **options: Any) -> Piece:
        if id == 1:
            raise NotFound("Piece", id)
        return await super().get(id, **options)


async def test_a_loader_reads_for_nobody_but_who_made_it(database: Database, backend: str) -> None:
    engine = _engine(database, backend)
    alone = Repository(Piece, session_factory=async_sessionmaker(engine))
    with context.use(context.Context(tenant="north", actor="ada")):
        loader = alone.loader()
        await loader.load_many([1])
    for other in (context.Context(tenant="south", actor="ada"), context.Context(tenant="north", actor="bob")):
        with context.use(other), pytest.raises(Misconfigured, match="for another tenant or in another name"):
            await loader.load_many([1])
        with context.use(other), pytest.raises(Misconfigured, match="for another tenant or in another name"):
            await loader.load(1)
    await engine.dispose()


@pytest.mark.parametrize("kind", [Shown, Strict])
async def test_a_repository_that_hides_objects_hides_them_here_too(
    database: Database, kind: type[Repository[Piece]]
) -> None:
    async with UnitOfWork(database):
        parts = kind()
        assert [one and one.id for one in await parts.get_many([1, 2])] == [None, 2]
        loader = parts.loader()
        found = await asyncio.gather(loader.load(1), loader.load(2), return_exceptions=True)
        assert isinstance(found[0], NotFound)
        assert isinstance(found[1], Piece)
        assert [one and one.id for one in await parts.loader(include_deleted=True).load_many([1, 5])] == [None, 5]
