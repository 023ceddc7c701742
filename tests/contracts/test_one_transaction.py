"""A command writes exactly its entity, audit and delivery rows, in one transaction."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar

import asyncpg
import pytest
from sqlalchemy import MetaData, String
from sqlalchemy.orm import Mapped, mapped_column

from uno import context
from uno.app import App
from uno.bus import command_handler, event_handler
from uno.context import Context
from uno.data import Database, Model, Repository, ULIDMixin, VersionMixin
from uno.domain import AggregateRoot
from uno.messages import Command, DomainEvent
from uno.modules import Module
from uno.result import Success

Fresh = Callable[..., Awaitable[Database]]


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Parcel(ULIDMixin, VersionMixin, Tables, AggregateRoot[str]):
    __tablename__ = "parcel"
    label: Mapped[str] = mapped_column(String(50))


class Crate(AggregateRoot[str]):
    def __init__(self, id: str, label: str) -> None:
        super().__init__(id=id)
        self.label = label


class ParcelSent(DomainEvent):
    parcel_id: str


class ParcelSeen(DomainEvent):
    parcel_id: str


class SendParcel(Command[str]):
    label: str


class SendCrate(Command[str]):
    label: str


@command_handler(SendParcel)
async def send_parcel(command: SendParcel, parcels: Repository[Parcel]) -> str:
    parcel = await parcels.add(Parcel(label=command.label))
    parcel.register_event(ParcelSent(parcel_id=parcel.id))
    parcel.register_event(ParcelSeen(parcel_id=parcel.id))
    return parcel.id


@command_handler(SendCrate)
async def send_crate(command: SendCrate, crates: Repository[Crate]) -> str:
    crate = await crates.add(Crate(id=f"crate-{command.label}", label=command.label))
    crate.register_event(ParcelSent(parcel_id=crate.id))
    return crate.id


@event_handler(ParcelSent, durable=True, name="tests.bill")
async def bill(event: ParcelSent) -> None: ...


@event_handler(ParcelSent, durable=True, name="tests.track")
async def track(event: ParcelSent) -> None: ...


@event_handler(ParcelSeen)
async def look(event: ParcelSeen) -> None: ...


@pytest.fixture(params=["auto", "batch", "session"])
async def app(request: pytest.FixtureRequest, fresh: Fresh) -> AsyncIterator[App]:
    database = await fresh("postgresql", Tables.metadata, commit=request.param)
    module = Module("post", handlers=[send_parcel, send_crate, bill, track, look], models=[Parcel, Crate])
    async with App(module, database=database) as app:
        yield app


@contextlib.asynccontextmanager
async def a_busy_neighbour(app: App) -> AsyncIterator[None]:
    """Somebody who writes all the time; two commands are through when the block begins."""
    enough = asyncio.Event()

    async def write() -> None:
        for n in range(1_000_000):
            (await app.bus.dispatch(SendParcel(label=f"neighbour {n}"))).unwrap()
            if n == 1:
                enough.set()

    task = asyncio.create_task(write())
    await enough.wait()
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


ROWS = """
    SELECT 'parcel' AS book, xmin::text, id AS about, NULL AS correlation FROM parcel WHERE id = $1
    UNION ALL SELECT 'document', xmin::text, id, NULL FROM uno_document WHERE id = $1
    UNION ALL SELECT 'audit', xmin::text, record_id, correlation_id FROM uno_audit WHERE record_id = $1
    UNION ALL SELECT subscriber, xmin::text, aggregate_id, correlation_id FROM uno_delivery WHERE aggregate_id = $1
"""
WRITTEN_BY = """
    SELECT sum(n) FROM (
        SELECT count(*) AS n FROM parcel WHERE xmin::text = $1 UNION ALL
        SELECT count(*) FROM uno_document WHERE xmin::text = $1 UNION ALL
        SELECT count(*) FROM uno_audit WHERE xmin::text = $1 UNION ALL
        SELECT count(*) FROM uno_delivery WHERE xmin::text = $1) written
"""


@pytest.mark.parametrize(("command", "book"), [(SendParcel, "parcel"), (SendCrate, "document")])
async def test_a_command_writes_its_rows_in_one_transaction_and_nothing_else(app: App, command: Any, book: str) -> None:
    async with a_busy_neighbour(app):
        with context.use(Context(correlation_id="this-request")):
            result = await app.bus.dispatch(command(label="mine"))
    assert isinstance(result, Success)
    assert app.database is not None
    connection = await asyncpg.connect(app.database.dsn)
    try:
        rows = await connection.fetch(ROWS, result.value)
        transactions = {row["xmin"] for row in rows}
        assert sorted(row["book"] for row in rows) == sorted([book, "audit", "tests.bill", "tests.track"])
        assert len(transactions) == 1
        assert await connection.fetchval(WRITTEN_BY, *transactions) == 4
        assert {row["correlation"] for row in rows} == {None, "this-request"}
        others = await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM parcel")
        assert others >= 2
    finally:
        await connection.close()
