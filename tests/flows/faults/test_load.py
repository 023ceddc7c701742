"""Many at once, on both backends: waiting, cancelled, of one row, and with one key."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
from sqlalchemy import text
from tests.flows.faults.depot import ask, counted, database_of, depot, rows_of

from uno.api import asgi, serve
from uno.app import App

REQUESTS = 3_000
WRITERS = 100
# On SQLite one writes after another.
KEYS, TIMES = {"postgresql": 500, "sqlite": 50}, 20
SECONDS = 60.0


async def eventually(holds: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.01)
    assert holds(), what


async def idle_in_transaction(app: App) -> int:
    """Asked by somebody else; of SQLite, whether the file can be written."""
    database = database_of(app)
    if database.backend == "sqlite":
        async with database.transaction() as transaction:
            await transaction.execute(text("SELECT 1"))
        return 0
    admin = await asyncpg.connect(database.dsn)
    try:
        return int(
            await admin.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in %'"
            )
        )
    finally:
        await admin.close()


async def is_well(app: App) -> None:
    """Nothing is held, nothing hangs, and everything that is stored is accounted for."""
    use = database_of(app).pool_use()
    assert use is not None
    assert (use.in_use, use.waiting) == (0, 0)
    assert await idle_in_transaction(app) == 0
    created = text("SELECT component, count(*) AS rows FROM uno_audit WHERE operation = 'create' GROUP BY component")
    made = {row.component: row.rows for row in await database_of(app).query(created)}
    tables = {"Item": "depot_items", "Counter": "depot_counters", "Supplier": "depot_suppliers"}
    assert {name: made.get(name, 0) for name in tables} == {name: await counted(app, t) for name, t in tables.items()}
    changes = text("SELECT count(*) AS found FROM uno_audit WHERE component = 'Counter' AND operation = 'update'")
    [updates] = await database_of(app).query(changes)
    assert updates.found == sum(row["version"] - 1 for row in await rows_of(app, "depot_counters"))


# ── waiting ──


async def test_five_connections_are_enough_for_five_hundred_that_wait_for_somebody_else(url: str) -> None:
    app = depot(url, pool_size=5, max_overflow=0, acquire_timeout=30)
    async with app:
        api = asgi(app)
        assert (await ask(api, "POST", "/counters", {})).status_code == 201
        weighing = {"counter_id": 1, "seconds": 1}
        since = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(ask(api, "POST", "/weighings", weighing) for _ in range(500)))
        took = asyncio.get_running_loop().time() - since
        assert Counter(one.status_code for one in answers) == {200: 500}
        assert await counted(app, "depot_counters") == 501
        use = database_of(app).pool_use()
        assert use is not None
        assert use.limit == 5
        print(f"500 waits of a second with 5 connections: {took:.1f} s")
        await is_well(app)


# ── cancelled ──


def something(n: int, chance: random.Random) -> tuple[str, str, Any, dict[str, str]]:
    """A request of any kind."""
    kind = chance.randrange(7)
    if kind == 0:
        return "GET", "/items", None, {}
    if kind == 1:
        return "GET", "/counters/1", None, {}
    if kind == 2:
        return "PATCH", f"/counters/{chance.randrange(1, 4)}", {"number": n}, {}
    if kind == 3:
        return "POST", "/items", {"sku": f"key-{n}"}, {"idempotency_key": f"k{n}"}
    if kind == 4:
        return "POST", "/items/bulk", {"items": [{"sku": f"bulk-{n}-{place}"} for place in range(3)]}, {}
    if kind == 5:
        return "POST", "/weighings", {"counter_id": 1, "seconds": 0}, {}
    return "POST", "/items", {"sku": f"one-{n}"}, {}


async def test_cancelled_requests_leave_nothing_behind(url: str) -> None:
    chance = random.Random(4)
    app = depot(url)
    ends: Counter[Any] = Counter()
    # SQLite has one writer, for whom the others wait.
    turns = asyncio.Semaphore(10 if url.startswith("sqlite") else 40)
    async with app:
        api = asgi(app)
        for _ in range(3):
            assert (await ask(api, "POST", "/counters", {})).status_code == 201

        async def one(n: int, passes: int | None) -> None:
            method, path, body, headers = something(n, chance)
            async with turns:
                task = asyncio.create_task(ask(api, method, path, body, **headers))
                for _ in range(passes or 0):
                    await asyncio.sleep(0)
                if passes is not None:
                    task.cancel()
                await asyncio.wait([task])
            if task.cancelled():
                ends["cancelled"] += 1
            else:
                ends[task.result().status_code] += 1
                assert task.result().status_code < 500, task.result().text

        async with asyncio.TaskGroup() as group:
            for n in range(REQUESTS):
                group.create_task(one(n, chance.randrange(60) if n % 2 else None))
        print(f"{REQUESTS} requests ended: {dict(ends)}")
        assert ends.keys() <= {200, 201, 409, "cancelled"}
        assert ends["cancelled"] >= REQUESTS // 4
        await is_well(app)
        assert (await ask(api, "POST", "/items", {"sku": "after"})).status_code == 201
        await is_well(app)


@asynccontextmanager
async def served(app: App) -> AsyncIterator[int]:
    """The port of a real server."""
    urls: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(serve(asgi(app), port=0, ready=urls.put_nowait))
    try:
        yield int((await asyncio.wait_for(urls.get(), SECONDS)).rpartition(":")[2])
    finally:
        task.cancel()
        await asyncio.wait([task])


async def exchange(port: int, n: int, wait: float | None) -> bytes:
    """A request, whose connection ends after `wait` seconds, whatever has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"sku": "net-%d"}' % n
    kinds = (
        (b"GET /items?total=true", b""),
        (b"POST /items", body),
        (b"POST /items", body),
        (b"PATCH /counters/1", b'{"number": 1}'),
    )
    line, sent = kinds[n % 4]
    head = (
        b"%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    writer.write(head % (line, len(sent)) + sent)
    try:
        if wait is None:
            return (await reader.read())[9:12]
        await asyncio.sleep(wait)
        return b"gone"
    finally:
        writer.transport.abort()


async def test_clients_that_go_away_leave_nothing_behind(url: str) -> None:
    chance = random.Random(5)
    app = depot(url)
    turns = asyncio.Semaphore(40)
    async with served(app) as port:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post("/counters", json={})).status_code == 201
        quiet = asyncio.all_tasks()

        async def one(n: int) -> bytes:
            async with turns:
                return await exchange(port, n, chance.random() * 0.05 if n % 2 else None)

        ends = Counter(await asyncio.gather(*(one(n) for n in range(600))))
        print(f"600 requests over sockets ended: {dict(ends)}")
        assert ends[b"gone"] == 300
        assert ends.keys() <= {b"200", b"201", b"409", b"gone"}
        # Who came before was heard before; each request is a task of the server's, which is in this loop.
        assert await exchange(port, 0, None) == b"200"
        await eventually(lambda: asyncio.all_tasks() <= quiet, "what was sent by who has gone is done, or not begun")
        await is_well(app)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post("/items", json={"sku": "after"})).status_code == 201


