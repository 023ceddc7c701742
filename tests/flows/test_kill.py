"""Servers and workers are killed in the middle of their work; afterwards nothing is lost and nothing done twice."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from uno.examples.inventory import generate
from uno.testing.postgres import DatabaseFarm

DISTRIBUTIONS = 2_000
KILLS = 20
WORKERS = ("worker 1", "worker 2", "worker 3")
APPLICATION = "uno.examples.inventory:app"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with DatabaseFarm() as farm:
        made = await farm.create()
        yield made
        await farm.drop(made)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Application:
    """The demo application as an operator runs it: one server and workers, killed and started again."""

    def __init__(self, url: str, log: Path) -> None:
        self.port = free_port()
        self._log = log
        self._environment = {
            **os.environ,
            "UNO_DB_URL": url,
            "UNO_WORKER_LEASE": "2",
            "UNO_WORKER_RENEW_INTERVAL": "0.5",
            "UNO_WORKER_POLL_INTERVAL": "0.2",
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def command(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            line = [sys.executable, "-m", "uno.cli", *arguments]
            return subprocess.Popen(line, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def start_server(self) -> None:
        self._running["server"] = self.command("run", APPLICATION, "--port", str(self.port))

    def start_worker(self, name: str) -> None:
        self._running[name] = self.command("worker", APPLICATION)

    def kill(self, which: str) -> None:
        process = self._running[which]
        assert process.poll() is None, f"the {which} has died by itself:\n{self._log.read_text()[-3000:]}"
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


@contextmanager
def running(application: Application) -> Iterator[Application]:
    try:
        yield application
    finally:
        application.stop()


async def eventually(ask: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := await ask():
            return answer
        await asyncio.sleep(0.01)
    pytest.fail(f"not within {seconds:g} s: {what}")


async def scan(client: httpx2.AsyncClient, port: int, folder: Path) -> dict[str, int] | None:
    try:
        answer = await client.post(f"http://127.0.0.1:{port}/packages/scan", json={"path": str(folder)}, timeout=60)
    except httpx2.TransportError:
        return None
    return answer.json() if answer.status_code == 200 else None


async def scan_until_answered(port: int, folder: Path) -> dict[str, int]:
    async with httpx2.AsyncClient() as client:

        async def ask() -> dict[str, int] | None:
            return await scan(client, port, folder)

        found: dict[str, int] = await eventually(ask, "an answer to the scan")
        return found


async def server_answers(port: int) -> None:
    async with httpx2.AsyncClient() as client:

        async def ask() -> bool:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/health/live")).status_code == 200
            except httpx2.TransportError:
                return False

        await eventually(ask, "a living server")


async def test_twenty_kills_lose_nothing_and_do_nothing_twice(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "site-packages"
    generate(folder, DISTRIBUTIONS)
    application = Application(url, tmp_path / "log")
    assert application.command("db", "create", APPLICATION).wait() == 0, application._log.read_text()
    database = await asyncpg.connect(url)

    async def deliveries_running() -> bool:
        return bool(
            await database.fetchval("SELECT count(*) FROM uno_delivery WHERE state = 'running' AND lease_until > now()")
        )

    async def kill_in_the_middle(which: str) -> bool:
        """A kill counts only if deliveries were running just before and are still open just after it."""
        await eventually(deliveries_running, f"a running delivery before killing the {which}")
        application.kill(which)
        return await deliveries_running()

    async def kill_while_it_scans(seconds: float) -> bool:
        """A kill counts only if the scan, which is one transaction, never answered."""
        application.start_server()
        await server_answers(application.port)
        async with httpx2.AsyncClient() as client:
            writing = asyncio.create_task(scan(client, application.port, folder))
            await asyncio.sleep(seconds)
            application.kill("server")
            answer = await writing
        assert await database.fetchval("SELECT count(*) FROM uno_document") in (0, DISTRIBUTIONS)
        return answer is None

    kills = 0
    with running(application):
        for seconds in (0.05, 0.3, 0.6, 0.9):
            kills += await kill_while_it_scans(seconds)
        while kills < KILLS:
            application.start_server()
            await scan_until_answered(application.port, folder)
            for worker in WORKERS:
                application.start_worker(worker)
            # A scan is on its way whenever something is killed.
            scanning = asyncio.create_task(scan_until_answered(application.port, folder))
            for victim in ("server", *WORKERS):
                kills += await kill_in_the_middle(victim)
            scanning.cancel()
        application.start_server()
        application.start_worker("worker")
        last = await scan_until_answered(application.port, folder)

        async def nothing_left() -> bool:
            open_ones = "SELECT count(*) FROM uno_delivery WHERE state IN ('ready', 'running')"
            return not await database.fetchval(open_ones)

        await eventually(nothing_left, "all deliveries settled")

    effects = await database.fetchval("SELECT count(*) FROM licence_checks")
    packages = await database.fetchval("SELECT count(DISTINCT package_id) FROM licence_checks")
    dead = await database.fetchval("SELECT count(*) FROM uno_delivery WHERE state = 'dead'")
    await database.close()
    assert kills >= KILLS
    assert (last["found"], last["discovered"], last["unchanged"]) == (DISTRIBUTIONS, 0, DISTRIBUTIONS)
    assert (effects, packages, dead) == (DISTRIBUTIONS, DISTRIBUTIONS, 0)
