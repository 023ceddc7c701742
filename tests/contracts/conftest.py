"""Fresh databases of every backend, for the contracts that all of them keep."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import MetaData
from tests.contracts import tenants
from tests.contracts.trips import Base, Trip, audited

from uno.data import Database, schema
from uno.data.blocking import Blocking
from uno.data.facades import BlockingRepository
from uno.settings import DatabaseSettings
from uno.sync import Portal, wait_in
from uno.testing.postgres import DatabaseFarm

BACKENDS = ("sqlite", "postgresql")
# All that a test may choose: backend, tables, commit form, settings.
Fresh = Callable[..., Awaitable[Database]]


class Templates:
    """Makes databases that already have uno's tables and those of a test, on either backend."""

    def __init__(self, farm: DatabaseFarm, folder: Path) -> None:
        self._farm = farm
        self._folder = folder
        self._made = 0

    async def url(self, backend: str, tables: MetaData | None) -> str:
        """The URL of a new database."""
        name = str(id(tables))
        if backend == "postgresql":
            await self._farm.template(name, lambda url: _prepare(url, tables))
            # asyncpg does not expect to be cancelled while it asks whether the server speaks TLS.
            return f"{await self._farm.create(name)}?sslmode=disable"
        template = self._folder / f"{name}.template"
        if not template.exists():
            await _prepare(f"sqlite:///{template}", tables)
        self._made += 1
        return f"sqlite:///{shutil.copy(template, self._folder / f'{self._made}.db')}"

    async def remove(self, url: str) -> None:
        """A server with many databases is slow."""
        if url.startswith("postgresql"):
            await self._farm.drop(url)

    async def empty_url(self, backend: str) -> str:
        """The URL of a new database without any tables."""
        if backend == "postgresql":
            return await self._farm.create()
        self._made += 1
        return f"sqlite:///{self._folder / f'{self._made}.db'}"


async def _prepare(url: str, tables: MetaData | None) -> None:
    async with Database(url) as database:
        await schema.create(database, [] if tables is None else [tables])


@pytest.fixture(scope="session")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        yield farm


@pytest.fixture(scope="session")
async def templates(farm: DatabaseFarm, tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return Templates(farm, tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="module")
async def lasting(templates: Templates) -> AsyncIterator[Fresh]:
    """The same as `fresh`, for all tests of a module."""
    async with AsyncExitStack() as stack:
        yield _fresh(templates, stack)


@pytest.fixture
async def fresh(templates: Templates) -> AsyncIterator[Fresh]:
    """`await fresh(backend, tables, commit=…, settings=…)` is an open, empty database."""
    async with AsyncExitStack() as stack:
        yield _fresh(templates, stack)


def _fresh(templates: Templates, stack: AsyncExitStack) -> Fresh:
    async def make(
        backend: str,
        tables: MetaData | None = None,
        *,
        commit: str = "auto",
        settings: DatabaseSettings | None = None,
        like: Database | None = None,
    ) -> Database:
        """`like` opens another one over the same data."""
        url = await templates.url(backend, tables) if like is None else like.url
        if like is None:
            stack.push_async_callback(templates.remove, url)
        return await stack.enter_async_context(Database(url, commit=commit, settings=settings))

    return make


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# How synchronous code may meet a database.
WAYS = ("sqlite", "sqlite in memory", "postgresql", "postgresql in a running loop")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def trip_url(templates: Templates, way: str) -> AsyncIterator[str]:
    url = "sqlite://" if "memory" in way else await templates.url(way.split()[0], Base.metadata)
    yield url
    await templates.remove(url)


@pytest.fixture
def blocking(trip_url: str, way: str) -> Iterator[Blocking]:
    database = audited(Database(trip_url))
    application = Portal() if "running" in way else None
    if application is not None:
        wait_in(application.loop, database.open)
    with database.blocking as blocking:
        if "memory" in way:
            blocking.run(schema.create, database, [Base.metadata])
        yield blocking
    if application is not None:
        wait_in(application.loop, database.close)
        application.close()


@pytest.fixture
def trips(blocking: Blocking) -> BlockingRepository[Trip]:
    with blocking.unit_of_work() as uow:
        for number, place in enumerate(["Bonn", "Ulm", "Jena", "Kiel"]):
            uow.repository(Trip).add(Trip(id=number, place=place, price=10 * number))
    return blocking.repository(Trip)


@pytest.fixture
async def tenant_owner(fresh: Fresh) -> Database:
    """What the owner of the tables of two tenants sees: all of it."""
    database = await fresh("postgresql", tenants.Base.metadata)
    await tenants.fill(database)
    return database


@pytest.fixture
async def tenant_url(tenant_owner: Database) -> AsyncIterator[str]:
    """The URL of the same for a role for which the policies hold."""
    async with tenants.member(tenant_owner.dsn) as url:
        yield url