# ── one row ──


async def test_of_a_hundred_writers_each_version_has_one_winner_and_no_update_is_lost(url: str) -> None:
    app = depot(url)
    ends: Counter[int] = Counter()
    chance = random.Random(6)
    async with app:
        api = asgi(app)
        assert (await ask(api, "POST", "/counters", {})).status_code == 201
        tags: list[str] = []

        async def add_one() -> None:
            while True:
                read = await ask(api, "GET", "/counters/1")
                change = {"number": read.json()["number"] + 1}
                answer = await ask(api, "PATCH", "/counters/1", change, if_match=read.headers["etag"])
                ends[answer.status_code] += 1
                if answer.status_code == 200:
                    tags.append(answer.headers["etag"])
                    return
                await asyncio.sleep(chance.random() * 0.1)

        first = await asyncio.gather(
            *(ask(api, "PATCH", "/counters/1", {"number": 1}, if_match='"1"') for _ in range(WRITERS))
        )
        assert Counter(one.status_code for one in first) == {200: 1, 412: WRITERS - 1}
        await asyncio.gather(*(add_one() for _ in range(WRITERS)))
        print(f"{WRITERS} writers with If-Match: {dict(ends)}")
        assert ends.keys() <= {200, 412}
        assert sorted(tags, key=len) == [f'"{n}"' for n in range(3, WRITERS + 3)]
        [row] = await rows_of(app, "depot_counters")
        assert (row["number"], row["version"]) == (WRITERS + 1, WRITERS + 2)
        assert await numbers_in_history(api) == list(range(WRITERS + 2))
        await is_well(app)


