"""An application as an operator runs it: a process with a real queue, and clients that notice everything."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from uno.data import Database
from uno.queue.statements import Deliveries
from uno.testing.postgres import DatabaseFarm

SOURCES = Path(__file__).parents[3] / "src"
DEADLINE = 60.0

SERVED = """
import asyncio
from typing import ClassVar

from fastapi.sse import EventSourceResponse

from uno.aio import get_async_manager
from uno.api import asgi
from uno.app import App, Module, Route
from uno.bus import command_handler, event_handler
from uno.data import Repository
from uno.domain import AggregateRoot
from uno.messages import Command, DomainEvent


class OrderPlaced(DomainEvent):
    name: ClassVar[str] = "shop.order-placed"
    order_id: str


class PlaceOrder(Command[str]):
    name: ClassVar[str] = "shop.place-order"
    order_id: str


class Order(AggregateRoot[str]):
    def __init__(self, id: str) -> None:
        super().__init__(id=id)


@command_handler(PlaceOrder)
async def place(command: PlaceOrder, orders: Repository[Order]) -> str:
    order = await orders.add(Order(command.order_id))
    order.register_event(OrderPlaced(order_id=order.id))
    return order.id


@event_handler(OrderPlaced, durable=True, name="shop.ship")
async def ship(event: OrderPlaced) -> None:
    print(f"+{event.order_id}", flush=True)
    await asyncio.sleep(60 if event.order_id.startswith("endless") else 3)
    print(f"-{event.order_id}", flush=True)


class Cache:
    async def close(self) -> None:
        print("cache closed", flush=True)


class Shop(Module):
    async def on_load(self) -> None:
        await get_async_manager().register_resource(Cache(), "cache")

    async def on_unload(self) -> None:
        print("unloaded", flush=True)


app = App(Shop("shop", handlers=[place, ship], models=[Order], routes=[Route(PlaceOrder, path="/orders")]))
api = asgi(app)


@api.get("/slow")
async def slow(seconds: float = 1.0) -> str:
    if seconds >= 1:
        print("slow begins", flush=True)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        print("slow was cancelled", flush=True)
        raise
    return "done"


@api.get("/events", response_class=EventSourceResponse)
async def events():
    n = 0
    while True:
        n += 1
        yield {"n": n}
        await asyncio.sleep(0.05)
"""


@dataclass
class Process:
    """A command in the background, and what it printed so far."""

    running: subprocess.Popen[bytes]
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text()

    async def wait_for(self, pattern: str) -> re.Match[str]:
        end = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self.printed)):
            assert self.running.poll() is None, self.printed
            assert time.monotonic() < end, f"{pattern} is not in {self.printed}"
            await asyncio.sleep(0.02)
        return found

    def tell(self, number: int = signal.SIGTERM) -> None:
        self.running.send_signal(number)

    async def exit_code(self, seconds: float = DEADLINE) -> int:
        return await asyncio.to_thread(self.running.wait, seconds)


Start = Callable[..., Process]


@pytest.fixture
def served(tmp_path: Path) -> Path:
    (tmp_path / "served.py").write_text(SERVED)
    return tmp_path


@pytest.fixture
def start(served: Path) -> Iterator[Start]:
    """`start("uno.cli", "run", "served:app")` runs a module of Python; it is killed at the end."""
    begun: list[Process] = []

    def run(*arguments: object, before: tuple[str, ...] = (), **variables: str) -> Process:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("UNO_")}
        told = kept | {"PYTHONPATH": f"{SOURCES}{os.pathsep}{served}", "PYTHONUNBUFFERED": "1"} | variables
        log = served / f"log{len(begun)}"
        with log.open("wb") as output:
            command = [*before, sys.executable, "-m", *map(str, arguments)]
            made = subprocess.Popen(
                command, cwd=served, env=told, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        begun.append(Process(made, log))
        return begun[-1]

    yield run
    for process in begun:
        process.running.kill()
        process.running.wait()


@pytest.fixture
async def url(start: Start) -> AsyncIterator[str]:
    """A PostgreSQL database with the tables of the application."""
    async with DatabaseFarm() as farm:
        made = await farm.create()
        creating = start("uno.cli", "db", "create", "served:app", UNO_DB_URL=made)
        assert await creating.exit_code() == 0, creating.printed
        yield made
        await farm.drop(made)


async def counts(url: str) -> dict[str, int]:
    """How many deliveries are in which state."""
    async with Database(url) as database:
        return await Deliveries(database).counts()


# ── clients ──


class Refused(Exception):
    """Nobody listens any more."""


class Line:
    """One connection, over which HTTP/1.1 is spoken as plainly as possible."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, port: int) -> "Line":
        try:
            return cls(*await asyncio.open_connection("127.0.0.1", port))
        except OSError as error:
            raise Refused from error

    async def ask(self, method: str, path: str, body: str = "") -> tuple[int, dict[str, str], str]:
        self.writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        status, headers = await self.head()
        return status, headers, (await self.reader.readexactly(int(headers["content-length"]))).decode()

    async def head(self) -> tuple[int, dict[str, str]]:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, _, value in pairs}

    def close(self) -> None:
        self.writer.close()


