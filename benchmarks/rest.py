"""A resource over HTTP: requests per second and CPU time, against Starlette and asyncpg written by hand."""

import asyncio
import json
import os
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from importlib.util import find_spec
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import psutil
from sqlalchemy import make_url

from benchmarks import load
from benchmarks.http import BUSY, SECONDS, WARM_UP, answering, seconds_of, serving
from benchmarks.measure import Line, Rounds, Section, database_folder, in_turns, main, ratio
from uno.data import embedded

ROWS = 1_000
LISTED = 100
BODY = {"name": "a chair", "quantity": 3, "price": "19.90"}
PATCH = f'{{"quantity":{load.NUMBER}}}'
SEED = """
    INSERT INTO rest_item (id, name, quantity, price, active, created_at, version)
    SELECT id, 'item ' || n, n, n * 0.25, true, now(), 1 FROM unnest($1::uuid[]) WITH ORDINALITY AS t(id, n)
"""
STORED = "SELECT id, name, quantity, price, active, created_at, version FROM rest_item"
AUDITED = "SELECT record_id, operation, before, after FROM uno_audit"

SERVERS = ("rest_uno", "rest_raw", "rest_sqlalchemy", "rest_sqlmodel", "rest_litestar")
RESET = "raw, pool with asyncpg's default reset"
SQLMODEL = "FastAPI + SQLModel"
# Name in the table → server and prefix of the path.
VARIANTS = {
    "uno": ("rest_uno", ""),
    "raw": ("rest_raw", ""),
    RESET: ("rest_raw", "/reset"),
    "FastAPI + SQLAlchemy ORM": ("rest_sqlalchemy", ""),
    SQLMODEL: ("rest_sqlmodel", ""),
    "Litestar + advanced-alchemy": ("rest_litestar", ""),
}
# What uno has to keep of the rate of raw, and of SQLModel's; of raw's CPU time it may take.
LIMITS = {"list 100": (0.85, 8.0), "get one": (0.65, 6.0), "create": (0.7, 6.0), "update": (0.75, None)}
CPU = 1.5
# The same through the lease of a tenant: PostgreSQL is told, so raw takes the same two round trips more. No limit.
TENANT = "north"
OF_A_TENANT = {"list 100": "list 100 of a tenant", "get one": "get one of a tenant"}
# With a condition that all rows fit. No limit.
FILTERED = "list 100 filtered"
ASKED = os.environ.get("BENCH_ONLY", ",".join([*LIMITS, FILTERED, *OF_A_TENANT.values()])).split(",")
KINDS = tuple(name for name in ASKED if name in LIMITS)
FILTERED_KINDS = (FILTERED,) if FILTERED in ASKED else ()
TENANT_KINDS = tuple(kind for kind, name in OF_A_TENANT.items() if name in ASKED)
SECURE = (
    "CREATE ROLE bench_member LOGIN PASSWORD 'bench'",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO bench_member",
    "ALTER TABLE rest_item ENABLE ROW LEVEL SECURITY",
    f"CREATE POLICY own ON rest_item USING (current_setting('uno.tenant', true) = '{TENANT}')",
)