async def numbers_in_history(api: Any) -> list[int]:
    """What it was after each change, each of which began where the one before had ended."""
    entries = (await ask(api, "GET", "/counters/1/history", query=b"limit=1000")).json()["items"]
    after = [entry["after"]["number"] for entry in entries]
    assert [entry["before"]["number"] for entry in entries[1:]] == after[:-1]
    return after


async def test_without_if_match_the_last_one_wins_or_is_told(url: str) -> None:
    """A clash at the commit is repeated three times, and then a conflict that the client may repeat."""
    app = depot(url)
    ends: Counter[int] = Counter()
    chance = random.Random(7)
    async with app:
        api = asgi(app)
        assert (await ask(api, "POST", "/counters", {})).status_code == 201

        async def write(n: int) -> None:
            while True:
                answer = await ask(api, "PATCH", "/counters/1", {"number": n})
                ends[answer.status_code] += 1
                if answer.status_code == 200:
                    assert answer.json()["number"] == n
                    return
                assert answer.json()["type"] == "urn:uno:problem:version-conflict"
                await asyncio.sleep(chance.random() * 0.1)

        await asyncio.gather(*(write(n + 1) for n in range(WRITERS)))
        print(f"{WRITERS} writers without If-Match: {dict(ends)}")
        assert ends.keys() <= {200, 409}
        [row] = await rows_of(app, "depot_counters")
        assert row["version"] == WRITERS + 1
        assert sorted(await numbers_in_history(api)) == list(range(WRITERS + 1))
        await is_well(app)


async def test_what_has_no_version_is_not_lost_either(url: str) -> None:
    """With If-Match its row is locked while its tag is compared."""
    app = depot(url)
    ends: Counter[int] = Counter()
    async with app:
        api = asgi(app)
        assert (await ask(api, "POST", "/suppliers", {"code": "S", "city": "Ulm", "name": "0"})).status_code == 201

        async def add_one() -> None:
            while True:
                read = await ask(api, "GET", "/suppliers/1")
                change = {"name": str(int(read.json()["name"]) + 1)}
                answer = await ask(api, "PATCH", "/suppliers/1", change, if_match=read.headers["etag"])
                ends[answer.status_code] += 1
                if answer.status_code == 200:
                    return

        await asyncio.gather(*(add_one() for _ in range(20)))
        assert ends.keys() <= {200, 412}
        assert (await ask(api, "GET", "/suppliers/1")).json()["name"] == "20"


# ── one key ──


async def test_keys_twenty_times_each_have_one_effect_and_one_answer(url: str) -> None:
    app = depot(url)
    ends: Counter[int] = Counter()
    turns = asyncio.Semaphore(4)
    async with app:
        api = asgi(app)

        async def once(n: int, answered: asyncio.Event) -> httpx2.Response:
            while True:
                answer = await ask(api, "POST", "/items", {"sku": f"S-{n}", "stock": n}, idempotency_key=f"key {n}")
                ends[answer.status_code] += 1
                if answer.status_code != 409:
                    answered.set()
                    return answer
                assert int(answer.headers["retry-after"]) >= 1
                # It need not wait so long: the test knows when the first has been answered.
                await answered.wait()

        async def often(n: int) -> None:
            async with turns:
                answered = asyncio.Event()
                found = await asyncio.gather(*(once(n, answered) for _ in range(TIMES)))
            assert {one.status_code for one in found} == {201}
            assert len({one.content for one in found}) == 1
            assert found[0].json()["stock"] == n
            replayed = Counter(one.headers.get("idempotency-replayed") for one in found)
            assert replayed == {None: 1, "true": TIMES - 1}
            assert len({(one.headers["location"], one.headers["etag"]) for one in found}) == 1

        keys = KEYS[database_of(app).backend]
        await asyncio.gather(*(often(n) for n in range(keys)))
        print(f"{keys} keys, {TIMES} times each: {dict(ends)}")
        assert await counted(app, "depot_items") == keys
        assert await counted(app, "uno_idempotency") == keys
        await is_well(app)
