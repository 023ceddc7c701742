"""One request, from its socket to its rows and the subscriber's log line; and a database that goes away."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
import httpx2
import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column

from uno.api import asgi, serve
from uno.app import App, Module, Route
from uno.bus import command_handler, event_handler, query_handler
from uno.data import Database, Model, Repository, VersionMixin, embedded
from uno.domain import AggregateRoot
from uno.messages import Command, DomainEvent, Query
from uno.settings import Settings, WorkerSettings
from uno.testing.postgres import DatabaseFarm

SOURCES = Path(__file__).parents[2] / "src"
SECONDS = 20.0
MINE = "this-one-request"

SHOP = """
import logging
import os

from sqlalchemy.orm import Mapped, mapped_column

from uno.app import App, Module, Route
from uno.bus import command_handler, event_handler
from uno.data import Database, Model, Repository, VersionMixin
from uno.domain import AggregateRoot
from uno.messages import Command, DomainEvent

log = logging.getLogger("shop.shipping")


class Order(VersionMixin, Model, AggregateRoot[str]):
    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)


class OrderPlaced(DomainEvent):
    order_id: str


class PlaceOrder(Command[str]):
    order_id: str


@command_handler(PlaceOrder)
async def place(command: PlaceOrder, orders: Repository[Order]) -> str:
    order = await orders.add(Order(id=command.order_id))
    order.register_event(OrderPlaced(order_id=order.id))
    return order.id


@event_handler(OrderPlaced, durable=True, name="shop.ship")
async def ship(event: OrderPlaced) -> None:
    log.info("shipping %s", event.order_id)


shop = Module("shop", handlers=[place, ship], models=[Order], routes=[Route(PlaceOrder, path="/orders")])


def app() -> App:
    return App(shop, database=Database(os.environ["UNO_DB_URL"], commit=os.environ["COMMIT"]))
"""


async def eventually(ask: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if answer := await ask():
            return answer
        await asyncio.sleep(0.01)
    pytest.fail(f"not within {SECONDS:g} s: {what}")


# ── one transaction, one correlation id ──


@dataclass
class Shop:
    """The application as an operator runs it, in a folder of its own."""

    folder: Path
    url: str
    commit: str

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`uno …`; what it prints and logs is in files called like its first argument."""
        settings = {"UNO_DB_URL": self.url, "UNO_LOG_FORMAT": "json", "COMMIT": self.commit}
        settings |= {"UNO_WORKER_POLL_INTERVAL": "0.1", "PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1"}
        with (self.folder / f"{arguments[0]}.out").open("wb") as out, self.log(arguments[0]).open("wb") as err:
            line = [sys.executable, "-m", "uno.cli", *arguments]
            environment = {**os.environ, **settings}
            return subprocess.Popen(
                line, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        process = self.start(*arguments)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def log(self, command: str) -> Path:
        return self.folder / f"{command}.err"

    def logged(self, command: str) -> list[dict[str, Any]]:
        """The whole lines that are JSON."""
        lines = self.log(command).read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"\n")]

    async def address(self, server: subprocess.Popen[bytes]) -> str:
        """Where it serves, once it does."""

        async def told() -> str | None:
            assert server.poll() is None, self.log("run").read_text()
            _, _, after = (self.folder / "run.out").read_text().partition("Serving on ")
            return after.strip() if after.endswith("\n") else None

        address: str = await eventually(told, "an address")
        return address


@pytest.fixture(scope="module")
async def farm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DatabaseFarm]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.py").write_text(SHOP)

    async def create_schema(url: str) -> None:
        shop = Shop(folder, url, "auto")
        with shop.running("db", "create", "shop:app") as creating:
            assert await asyncio.to_thread(creating.wait, SECONDS) == 0, shop.log("db").read_text()

    async with DatabaseFarm() as farm:
        await farm.template("shop", create_schema)
        yield farm


@pytest.fixture(params=["auto", "batch"])
async def shop(request: pytest.FixtureRequest, farm: DatabaseFarm, tmp_path: Path) -> Shop:
    (tmp_path / "shop.py").write_text(SHOP)
    return Shop(tmp_path, await farm.create("shop"), request.param)


