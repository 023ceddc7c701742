"""Many writers of the same rows: nothing is lost, nothing deadlocks, and what clashed is run again."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar

import pytest
from sqlalchemy import MetaData, String, func, select, update
from sqlalchemy.orm import Mapped, mapped_column

from uno.app import App
from uno.audit.tables import audit
from uno.bus import command_handler, query_handler
from uno.data import Database, Model, Repository, VersionMixin
from uno.errors import Conflict, VersionConflict
from uno.messages import Command, Query
from uno.modules import Module
from uno.settings import DatabaseSettings

Fresh = Callable[..., Awaitable[Database]]
WRITERS, TURNS = 16, 6


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Counter(VersionMixin, Tables):
    __tablename__ = "counter"
    id: Mapped[str] = mapped_column(String(5), primary_key=True)
    value: Mapped[int] = mapped_column(default=0)


class Count(Command[None]):
    ids: tuple[str, ...]


class CountTooLate(Command[None]):
    times: int


class Refuse(Command[None]):
    pass


class Peek(Query[None]):
    pass


RUNS: list[str] = []


@command_handler(Count)
async def count(command: Count, counters: Repository[Counter]) -> None:
    found = [await counters.get(id) for id in command.ids]
    for counter in found:
        counter.value += 1


@command_handler(CountTooLate)
async def count_too_late(command: CountTooLate, counters: Repository[Counter], database: Database) -> None:
    RUNS.append("late")
    counter = await counters.get("a")
    counter.value += 1
    if len(RUNS) <= command.times:
        async with database.transaction() as other:
            await other.execute(update(Counter).where(Counter.id == "a").values(version=Counter.version + 1))


@command_handler(Refuse)
async def refuse(command: Refuse) -> None:
    RUNS.append("refused")
    raise VersionConflict("Counter", ["a"])


@query_handler(Peek)
async def peek(query: Peek) -> None:
    RUNS.append("peeked")
    raise Conflict("never mind", repeatable=True)


@pytest.fixture(params=["postgresql auto", "postgresql batch", "sqlite auto"])
async def app(request: pytest.FixtureRequest, fresh: Fresh) -> AsyncIterator[App]:
    RUNS.clear()
    backend, commit = request.param.split()
    settings = DatabaseSettings(pool_size=8, max_overflow=8)
    database = await fresh(backend, Tables.metadata, commit=commit, settings=settings)
    async with database.session() as session:
        session.add_all(Counter(id=id, version=1) for id in "abcdef")
    module = Module("counters", handlers=[count, count_too_late, refuse, peek], models=[Counter])
    async with App(module, database=database) as app:
        yield app


async def total(app: App) -> tuple[int, int]:
    """What the counters say, and how many changes the audit trail has."""
    assert app.database is not None
    counted = await app.database.query(select(func.sum(Counter.value)))
    audited = await app.database.query(select(func.count()).select_from(audit))
    return int(counted[0][0]), int(audited[0][0])


async def test_sixteen_writers_of_two_of_six_rows_lose_nothing_and_never_deadlock(app: App) -> None:
    done: list[int] = []

    async def write(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(TURNS):
            result = await app.bus.dispatch(Count(ids=tuple(chosen.sample("abcdef", 2))))
            if result.is_success:
                done.append(seed)
            else:
                assert isinstance(result.error, VersionConflict)

    await asyncio.gather(*(write(seed) for seed in range(WRITERS)))
    assert len(done) > WRITERS
    assert await total(app) == (2 * len(done), 2 * len(done))


async def test_a_command_that_clashed_is_run_again_and_succeeds(app: App) -> None:
    assert (await app.bus.dispatch(CountTooLate(times=2))).is_success
    assert RUNS == ["late"] * 3
    assert await total(app) == (1, 1)


async def test_a_command_that_clashes_every_time_is_given_up_after_three_runs(app: App) -> None:
    result = await app.bus.dispatch(CountTooLate(times=10))
    assert isinstance(result.error, VersionConflict)
    assert result.error.ids == ("a",)
    assert RUNS == ["late"] * 3
    assert await total(app) == (0, 0)


async def test_a_conflict_that_the_handler_raised_itself_is_its_answer(app: App) -> None:
    assert isinstance((await app.bus.dispatch(Refuse())).error, VersionConflict)
    assert isinstance((await app.bus.dispatch(Peek())).error, Conflict)
    assert RUNS == ["refused", "peeked"]


async def test_nothing_stays_checked_out(app: App) -> None:
    await asyncio.gather(*(app.bus.dispatch(Count(ids=("a", "b"))) for _ in range(WRITERS)))
    assert app.database is not None
    pool = app.database.engine.pool
    assert pool.checkedout() == 0  # type: ignore[attr-defined]
