"""Two that add the same row at the same moment: the later one runs again where it had looked for the row."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar

import pytest
from sqlalchemy import MetaData, String, func, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from uno.app import App
from uno.audit.tables import audit
from uno.bus import command_handler
from uno.bus.unit import current_unit
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.errors import Conflict
from uno.messages import Command
from uno.modules import Module

Fresh = Callable[..., Awaitable[Database]]


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Seat(VersionMixin, Tables):
    __tablename__ = "seat"
    id: Mapped[str] = mapped_column(String(5), primary_key=True)
    code: Mapped[str | None] = mapped_column(unique=True)
    guests: Mapped[int] = mapped_column(default=0)


class Label(AggregateRoot[str]):
    def __init__(self, id: str, guests: int = 0) -> None:
        super().__init__(id=id)
        self.guests = guests


class TakeSeat(Command[None]):
    how: str
    blind: tuple[str, ...] = ()
    code: str | None = None


class WriteLabel(Command[None]):
    pass


RUNS: list[str] = []


@command_handler(TakeSeat)
async def take(command: TakeSeat, seats: Repository[Seat], database: Database) -> None:
    RUNS.append(command.how)
    for id in command.blind:
        await seats.add(Seat(id=id))
    if command.how == "save":
        await seats.save(Seat(id="a", guests=6))
    elif (found := await looked_for(command.how, seats)) is None:
        await seats.add(Seat(id="a", code=command.code, guests=1))
    else:
        found.guests += 1
    if len(RUNS) == 1:
        await by_somebody_else(database)


async def looked_for(how: str, seats: Repository[Seat]) -> Seat | None:
    if how == "find":
        return next((seat for seat in await seats.find() if seat.id == "a"), None)
    return await seats.get_by_id("a") if how == "get" else None


async def by_somebody_else(database: Database) -> None:
    async with database.transaction() as other:
        await other.execute(insert(Seat).values(id="a", code="x", guests=5, version=1))


@command_handler(WriteLabel)
async def write(command: WriteLabel, labels: Repository[Label], database: Database) -> None:
    RUNS.append("label")
    found = await labels.get_by_id("a") or await labels.add(Label("a"))
    found.guests += 1
    if len(RUNS) == 1:
        token = current_unit.set(None)
        async with UnitOfWork(database):
            await Repository(Label).add(Label("a", 5))
        current_unit.reset(token)


@pytest.fixture(params=["postgresql auto", "postgresql batch", "postgresql session", "sqlite auto"])
async def app(request: pytest.FixtureRequest, fresh: Fresh) -> AsyncIterator[App]:
    RUNS.clear()
    backend, commit = request.param.split()
    database = await fresh(backend, Tables.metadata, commit=commit)
    async with App(Module("seats", handlers=[take, write], models=[Seat]), database=database) as app:
        yield app


async def guests(app: App) -> tuple[int, int]:
    """How many there are, and how many changes the audit trail has."""
    assert app.database is not None
    counted = await app.database.query(select(func.sum(Seat.guests)))
    audited = await app.database.query(select(func.count()).select_from(audit))
    return int(counted[0][0]), int(audited[0][0])


@pytest.mark.parametrize("how", ["get", "save", "find"])
async def test_who_looked_for_the_row_runs_again_and_finds_it(app: App, how: str) -> None:
    assert (await app.bus.dispatch(TakeSeat(how=how))).is_success
    assert len(RUNS) == 2
    assert await guests(app) == (6, 1)


async def test_who_never_looked_has_a_conflict(app: App) -> None:
    result = await app.bus.dispatch(TakeSeat(how="add"))
    assert isinstance(result.error, Conflict)
    assert (RUNS, await guests(app)) == (["add"], (5, 0))


async def test_who_looked_for_one_of_two_rows_only_has_a_conflict(app: App) -> None:
    result = await app.bus.dispatch(TakeSeat(how="get", blind=("b",)))
    assert isinstance(result.error, Conflict)
    assert (RUNS, await guests(app)) == (["get"], (5, 0))


async def test_another_unique_value_that_is_taken_is_a_conflict(app: App) -> None:
    assert app.database is not None
    async with UnitOfWork(app.database):
        await Repository(Seat).add(Seat(id="z", code="y"))
    RUNS.append("somebody else came already")
    result = await app.bus.dispatch(TakeSeat(how="get", code="y"))
    assert isinstance(result.error, Conflict)
    assert len(RUNS) == 2


async def test_documents_are_looked_for_in_the_same_way(app: App) -> None:
    assert (await app.bus.dispatch(WriteLabel())).is_success
    assert app.database is not None
    async with UnitOfWork(app.database):
        assert (await Repository(Label).get("a")).guests == 6
    assert RUNS == ["label"] * 2
