"""Requests with an `Idempotency-Key` to a real server over PostgreSQL: many at once, killed, and cut off."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from uno.data import Database, schema
from uno.testing.postgres import DatabaseFarm

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
KEYS, TIMES, AT_ONCE = 100, 20, 4
BANK = """
import os
import signal
from typing import Any

from uno import ids
from uno.app import App, Module, Route
from uno.bus import command_handler
from uno.bus.unit import ambient
from uno.data import Repository, UnitOfWork
from uno.domain import AggregateRoot
from uno.messages import Command

DIES = os.environ.get("DIES")


class Payment(AggregateRoot[str]):
    def __init__(self, id: str, amount: int) -> None:
        super().__init__(id=id)
        self.amount = amount


class MakePayment(Command[Payment]):
    amount: int


def die(when: str) -> None:
    if DIES == when:
        os.kill(os.getpid(), signal.SIGKILL)


@command_handler(MakePayment)
async def pay(command: MakePayment, payments: Repository[Payment], unit: UnitOfWork) -> Payment:
    payment = await payments.add(Payment(ids.new_id(), command.amount))
    await unit.flush()
    die("before the commit")
    return payment


async def around(message: Any, call_next: Any) -> Any:
    result = await call_next(message)
    die("after the commit")
    return result


bank = Module("bank", handlers=[pay], models=[Payment], routes=[Route(MakePayment, path="/payments", status=201)])


def app() -> App:
    return App(bank, middleware=[around])
"""


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async def prepare(url: str) -> None:
        async with Database(url) as database:
            await schema.create(database)

    async with DatabaseFarm() as farm:
        await farm.template("bank", prepare)
        yield farm


@pytest.fixture
async def url(farm: DatabaseFarm) -> str:
    return f"{await farm.create('bank')}?sslmode=disable"


@pytest.fixture
async def admin(url: str) -> "AsyncIterator[asyncpg.Connection]":
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def eventually(ask: Callable[[], Awaitable[Any]], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if answer := await ask():
            return answer
        await asyncio.sleep(0.01)
    pytest.fail(f"not within {SECONDS:g} s: {what}")


class Client:
    """Asks for payments as a careful client does: again where it got no answer, later for what is in hand already."""

    def __init__(self, client: httpx2.AsyncClient, server: "subprocess.Popen[bytes]") -> None:
        self.http = client
        self.server = server

    async def once(self, key: str, amount: int) -> httpx2.Response:
        return await self.http.post("/payments", json={"amount": amount}, headers={"Idempotency-Key": key})

    async def pay(self, key: str, amount: int, answered: asyncio.Event | None = None) -> httpx2.Response:
        answered = answered or asyncio.Event()
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                response = await self.once(key, amount)
            except httpx2.TransportError:  # the server has closed a connection that was idle
                continue
            if response.status_code != 409:
                answered.set()
                return response
            with suppress(TimeoutError):
                async with asyncio.timeout(float(response.headers["retry-after"])):
                    await answered.wait()
        pytest.fail(f"no answer to {key} within {SECONDS:g} s")

    async def pay_often(self, key: str, amount: int) -> list[httpx2.Response]:
        answered = asyncio.Event()
        return await asyncio.gather(*(self.pay(key, amount, answered) for _ in range(TIMES)))


@contextmanager
def process(folder: Path, program: str, **settings: str) -> "Iterator[subprocess.Popen[bytes]]":
    (folder / "bank.py").write_text(BANK)
    path = os.pathsep.join((f"{ROOT / 'src'}", f"{ROOT}"))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **settings}
    line = [sys.executable, "-m", "uno.cli", "run", program, "--port", "0"]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        running = subprocess.Popen(line, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@asynccontextmanager
async def served(folder: Path, url: str, program: str = "bank:app", **settings: str) -> AsyncIterator[Client]:
    with process(folder, program, UNO_DB_URL=url, **settings) as running:

        async def told() -> str | None:
            assert running.poll() is None, (folder / "err").read_text()
            _, _, after = (folder / "out").read_text().partition("Serving on ")
            return after.strip() if after.endswith("\n") else None

        address = await eventually(told, "an address")
        async with httpx2.AsyncClient(base_url=address, timeout=SECONDS) as http:
            yield Client(http, running)


async def counted(admin: "asyncpg.Connection") -> tuple[Any, ...]:
    """Effects, their audit rows, and keys."""
    tables = ("uno_document", "uno_audit", "uno_idempotency")
    return tuple([await admin.fetchval(f"SELECT count(*) FROM {table}") for table in tables])


async def test_many_keys_twenty_times_each_at_once_have_one_effect_and_one_answer_each(
    url: str, admin: "asyncpg.Connection", tmp_path: Path
) -> None:
    async with served(tmp_path, url) as client:
        turns = asyncio.Semaphore(AT_ONCE)

        async def all_of(n: int) -> None:
            async with turns:
                found = await client.pay_often(f"key {n}", n)
            assert {one.status_code for one in found} == {201}
            assert len({one.content for one in found}) == 1
            assert found[0].json()["amount"] == n
            assert sum("idempotency-replayed" not in one.headers for one in found) <= 1

        async with asyncio.TaskGroup() as group:
            for n in range(KEYS):
                group.create_task(all_of(n))
    assert await counted(admin) == (KEYS, KEYS, KEYS)


@pytest.mark.parametrize("when", ["before the commit", "after the commit"])
async def test_a_server_that_is_killed_before_it_answers_has_one_effect(
    url: str, admin: "asyncpg.Connection", tmp_path: Path, when: str
) -> None:
    async with served(tmp_path, url, DIES=when) as client:
        with pytest.raises(httpx2.TransportError):
            await client.once("k", 7)
        client.server.wait()
        done = when == "after the commit"
        assert await counted(admin) == ((1, 1, 1) if done else (0, 0, 0))
    async with served(tmp_path, url) as client:
        found = [await client.pay("k", 7) for _ in range(2)]
        assert [one.status_code for one in found] == [201, 201]
        assert found[0].content == found[1].content
        assert ["idempotency-replayed" in one.headers for one in found] == [done, True]
    assert await counted(admin) == (1, 1, 1)


class Cutter:
    """A port before the server that keeps its answer to the next commit to itself, and ends the connection."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.armed = False
        self.cuts = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        cut = asyncio.Event()
        await asyncio.gather(self._there(reader, far_writer, cut), self._back(far_reader, writer, cut))

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.armed and b"COMMIT" in data:
                    self.armed = False
                    cut.set()
                writer.write(data)
        writer.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if cut.is_set():
                    self.cuts += 1
                    writer.transport.abort()
                    return
                writer.write(data)
        writer.close()


async def test_a_commit_whose_answer_is_lost_is_looked_up_where_there_is_a_key(
    url: str, admin: "asyncpg.Connection", tmp_path: Path
) -> None:
    port = urlsplit(url).port
    assert port is not None
    cutter = Cutter(port)
    async with cutter.serving() as before, served(tmp_path, url.replace(f":{port}", f":{before}")) as client:
        cutter.armed = True
        found = await client.pay("k", 7)
        assert (found.status_code, found.headers["idempotency-replayed"], cutter.cuts) == (201, "true", 1)
        assert await counted(admin) == (1, 1, 1)
        assert (await client.pay("k", 7)).content == found.content

        cutter.armed = True
        plain = await client.http.post("/payments", json={"amount": 8})
        assert (plain.status_code, plain.json()["type"]) == (503, "urn:uno:problem:outcome-unknown")
        assert await counted(admin) == (2, 2, 1)