@dataclass
class Bench:
    """The running servers, and the CPU time (µs per request) of every measurement beside its rate."""

    url: str
    keys: list[UUID]
    ports: dict[str, int]
    processes: dict[str, psutil.Process]
    kinds: tuple[str, ...]
    variants: dict[str, tuple[str, str]]
    cpu: Rounds = field(default_factory=dict)

    def requests(self, kind: str, prefix: str) -> list[bytes]:
        if kind in ("list 100", FILTERED):
            condition = "&quantity__gte=0" if kind == FILTERED else ""
            return [load.get(f"{prefix}/items?limit={LISTED}{condition}")]
        if kind == "get one":
            return [load.get(f"{prefix}/items/{key}") for key in self.keys]
        if kind == "create":
            return [load.post(f"{prefix}/items", BODY)]
        return [load.patch(f"{prefix}/items/{key}", load.TURN, PATCH) for key in self.keys]

    def rate(self, kind: str, name: str) -> Callable[[], Awaitable[float]]:
        """A variant: requests per second."""
        server, prefix = self.variants[name]
        requests = self.requests(kind, prefix)

        async def run() -> float:
            if kind in ("create", "update"):
                await self.fresh()
            before = seconds_of(self.processes[server])
            count, took = await asyncio.to_thread(load.send, self.ports[server], requests, SECONDS)
            used = seconds_of(self.processes[server]) - before
            self.cpu.setdefault(f"{kind} {name}", []).append(used / count * 1e6)
            return count / took

        return run

    @asynccontextmanager
    async def connection(self, url: str | None = None) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(url or self.url)
        try:
            await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
            yield connection
        finally:
            await connection.close()

    async def fresh(self) -> None:
        """Every server writes into tables of the same size."""
        async with self.connection() as connection:
            while await connection.fetchval(BUSY):  # noqa: ASYNC110 - the last requests, which nobody waited for
                await asyncio.sleep(0.05)
            await connection.execute("TRUNCATE rest_item, uno_audit")
            await connection.execute(SEED, self.keys)
            await connection.execute("ANALYZE rest_item")

    async def check(self) -> None:
        """Every server does what it is measured for: what it answers is what is stored, and written down."""
        for kind in self.kinds:
            for name, (server, prefix) in self.variants.items():
                await self.fresh()
                answer = await asyncio.to_thread(self._ask, self.ports[server], self.requests(kind, prefix)[0])
                try:
                    await self._compare(kind, answer)
                except (AssertionError, KeyError, ValueError) as error:
                    raise RuntimeError(f"{kind} of {name} is wrong: {error}; it answered {answer}.") from error
                await self.fresh()
                await asyncio.to_thread(load.send, self.ports[server], self.requests(kind, prefix), WARM_UP)

    async def _compare(self, kind: str, answer: Any) -> None:
        async with self.connection() as connection:
            stored = {row["id"]: dict(row) for row in await connection.fetch(STORED)}
            audited = [tuple(row) for row in await connection.fetch(AUDITED)]
        if kind in ("list 100", FILTERED):
            items = answer["items"] if isinstance(answer, dict) else answer
            first = sorted(stored)[:LISTED]
            _same([_typed(one) for one in items], [stored[key] for key in first])
            return
        shown = _typed(answer)
        _same(shown, stored[shown["id"]])
        key, values = shown["id"], {n: v for n, v in shown.items() if n != "version"}
        if kind == "get one":
            _same(audited, [])
        elif kind == "create":
            [(record, operation, before, after)] = audited
            _same((record, operation, before, _typed(after)), (str(key), "create", None, values))
            _same((len(stored), *(str(shown[n]) for n in BODY)), (ROWS + 1, *map(str, BODY.values())))
        else:
            _same((shown["version"], shown["quantity"]), (2, 100_001))
            was, becomes = {"quantity": self.keys.index(key) + 1}, {"quantity": shown["quantity"]}
            _same([(r, o, _typed(b), _typed(a)) for r, o, b, a in audited], [(str(key), "update", was, becomes)])

    def _ask(self, port: int, sent: bytes) -> Any:
        head, _, body = load.filled(sent, 1).partition(b"\r\n\r\n")
        first, *headers = head.decode().split("\r\n")
        method, path, _ = first.split()
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body or None, method=method)
        for header in headers:
            request.add_header(*header.split(": ", 1))
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


_READ: dict[str, Callable[[Any], Any]] = {
    "id": lambda value: UUID(value),
    "price": lambda value: Decimal(str(value)),
    "quantity": int,
    "created_at": datetime.fromisoformat,
}


def _typed(shown: dict[str, Any]) -> dict[str, Any]:
    """What is stored, from its JSON in whatever form."""
    return {name: _READ[name](value) if name in _READ else value for name, value in shown.items()}


def _same(found: Any, wanted: Any) -> None:
    if found != wanted:
        raise AssertionError(f"{found} instead of {wanted}")


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Bench, Bench, Bench]]:
    """A database of our own and all servers on it, once more with two of them; and one of tenants, with two."""
    with database_folder() as folder, ExitStack() as stack:
        # Without fsync: what is compared is the work of the programs, not of the disk.
        lease = stack.enter_context(await asyncio.to_thread(embedded.acquire, folder, fsync=False))
        url = await embedded.ensure_database(lease.server, "bench")
        await _create_schema(url)
        servers = SERVERS if KINDS else SERVERS[:2] if FILTERED_KINDS else ()
        started = {name: stack.enter_context(serving(name, url)) for name in servers}
        both = {name: VARIANTS[name] for name in ("uno", "raw")}
        filtered = await _bench(url, started, FILTERED_KINDS, both)
        # Last, because its rows are read by their keys.
        bench = await _bench(url, started, KINDS, VARIANTS)
        url = await embedded.ensure_database(lease.server, "bench_tenants")
        await _create_schema(url)
        async with bench.connection(url) as connection:
            for statement in SECURE:
                await connection.execute(statement)
        member = make_url(url).set(username="bench_member", password="bench").render_as_string(hide_password=False)
        two = both if TENANT_KINDS else {}
        of_tenant = [name for name, _ in two.values()]
        started = {name: stack.enter_context(serving(name, member, BENCH_TENANT=TENANT)) for name in of_tenant}
        yield bench, filtered, await _bench(url, started, TENANT_KINDS, two)


