"""The command line as its users have it: real processes, a folder with an application, a real database."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from uno.data import Database, embedded
from uno.queue.statements import Deliveries
from uno.testing.postgres import DatabaseFarm

DEADLINE = 60.0

SHOP = """
import asyncio
from typing import ClassVar

from uno.app import App, Module, Route
from uno.bus import command_handler, event_handler
from uno.data import Repository
from uno.domain import AggregateRoot
from uno.errors import Invalid
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


class Parcel(AggregateRoot[str]):
    def __init__(self, id: str) -> None:
        super().__init__(id=id)


@command_handler(PlaceOrder)
async def place(command: PlaceOrder, orders: Repository[Order]) -> str:
    order = await orders.add(Order(command.order_id))
    order.register_event(OrderPlaced(order_id=order.id))
    return order.id


@event_handler(OrderPlaced, durable=True, name="shop.ship")
async def ship(event: OrderPlaced, parcels: Repository[Parcel]) -> None:
    print(f"shipping {event.order_id}", flush=True)
    if event.order_id == "refused":
        raise Invalid("There is no such \\x1b[31maddress.")
    if event.order_id == "slow":
        await asyncio.sleep(60)
    await parcels.add(Parcel(event.order_id))


shop = Module("shop", handlers=[place, ship], models=[Order, Parcel], routes=[Route(PlaceOrder, path="/orders")])


def app() -> App:
    return App(shop)

"""


@dataclass
class Running:
    """A command that goes on in the background, and what it printed so far."""

    process: subprocess.Popen[bytes]
    printed: Path
    complained: Path

    @property
    def out(self) -> str:
        return self.printed.read_text()

    @property
    def err(self) -> str:
        return self.complained.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """What it prints, or has printed, that fits."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.out):
                return found
            assert self.process.poll() is None, self.err
            time.sleep(0.02)
        raise AssertionError(f"{pattern} is not in {self.out}{self.err}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


Uno = Callable[..., subprocess.CompletedProcess[str]]
Background = Callable[..., AbstractContextManager[Running]]


def clean(variables: dict[str, str]) -> dict[str, str]:
    """The environment without uno's settings, but for `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNO_")}
    # What these tests read is not about blocking calls; a first request may be one.
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "UNO_BLOCKING_LIMIT": "0"} | variables


@pytest.fixture
def uno(tmp_path: Path) -> Uno:
    """Run `uno …` to its end, in a folder of its own."""

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "uno.cli", *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=clean(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE * 2,
        )

    return run


@pytest.fixture
def background(tmp_path: Path) -> Background:
    """Start `uno …`; at the end of the block it is killed, if it still runs."""

    @contextmanager
    def start(*arguments: object, **variables: str) -> Iterator[Running]:
        command = [sys.executable, "-m", "uno.cli", *map(str, arguments)]
        printed, complained = tmp_path / "printed", tmp_path / "complained"
        with printed.open("wb") as out, complained.open("wb") as err:
            process = subprocess.Popen(
                command, cwd=tmp_path, env=clean(variables), stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        try:
            yield Running(process, printed, complained)
        finally:
            process.kill()
            process.wait()

    return start


@pytest.fixture
def shop(tmp_path: Path) -> str:
    """The reference of an application with one command and one durable subscriber."""
    (tmp_path / "shop.py").write_text(SHOP)
    return "shop:app"


@pytest.fixture
def created(uno: Uno, shop: str, url: str) -> str:
    """The same with the tables of the shop."""
    done = uno("db", "create", shop, UNO_DB_URL=url)
    assert done.returncode == 0, done.stderr
    return url


@pytest.fixture
def wait_until() -> Callable[[str, dict[str, int]], None]:
    """Wait until the deliveries of a database are in these states."""

    async def counts(url: str) -> dict[str, int]:
        async with Database(url) as database:
            return await Deliveries(database).counts()

    def wait(url: str, wanted: dict[str, int]) -> None:
        deadline = time.monotonic() + DEADLINE
        while (found := asyncio.run(counts(url))) != wanted:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    return wait


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """For an embedded server of its own; the user it runs as can enter it."""
    folder = Path(tempfile.mkdtemp(prefix="uno-test-cli-"))
    yield folder
    embedded.stop(folder, force=True)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[DatabaseFarm]:
    farm = DatabaseFarm()
    asyncio.run(farm.open())
    yield farm
    asyncio.run(farm.close())


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    farm: DatabaseFarm = request.getfixturevalue("postgres")
    return asyncio.run(farm.create())
