"""One trace from the request to the subscriber, as a collector receives it over its socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import ClassVar

import httpx2
import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.orm import Mapped, mapped_column

from uno.api import asgi, serve
from uno.app import App, Module, Route
from uno.bus import command_handler, event_handler, query_handler
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.messages import Command, DomainEvent, Query
from uno.settings import OtelSettings, Settings, WorkerSettings
from uno.telemetry import exposition, span
from uno.testing.otlp import Collector, ReceivedSpan
from uno.testing.postgres import DatabaseFarm

SECONDS = 30.0
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Parcel(VersionMixin, Tables, AggregateRoot[str]):
    __tablename__ = "parcels"
    id: Mapped[str] = mapped_column(primary_key=True)
    shipped: Mapped[bool] = mapped_column(default=False)


class ParcelPacked(DomainEvent):
    name: ClassVar[str] = "parcels.packed"
    parcel_id: str


class PackParcel(Command[str]):
    name: ClassVar[str] = "parcels.pack"
    parcel_id: str


class ShipParcel(Command[None]):
    name: ClassVar[str] = "parcels.ship"
    parcel_id: str


class CountParcels(Query[int]):
    name: ClassVar[str] = "parcels.count"


@command_handler(PackParcel)
async def pack(command: PackParcel, parcels: Repository[Parcel]) -> str:
    with span("wrap", paper="brown"):
        parcel = await parcels.add(Parcel(id=command.parcel_id))
    parcel.register_event(ParcelPacked(parcel_id=parcel.id))
    return parcel.id


@command_handler(ShipParcel)
async def ship(command: ShipParcel, parcels: Repository[Parcel]) -> None:
    (await parcels.get(command.parcel_id)).shipped = True


@event_handler(ParcelPacked, durable=True, name="parcels.label")
async def label(event: ParcelPacked, parcels: Repository[Parcel]) -> None:
    (await parcels.get(event.parcel_id)).shipped = True


@query_handler(CountParcels)
async def count(query: CountParcels, uow: UnitOfWork) -> int:
    transaction = await uow.transaction()
    return int((await transaction.execute(text("SELECT count(*) FROM parcels"))).scalar_one())


ROUTES = [
    Route(PackParcel, path="/parcels"),
    Route(ShipParcel, path="/parcels/{parcel_id}/ship"),
    Route(CountParcels, method="GET", path="/parcels/count"),
]
parcels = Module("parcels", handlers=[pack, ship, label, count], models=[Parcel], routes=ROUTES)


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async def create_schema(url: str) -> None:
        async with Database(url) as database:
            await App(parcels, database=database).create_schema()

    async with DatabaseFarm() as farm:
        await farm.template("parcels", create_schema)
        yield farm


@pytest.fixture(params=["postgresql", "sqlite"])
async def url(request: pytest.FixtureRequest, farm: DatabaseFarm) -> str:
    return await farm.create("parcels") if request.param == "postgresql" else "sqlite://"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@asynccontextmanager
async def serving(url: str, collector: Collector) -> AsyncIterator[tuple[App, httpx2.AsyncClient]]:
    """A client of a server with a worker in it; afterwards everything has been sent."""
    urls: asyncio.Queue[str] = asyncio.Queue()
    otel = OtelSettings(endpoint=collector.endpoint, service_name="parcels", interval=0.05, metrics_interval=0.05)
    app = App(
        parcels,
        database=url,
        settings=Settings(worker=WorkerSettings(poll_interval=0.1), otel=otel),
        worker=True,
    )
    task = asyncio.create_task(serve(asgi(app), port=0, ready=urls.put_nowait))
    try:
        async with httpx2.AsyncClient(base_url=await asyncio.wait_for(urls.get(), SECONDS)) as client:
            yield app, client
    finally:
        task.cancel()
        await asyncio.wait([task])


async def eventually(ask: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not ask():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {SECONDS:g} s: {what}")
        await asyncio.sleep(0.01)


async def seen(collector: Collector, name: str) -> None:
    await eventually(lambda: any(one.name == name for one in collector.spans), f"the span {name!r}")


async def pushed(collector: Collector, *names: str) -> None:
    await eventually(lambda: {*names} <= {one.name for one in collector.metrics}, f"the metrics {names}")


def way(one: ReceivedSpan, by_id: dict[str, ReceivedSpan]) -> list[str]:
    """The names from the outermost span to this one."""
    above = by_id.get(one.parent_span_id or "")
    return [*(way(above, by_id) if above else []), one.name]


def find(collector: Collector, fits: Callable[[ReceivedSpan], bool]) -> list[ReceivedSpan]:
    return [one for one in collector.spans if fits(one)]


async def test_one_trace_spans_request_command_sql_outbox_worker_and_subscriber(url: str, collector: Collector) -> None:
    async with serving(url, collector) as (app, client):
        answer = await client.post("/parcels", json={"parcel_id": "p-1"}, headers={"traceparent": CALLER})
        assert answer.json() == "p-1"
        await seen(collector, "process parcels.packed")
        page = (await exposition(app.metrics)).decode()
        await pushed(collector, "uno.message.duration", "uno_pool_connections", "uno_queue_lag_seconds")
    ours = find(collector, lambda one: one.trace_id == CALLER[3:35])
    by_id = {one.span_id: one for one in ours}
    ways = {" > ".join(way(one, by_id)): one for one in ours}
    request = "POST /parcels"
    handler = f"{request} > parcels.pack > handle parcels.pack"
    sent = next(path for path in ways if path.endswith("send parcels.packed"))
    worked = f"{sent} > process parcels.packed"
    assert sent.startswith(f"{request} > parcels.pack")
    assert {request, f"{request} > parcels.pack", handler, f"{handler} > wrap", worked} <= set(ways)
    assert f"{worked} > parcels.packed > handle parcels.packed" in ways
    # Both wrote: the command its rows and the delivery, the subscriber its row and the completion.
    for around in (f"{request} > parcels.pack", f"{worked} > parcels.packed"):
        statements = [one for path, one in ways.items() if path.startswith(around) and one.kind == "client"]
        assert any("parcels" in one.attributes["db.query.text"] for one in statements), around
    first = ways[request]
    assert (first.parent_span_id, first.kind) == (CALLER[36:52], "server")
    assert first.attributes == {
        "http.request.method": "POST",
        "url.path": "/parcels",
        "http.route": "/parcels",
        "http.response.status_code": 200,
    }
    assert (ways[sent].kind, ways[worked].kind) == ("producer", "consumer")
    assert ways[f"{handler} > wrap"].attributes == {"paper": "brown"}
    assert {one.resource["service.name"] for one in ours} == {"parcels"}
    assert not any(one.is_error for one in ours)
    # Nothing of what was stored is in a statement.
    assert not any("p-1" in str(one.attributes.get("db.query.text")) for one in ours)
    assert 'uno_message_seconds_count{message="parcels.pack"} 1.0' in page
    assert 'uno_pool_connections{state="in_use"}' in page
    assert "uno_queue_lag_seconds" in page


async def test_requests_without_a_caller_have_traces_of_their_own_and_their_route_as_name(
    url: str, collector: Collector
) -> None:
    async with serving(url, collector) as (_, client):
        await client.post("/parcels", json={"parcel_id": "p-2"})
        await client.post("/parcels/p-2/ship", headers={"X-Correlation-ID": "order-7"})
        await client.get("/parcels/count")
        missing = await client.post("/parcels/nobody/ship")
        assert missing.status_code == 404
        nowhere = await client.get("/nowhere")
    requests = find(collector, lambda one: one.kind == "server")
    assert sorted(one.name for one in requests) == [
        "GET",
        "GET /parcels/count",
        "POST /parcels",
        "POST /parcels/{parcel_id}/ship",
        "POST /parcels/{parcel_id}/ship",
    ]
    assert len({one.trace_id for one in requests}) == 5
    assert {one.parent_span_id for one in requests} == {None}
    # The answer that says what went wrong names its trace.
    assert {missing.json()["trace_id"], nowhere.json()["trace_id"]} < {one.trace_id for one in requests}
    [refused] = find(
        collector, lambda one: one.attributes.get("uno.status") == "failure" and one.name == "parcels.ship"
    )
    assert refused.trace_id == missing.json()["trace_id"]
    roots = {one.span_id for one in requests}
    [counting] = find(collector, lambda one: one.attributes.get("db.query.text") == "SELECT count(*) FROM parcels")
    assert counting.kind == "client"
    assert all(one.parent_span_id for one in collector.spans if one.span_id not in roots)


async def test_a_worker_with_nothing_to_do_makes_no_spans(url: str, collector: Collector) -> None:
    async with serving(url, collector) as (app, _):
        await app.worker().drain()
        await pushed(collector, "uno_queue_lag_seconds")
    assert collector.spans == []