async def _bench(
    url: str,
    started: dict[str, tuple[int, psutil.Process]],
    kinds: tuple[str, ...],
    variants: dict[str, tuple[str, str]],
) -> Bench:
    ports = {name: port for name, (port, _) in started.items()}
    processes = {name: process for name, (_, process) in started.items()}
    bench = Bench(url, [uuid4() for _ in range(ROWS)], ports, processes, kinds, variants)
    for port in ports.values():
        await answering(port)
    await bench.check()
    return bench


async def _create_schema(url: str) -> None:
    from benchmarks.apps.rest_uno import make_app

    app = make_app(url)
    async with app.database:
        await app.create_schema()


def _lines(kind: str, figures: Rounds, cpu: Rounds) -> list[Line]:
    least, times = LIMITS[kind]

    def note(name: str) -> str:
        rate = "" if name == "raw" else f"{median(figures[name]):,.0f}/s, "
        return f"{rate}CPU {median(cpu[f'{kind} {name}']):.0f} µs a request"

    def line(name: str) -> Line:
        wanted = least if name == "uno" else None
        found = ratio(figures, name, "raw")
        return Line(f"{kind}: {name}", found, limit=wanted, at_least=True, note=f"{note(name)}{_spread(figures, name)}")

    others = sorted((line(name) for name in figures.keys() - {"raw", "uno"}), key=lambda one: -one.figure)
    used = {name: cpu[f"{kind} {name}"] for name in figures}
    return [
        Line(f"{kind}: raw", median(figures["raw"]), "/s", note=note("raw")),
        line("uno"),
        Line(f"{kind}: uno, × {SQLMODEL}", ratio(figures, "uno", SQLMODEL), limit=times, at_least=True),
        Line(f"{kind}: uno, CPU × that of raw", ratio(used, "uno", "raw"), limit=CPU),
        *others,
    ]


def _two_lines(name: str, kind: str, figures: Rounds, cpu: Rounds) -> list[Line]:
    used = {name: f"CPU {median(cpu[f'{kind} {name}']):.0f} µs a request" for name in figures}
    note = f"{median(figures['uno']):,.0f}/s, {used['uno']}{_spread(figures, 'uno')}"
    return [
        Line(f"{name}: raw", median(figures["raw"]), "/s", note=used["raw"]),
        Line(f"{name}: uno", ratio(figures, "uno", "raw"), note=note),
    ]


def _spread(figures: Rounds, name: str) -> str:
    """How far the rounds are apart, where that is what counts."""
    found = [a / b for a, b in zip(figures[name], figures["raw"], strict=True)]
    return f"; rounds {min(found):.2f} to {max(found):.2f}" if name == "uno" else ""


async def measure(rounds: int) -> Section:
    lines: list[Line] = []
    async with running() as (bench, filtered, of_tenant):
        for kind in KINDS:
            figures = await in_turns(rounds, {name: bench.rate(kind, name) for name in VARIANTS})
            lines += _lines(kind, figures, bench.cpu)
        pairs = [(filtered, kind, kind) for kind in FILTERED_KINDS]
        pairs += [(of_tenant, kind, OF_A_TENANT[kind]) for kind in TENANT_KINDS]
        for one, kind, name in pairs:
            figures = await in_turns(rounds, {name: one.rate(kind, name) for name in one.variants})
            lines += _two_lines(name, kind, figures, one.cpu)
    parser = "httptools" if find_spec("httptools") else "h11"
    setting = f"{load.CONNECTIONS} connections, {load.generator()}, uvicorn with {parser}"
    return Section(f"rest: a resource, one process, {setting}", lines)


if __name__ == "__main__":
    main(measure, rounds=5)
