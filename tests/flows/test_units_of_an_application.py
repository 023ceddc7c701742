"""However a unit of work over the database of an application is opened, it is one of the application's."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from uno import AggregateRoot, App, DomainEvent, Module, Repository, UnitOfWork, event_handler
from uno.audit import AuditTrail
from uno.data import Database, schema, session, transaction
from uno.testing.postgres import DatabaseFarm


class ParcelSent(DomainEvent):
    parcel: str


class Parcel(AggregateRoot[str]):
    pass


Write = Callable[[App, str], Awaitable[None]]
parcels = Repository(Parcel)


async def send(id: str) -> None:
    parcel = await parcels.add(Parcel(id=id))
    parcel.register_event(ParcelSent(parcel=id))


async def in_a_unit(app: App, id: str) -> None:
    async with UnitOfWork(app.database):
        await send(id)


async def in_a_transaction(app: App, id: str) -> None:
    async with transaction(app.database):
        await send(id)


async def beside_a_session(app: App, id: str) -> None:
    async with session(app.database):
        await send(id)


async def many_at_once(app: App, id: str) -> None:
    parcel = Parcel(id=id)
    parcel.register_event(ParcelSent(parcel=id))
    async with UnitOfWork(app.database):
        await parcels.insert_many([parcel])


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        await farm.template("uno", create_schema)
        yield farm


async def create_schema(url: str) -> None:
    async with Database(url) as database:
        await schema.create(database)


@pytest.fixture(params=["postgresql", "sqlite"])
async def url(request: pytest.FixtureRequest, farm: DatabaseFarm, tmp_path: Any) -> str:
    if request.param == "postgresql":
        return await farm.create("uno")
    await create_schema(f"sqlite:///{tmp_path}/x.db")
    return f"sqlite:///{tmp_path}/x.db"


@pytest.mark.parametrize("write", [in_a_unit, in_a_transaction, beside_a_session, many_at_once])
async def test_it_is_audited_and_its_events_are_delivered(url: str, write: Write) -> None:
    heard: list[str] = []

    @event_handler(ParcelSent, durable=True, name="parcels.hear")
    async def hear(event: ParcelSent) -> None:
        heard.append(event.parcel)

    async with App(Module("parcels", models=[Parcel], handlers=[hear]), database=url) as app:
        await write(app, "a")
        await app.worker().drain()
        found = await AuditTrail(app.database).query()
        assert [(one.component, one.record_id, one.operation) for one in found] == [("Parcel", "a", "create")]
        assert heard == ["a"]


async def test_who_wants_a_bare_one_says_so(url: str) -> None:
    async with App(Module("parcels", models=[Parcel]), database=url) as app:
        async with UnitOfWork(app.database, books=()):
            await parcels.add(Parcel(id="a"))
        assert await AuditTrail(app.database).query() == []
