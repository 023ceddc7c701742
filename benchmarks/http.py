"""Requests per second and CPU time per request, against Starlette and asyncpg written by hand."""

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from statistics import median
from uuid import UUID, uuid4

import asyncpg
import psutil

from benchmarks import load
from benchmarks.measure import Line, Rounds, Section, database_folder, free_port, in_turns, main, ratio
from uno.data import embedded

ROWS = 1_000
ASKED = 100
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
WARM_UP = 1.0
START_SECONDS = 30.0
BODY = {"name": "a chair", "quantity": 3, "price": "19.90"}
SEED = """
    INSERT INTO bench_item (id, name, quantity, price, active, created_at)
    SELECT id, 'item ' || n, n, n * 0.25, true, now() FROM unnest($1::uuid[]) WITH ORDINALITY AS t(id, n)
"""
COUNTS = """
    SELECT (SELECT count(*) FROM bench_item), (SELECT count(*) FROM uno_audit), (SELECT count(*) FROM uno_delivery)
"""
BUSY = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
"""

SERVERS = ("uno_items", "raw_items", "sqlalchemy_items", "sqlmodel_items", "litestar_items")
# Name in the table → server and prefix of the path.
GETS = {
    "uno": ("uno_items", ""),
    "raw": ("raw_items", ""),
    "raw, pool with asyncpg's default reset": ("raw_items", "/reset"),
    "FastAPI + SQLAlchemy ORM": ("sqlalchemy_items", ""),
    "FastAPI + SQLModel": ("sqlmodel_items", ""),
    "Litestar + advanced-alchemy": ("litestar_items", ""),
}
POSTS = {
    "uno": ("uno_items", ""),
    "raw": ("raw_items", ""),
    "raw, three statements in a transaction": ("raw_items", "/three"),
    "FastAPI + SQLAlchemy ORM": ("sqlalchemy_items", ""),
    "FastAPI + SQLModel": ("sqlmodel_items", ""),
    "Litestar + advanced-alchemy": ("litestar_items", ""),
}


@dataclass
class Bench:
    """The running servers, and the CPU time (µs per request) of every measurement beside its rate."""

    url: str
    keys: list[UUID]
    ports: dict[str, int]
    processes: dict[str, psutil.Process]
    cpu: Rounds = field(default_factory=dict)

    def request(self, kind: str, prefix: str, n: int = 0) -> bytes:
        return load.get(f"{prefix}/items/{self.keys[n]}") if kind == "GET" else load.post(f"{prefix}/items", BODY)

    def requests(self, kind: str, prefix: str) -> list[bytes]:
        return [self.request(kind, prefix, n) for n in range(ASKED if kind == "GET" else 1)]

    def rate(self, kind: str, name: str, server: str, prefix: str) -> Callable[[], Awaitable[float]]:
        """A variant: requests per second."""
        requests = self.requests(kind, prefix)

        async def run() -> float:
            if kind == "POST":
                await self.fresh()
            before = seconds_of(self.processes[server])
            count, took = await asyncio.to_thread(load.send, self.ports[server], requests, SECONDS)
            used = seconds_of(self.processes[server]) - before
            self.cpu.setdefault(f"{kind} {name}", []).append(used / count * 1e6)
            return count / took

        return run

    async def fresh(self) -> None:
        """Every server writes into tables of the same size."""
        connection = await asyncpg.connect(self.url)
        try:
            while await connection.fetchval(BUSY):  # noqa: ASYNC110 - the last requests, which nobody waited for
                await asyncio.sleep(0.05)
            await connection.execute("TRUNCATE bench_item, uno_audit, uno_delivery")
            await connection.execute(SEED, self.keys)
        finally:
            await connection.close()

    async def counts(self) -> tuple[int, int, int]:
        connection = await asyncpg.connect(self.url)
        try:
            return tuple(await connection.fetchrow(COUNTS))
        finally:
            await connection.close()

    async def check(self) -> None:
        """Every server does what it is measured for: one row read, three rows written."""
        for kind, variants in (("GET", GETS), ("POST", POSTS)):
            for name, (server, prefix) in variants.items():
                await self.fresh()
                await asyncio.to_thread(self._ask, kind, server, prefix)
                wanted = (ROWS + 1, 1, 1) if kind == "POST" else (ROWS, 0, 0)
                found = await self.counts()
                if found != wanted:
                    raise RuntimeError(f"{kind} of {name} left {found} rows instead of {wanted}.")
                await asyncio.to_thread(load.send, self.ports[server], self.requests(kind, prefix), WARM_UP)

    def _ask(self, kind: str, server: str, prefix: str) -> None:
        head, _, body = self.request(kind, prefix).partition(b"\r\n\r\n")
        path = head.split()[1].decode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[server]}{path}", data=body or None, method=kind)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
        expected = str(self.keys[0]) if kind == "GET" else BODY["name"]
        if expected not in text:
            raise RuntimeError(f"{kind} {path} of {server} answered {text}.")


def seconds_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@contextmanager
def serving(name: str, url: str, **more: str) -> Iterator[tuple[int, psutil.Process]]:
    """A server in a process of its own, until the end of the block."""
    port = free_port()
    variables = os.environ | {"BENCH_DATABASE_URL": url, "BENCH_PORT": str(port), **more}
    child = subprocess.Popen([sys.executable, "-m", f"benchmarks.apps.{name}"], env=variables)
    try:
        yield port, psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


async def answering(port: int) -> None:
    """Wait until somebody listens on `port`."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    """A database of our own and all servers on it."""
    with database_folder() as folder, ExitStack() as stack:
        # Without fsync: what is compared is the work of the programs, not of the disk.
        lease = stack.enter_context(embedded.acquire(folder, fsync=False))
        url = await embedded.ensure_database(lease.server, "bench")
        await _create_schema(url)
        started = {name: stack.enter_context(serving(name, url)) for name in SERVERS}
        ports = {name: port for name, (port, _) in started.items()}
        bench = Bench(url, [uuid4() for _ in range(ROWS)], ports, {n: p for n, (_, p) in started.items()})
        for port in ports.values():
            await answering(port)
        await bench.check()
        yield bench


async def _create_schema(url: str) -> None:
    from benchmarks.apps.uno_items import make_app

    app = make_app(url)
    async with app.database:
        await app.create_schema()


def _lines(kind: str, figures: Rounds, cpu: Rounds, limit: float) -> list[Line]:
    def note(name: str) -> str:
        rate = "" if name == "raw" else f"{median(figures[name]):,.0f}/s, "
        return f"{rate}CPU {median(cpu[f'{kind} {name}']):.0f} µs a request"

    lines = [Line(f"{kind} raw", median(figures["raw"]), "/s", note=note("raw"))]
    for name in figures.keys() - {"raw"}:
        wanted = limit if name == "uno" else None
        lines.append(Line(f"{kind} {name}", ratio(figures, name, "raw"), limit=wanted, at_least=True, note=note(name)))
    return sorted(lines, key=lambda line: -line.figure)


async def measure(rounds: int) -> Section:
    async with running() as bench:
        gets = {name: bench.rate("GET", name, *where) for name, where in GETS.items()}
        posts = {name: bench.rate("POST", name, *where) for name, where in POSTS.items()}
        lines = _lines("GET", await in_turns(rounds, gets), bench.cpu, 0.4)
        lines += _lines("POST", await in_turns(rounds, posts), bench.cpu, 0.5)
    parser = "httptools" if find_spec("httptools") else "h11"
    setting = f"{load.CONNECTIONS} connections, {load.generator()}, uvicorn with {parser}"
    return Section(f"http: one process, {setting}", lines)


if __name__ == "__main__":
    main(measure, rounds=5)
