"""A read replica answers what only reads; everything else goes to the database itself."""

import pytest
from pydantic import SecretStr
from sqlalchemy import MetaData, insert
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.app import App
from uno.bus import Bus, command_handler, query_handler
from uno.data import Database, Model, Repository, UnitOfWork
from uno.errors import Misconfigured, Unavailable
from uno.messages import Command, Query
from uno.modules import Module
from uno.settings import DatabaseSettings


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Copied(Base):
    __tablename__ = "copied"
    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[str] = mapped_column(default="")


copies: Repository[Copied] = Repository(Copied)


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    """One whose replica can be told from it."""
    replica = await fresh(backend, Base.metadata)
    settings = DatabaseSettings(replica_url=SecretStr(replica.url))
    database = await fresh(backend, Base.metadata, commit=request.param, settings=settings)
    for one, place in ((replica, "replica"), (database, "primary")):
        async with one.transaction() as transaction:
            await transaction.execute(insert(Copied).values(id=1, place=place))
    return database


async def everywhere(uow: UnitOfWork) -> set[str]:
    """What each way to read gives."""
    return {
        *[one.place for one in await copies.find()],
        *[one.place async for one in copies.stream()],
        (await copies.get(1)).place,
        (await uow.execute("SELECT place FROM copied")).scalar_one(),
    }


class Where(Query[set[str]]):
    pass


class WhereInside(Command[set[str]]):
    pass


@query_handler(Where)
async def where(_query: Where, uow: UnitOfWork) -> set[str]:
    return await everywhere(uow)


@command_handler(WhereInside)
async def where_inside(_command: WhereInside, bus: Bus, uow: UnitOfWork) -> set[str]:
    return await everywhere(uow) | (await bus.dispatch(Where())).unwrap()


async def test_queries_go_to_the_replica_and_commands_to_the_database(database: Database) -> None:
    async with App(Module("m", handlers=[where, where_inside]), database=database) as app:
        assert (await app.bus.dispatch(Where())).unwrap() == {"replica"}
        # A query inside a command sees what the command has done.
        assert (await app.bus.dispatch(WhereInside())).unwrap() == {"primary"}
        figures = {figure.gauge.name: figure.values for figure in await app.metrics.figures()}
        assert figures["uno_pool_connections"]["replica_open"] >= 1


async def test_a_replica_refuses_to_write(database: Database) -> None:
    if database.backend == "sqlite":  # it is for PostgreSQL; on SQLite the unit of work alone refuses
        return
    assert database.replica is not None
    with pytest.raises(Unavailable, match="only reads"):
        async with database.replica.transaction() as transaction:
            await transaction.execute(insert(Copied).values(id=2))


async def test_it_is_opened_and_closed_with_its_database(database: Database) -> None:
    assert database.replica is not None
    async with UnitOfWork(database, read_only=True):
        assert (await copies.get(1)).place == "replica"
    await database.close()
    assert database.replica.pool_use() is None
    await database.open()
    async with UnitOfWork(database, read_only=True):
        assert (await copies.get(1)).place == "replica"


def test_it_is_of_the_same_kind() -> None:
    for url, replica in (("sqlite://", "postgresql://a@b/c"), ("embedded:", "sqlite://"), ("sqlite://", "embedded:")):
        with pytest.raises(Misconfigured, match="UNO_DB_REPLICA_URL has to be of the same kind"):
            Database(url, settings=DatabaseSettings(replica_url=SecretStr(replica)))
