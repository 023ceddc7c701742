"""The shop on a database of its own, of each backend."""

from collections.abc import AsyncIterator

import pytest
from tests.flows.resources.shop import Base, Client, calling, shop

from uno.data import Database, schema
from uno.testing.postgres import DatabaseFarm


async def create_schema(url: str) -> None:
    async with Database(url) as database:
        await schema.create(database, [Base.metadata])


@pytest.fixture(scope="session")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        await farm.template("shop", create_schema)
        yield farm


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, farm: DatabaseFarm) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield "sqlite://"
    else:
        async with farm.database("shop") as url:
            yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with calling(shop(url)) as client:
        yield client