async def ask(port: int, path: str) -> tuple[int, str]:
    """What a GET over a connection of its own gives. Raises `Refused`."""
    line = await Line.to(port)
    try:
        status, _, body = await line.ask("GET", path)
        return status, body
    finally:
        line.close()


@dataclass
class Load:
    """So many requests each second, whether those before were answered or not, over as many connections as it takes."""

    port: int
    rate: float = 200.0
    # One request of so many writes and leaves a delivery, the others take a moment.
    of: int = 20
    answers: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    placed: set[str] = field(default_factory=set)
    refused: int = 0
    sent: int = 0
    # When those asked, on `time.monotonic()`, who were cut off on a connection on which nobody had answered yet: the
    # system has taken it, and perhaps no process.
    unheard: list[float] = field(default_factory=list)
    _idle: list[Line] = field(default_factory=list)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        began, asking = loop.time(), set[asyncio.Task[None]]()
        while not self.refused:
            await asyncio.sleep(max(0.0, began + self.sent / self.rate - loop.time()))
            task = asyncio.create_task(self._one(f"order-{self.sent}" if self.sent % self.of == 0 else None))
            asking.add(task)
            task.add_done_callback(asking.discard)
            self.sent += 1
        await asyncio.gather(*asking)
        for line in self._idle:
            line.close()

    def _free(self) -> Line | None:
        """A connection that the server has not closed since: it keeps them for five seconds."""
        while self._idle:
            line = self._idle.pop()
            if not line.reader.at_eof():
                return line
            line.close()
        return None

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet."""
        return self.sent - sum(self.answers.values()) - len(self.failed) - len(self.unheard) - self.refused

    async def _one(self, order: str | None) -> None:
        asked = time.monotonic()
        used = self._free()
        try:
            line = used or await Line.to(self.port)
        except Refused:
            self.refused += 1
            return
        try:
            if order is None:
                status, headers, _ = await line.ask("GET", "/slow?seconds=0.05")
            else:
                status, headers, _ = await line.ask("POST", "/orders", f'{{"order_id": "{order}"}}')
        except (OSError, asyncio.IncompleteReadError) as error:
            line.close()
            if used is None:
                self.unheard.append(asked)
            else:
                self.failed.append(f"{order}: {error!r}")
            return
        self.answers[status] += 1
        if status == 200 and order is not None:
            self.placed.add(order)
        if headers.get("connection") == "close":
            line.close()
        else:
            self._idle.append(line)


async def first_503(port: int) -> float:
    """When readiness said 503 first, on `time.monotonic()`."""
    while True:
        status, body = await ask(port, "/health/ready")
        if status == 503:
            assert "told to stop" in body
            return time.monotonic()
        await asyncio.sleep(0.01)


def running(printed: str) -> set[str]:
    """The jobs that have begun and not ended."""
    begun = set(re.findall(r"^\+(.+)$", printed, re.MULTILINE))
    return begun - set(re.findall(r"^-(.+)$", printed, re.MULTILINE))
