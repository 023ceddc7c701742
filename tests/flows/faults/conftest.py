"""The depot on a database of its own, of each backend."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.flows.faults.depot import Base, Client, calling, depot

from uno.app import App
from uno.data import Database, schema
from uno.testing.postgres import DatabaseFarm


async def create_schema(url: str) -> None:
    async with Database(url) as database:
        await schema.create(database, [Base.metadata])


@pytest.fixture(scope="session")
async def depots(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[DatabaseFarm, Path]]:
    file = tmp_path_factory.mktemp("depots") / "template.db"
    await create_schema(f"sqlite:///{file}")
    async with DatabaseFarm() as farm:
        await farm.template("depot", create_schema)
        yield farm, file


@pytest.fixture
async def postgresql(depots: tuple[DatabaseFarm, Path]) -> AsyncIterator[str]:
    async with depots[0].database("depot") as url:
        yield f"{url}?sslmode=disable"


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, depots: tuple[DatabaseFarm, Path], tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield copied(depots, tmp_path)
    else:
        async with depots[0].database("depot") as url:
            yield f"{url}?sslmode=disable"


def copied(depots: tuple[DatabaseFarm, Path], folder: Path) -> str:
    """The URL of a new SQLite database."""
    return f"sqlite:///{shutil.copy(depots[1], folder / 'depot.db')}"


@pytest.fixture
def app(url: str) -> App:
    return depot(url)


@pytest.fixture
async def client(app: App) -> AsyncIterator[Client]:
    async with calling(app) as client:
        yield client