@pytest.fixture
async def connection(shop: Shop) -> "AsyncIterator[asyncpg.Connection]":
    connection = await asyncpg.connect(shop.url)
    yield connection
    await connection.close()


@asynccontextmanager
async def busy_neighbours(client: httpx2.AsyncClient) -> AsyncIterator[None]:
    """Three others who place orders all the time, before, during and after the block."""
    placed = 0

    async def place(who: int) -> None:
        nonlocal placed
        for n in range(1_000_000):
            (await client.post("/orders", json={"order_id": f"neighbour-{who}-{n}"})).raise_for_status()
            placed += 1

    async def more_than(count: int) -> None:
        async def enough() -> bool:
            assert not any(task.done() for task in writing)
            return placed > count

        await eventually(enough, "orders of the neighbours")

    writing = [asyncio.create_task(place(who)) for who in range(3)]
    try:
        await more_than(5)
        yield
        await more_than(placed + 5)
    finally:
        for task in writing:
            task.cancel()
        await asyncio.wait(writing)


async def rows_of(connection: "asyncpg.Connection", transaction: str) -> dict[str, int]:
    """How many rows of each table a transaction wrote, in all tables there are."""
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    counts = {
        name: await connection.fetchval(f'SELECT count(*) FROM "{name}" WHERE xmin::text = $1', transaction)
        for (name,) in tables
    }
    return {name: count for name, count in counts.items() if count}


ROWS = """
    SELECT 'orders' AS book, xmin::text, NULL AS correlation_id FROM orders WHERE id = 'mine'
    UNION ALL SELECT 'audit', xmin::text, correlation_id FROM uno_audit WHERE record_id = 'mine'
    UNION ALL SELECT 'delivery', xmin::text, correlation_id FROM uno_delivery WHERE aggregate_id = 'mine'
"""


async def test_one_post_writes_three_rows_in_one_transaction_and_its_id_is_in_the_subscribers_log(
    shop: Shop, connection: "asyncpg.Connection"
) -> None:
    with shop.running("run", "shop:app", "--port", "0") as server:
        async with httpx2.AsyncClient(base_url=await shop.address(server)) as client:
            async with busy_neighbours(client):
                answer = await client.post("/orders", json={"order_id": "mine"}, headers={"X-Correlation-ID": MINE})
            assert (answer.status_code, answer.headers["x-correlation-id"]) == (200, MINE)
    # A worker changes the delivery, and with it who wrote it last: it starts only now.
    rows = await connection.fetch(ROWS)
    assert [(row["book"], row["correlation_id"]) for row in rows] == [
        ("orders", None),
        ("audit", MINE),
        ("delivery", MINE),
    ]
    [transaction] = {row["xmin"] for row in rows}
    assert await rows_of(connection, transaction) == {"orders": 1, "uno_audit": 1, "uno_delivery": 1}
    orders, transactions = await connection.fetchrow("SELECT count(*), count(DISTINCT xmin::text) FROM orders")
    assert orders == transactions > 10

    async def shipped() -> list[dict[str, Any]]:
        assert worker.poll() is None, shop.log("worker").read_text()
        return [line for line in shop.logged("worker") if line["event"] == "shipping mine"]

    with shop.running("worker", "shop:app") as worker:
        [line] = await eventually(shipped, "the subscriber's log line")
    assert (line["logger"], line["level"], line["correlation_id"]) == ("shop.shipping", "info", MINE)
    ids = {one["event"]: one["correlation_id"] for one in shop.logged("worker") if one["logger"] == "shop.shipping"}
    assert [event for event, correlation_id in ids.items() if correlation_id == MINE] == ["shipping mine"]
    assert len(set(ids.values())) == len(ids) > 1


# ── the database goes away while the application runs ──


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Letter(VersionMixin, Tables, AggregateRoot[str]):
    __tablename__ = "letters"
    id: Mapped[str] = mapped_column(primary_key=True)


class LetterSent(DomainEvent):
    letter_id: str


class SendLetter(Command[str]):
    letter_id: str


class CountLetters(Query[int]):
    pass


@command_handler(SendLetter)
async def send(command: SendLetter, letters: Repository[Letter]) -> str:
    letter = await letters.add(Letter(id=command.letter_id))
    letter.register_event(LetterSent(letter_id=letter.id))
    return letter.id


@query_handler(CountLetters)
async def count(query: CountLetters, letters: Repository[Letter]) -> int:
    return await letters.count()


delivered: set[str] = set()


@event_handler(LetterSent, durable=True, name="post.deliver")
async def deliver(event: LetterSent) -> None:
    delivered.add(event.letter_id)


ROUTES = [Route(SendLetter, path="/letters"), Route(CountLetters, method="GET", path="/letters/count")]
post_office = Module("post", handlers=[send, count, deliver], models=[Letter], routes=ROUTES)


@pytest.fixture
def folder() -> Iterator[Path]:
    """For a server of its own; the user it runs as can enter it."""
    folder = Path(tempfile.mkdtemp(prefix="uno-one-request-"))
    folder.chmod(0o711)
    yield folder / "pg"
    embedded.stop(folder / "pg", force=True)
    shutil.rmtree(folder)


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a server with a worker in it."""
    urls: asyncio.Queue[str] = asyncio.Queue()
    delivered.clear()
    settings = Settings(worker=WorkerSettings(poll_interval=0.1))
    app = App(post_office, database=url, settings=settings, worker=True)
    async with Database(url) as database:
        await App(post_office, database=database).create_schema()
    task = asyncio.create_task(serve(asgi(app), port=0, ready=urls.put_nowait))
    try:
        async with httpx2.AsyncClient(base_url=await asyncio.wait_for(urls.get(), SECONDS)) as client:
            yield client
    finally:
        task.cancel()
        await asyncio.wait([task])


def kill(folder: Path) -> None:
    pid = embedded.status(folder).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def stop(folder: Path) -> None:
    assert embedded.stop(folder, force=True)


async def check_health(client: httpx2.AsyncClient, *, ready: int) -> None:
    found = [(await client.get(f"/health/{kind}")).status_code for kind in ("live", "ready")]
    assert found == [200, ready]


async def check_unavailable(client: httpx2.AsyncClient) -> None:
    """Both reading and writing say so, again and again."""
    for method, path, body in 3 * [("GET", "/letters/count", None), ("POST", "/letters", {"letter_id": "lost"})]:
        answer = await client.request(method, path, json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json"), answer.text
        assert int(answer.headers["retry-after"]) >= 1
        problem = answer.json()
        assert problem["type"] in ("urn:uno:problem:unavailable", "urn:uno:problem:outcome-unknown")
        assert problem["correlation_id"] == answer.headers["x-correlation-id"]


async def send_letter(client: httpx2.AsyncClient, letter_id: str) -> None:
    assert (await client.post("/letters", json={"letter_id": letter_id})).json() == letter_id


@asynccontextmanager
async def gone(folder: Path, end: Callable[[Path], None]) -> AsyncIterator[None]:
    """Without a database inside the block, and with one again behind it."""
    before = embedded.status(folder)
    await asyncio.to_thread(end, folder)

    async def ended() -> bool:
        return not (await asyncio.to_thread(embedded.status, folder)).running

    await eventually(ended, "the end of the database")
    yield
    after = await asyncio.to_thread(embedded.start, folder)
    assert (after.pid != before.pid, after.port) == (True, before.port)


async def test_a_database_that_goes_away_is_503_and_everything_works_again_when_it_is_back(folder: Path) -> None:
    # Not careless: what was answered before a kill has to be there after it.
    server = await asyncio.to_thread(embedded.start, folder)
    async with serving(server.url) as client:

        async def works() -> bool:
            return (await client.get("/letters/count")).status_code == 200

        async def all_delivered() -> bool:
            return bool((await client.get("/letters/count")).json() == len(delivered))

        for n, end in enumerate([kill, stop]):
            await send_letter(client, f"before {n}")
            await check_health(client, ready=200)
            async with gone(folder, end):
                await check_unavailable(client)
                await check_health(client, ready=503)
            await eventually(works, "an answer without a restart")
            await send_letter(client, f"after {n}")
            await check_health(client, ready=200)
        await eventually(all_delivered, "the deliveries of a worker that was not restarted")
        assert delivered == {"before 0", "after 0", "before 1", "after 1"}
