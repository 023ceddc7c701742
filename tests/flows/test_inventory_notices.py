"""The demo application tells a webhook of flagged licences: a real one, over a real socket."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from uno import clock
from uno.api import listen, serve
from uno.app import App
from uno.app.boundaries import crossings
from uno.data import Database
from uno.errors import Misconfigured
from uno.examples.inventory import ScanEnvironment, app as inventory, generate
from uno.queue import DeadLetters
from uno.queue.tables import deliveries
from uno.settings import load
from uno.testing.postgres import DatabaseFarm

SECRET = "T0-whom-it-may-concern"
# One at a time and again at once, so that the requests can be counted.
WORKER = {"concurrency": 1, "base_delay": 0.0, "max_attempts": 5}
FLAGGED = ["sample-00003", "sample-00008", "sample-00013", "sample-00018", "sample-00023"]


class Steered(clock.SystemClock):
    """The time, and `ahead` seconds."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Hook:
    """Somebody's server; `app` is the application that calls it."""

    def __init__(self) -> None:
        self.status = 204
        self.notices: list[tuple[str, dict[str, Any]]] = []
        self.in_use: list[int] = []
        self.app: App | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
                await receive()
                await send({"type": answer})
            return
        body = json.loads((await receive())["body"])
        self.notices.append((dict(scope["headers"])[b"idempotency-key"].decode(), body))
        use = self.app.database.pool_use() if self.app and self.app.database else None
        self.in_use.append(-1 if use is None else use.in_use)
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body"})

    @property
    def packages(self) -> list[str]:
        return sorted(body["package"] for _, body in self.notices)


@asynccontextmanager
async def served(hook: Hook) -> AsyncIterator[str]:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(serve(hook, sock=listen("127.0.0.1", 0), ready=ready.set_result))
    try:
        yield f"{await ready}/hooks/{SECRET}"
    finally:
        server.cancel()
        await asyncio.wait([server])


@pytest.fixture
async def hook() -> Hook:
    return Hook()


@pytest.fixture
async def app(hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    """With 25 packages, of which five are to be flagged."""
    generate(tmp_path / "site", 25)
    async with DatabaseFarm() as farm, served(hook) as url:
        monkeypatch.setenv("UNO_INVENTORY_WEBHOOK", url)
        database = await farm.create()
        async with Database(database) as opened:
            await inventory(database=opened).create_schema()
        async with inventory(settings=load(worker=WORKER), database=database) as app:
            hook.app = app
            (await app.bus.dispatch(ScanEnvironment(path=str(tmp_path / "site")))).unwrap()
            yield app


async def test_each_flagged_licence_is_told_once_and_no_connection_is_held(app: App, hook: Hook) -> None:
    await app.worker().drain()
    assert hook.packages == FLAGGED
    assert hook.notices[0][1].keys() == {"package", "release", "licence"}
    assert len({key for key, _ in hook.notices}) == 5
    assert hook.in_use == [0] * 5


async def test_a_webhook_that_fails_is_left_alone_and_told_later_under_the_same_key(
    app: App, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert app.database is not None
    hook.status = 500
    time = Steered()
    with clock.use(time):
        await app.worker().drain()
        # After three failures the breaker kept the notices here; they wait until it lets one through.
        assert len(hook.notices) == 3
        assert await DeadLetters(app.database).list() == []
        waiting = await app.database.query(select(deliveries).where(deliveries.c.state == "ready"))
        assert len(waiting) == 5
        first = {body["package"]: key for key, body in hook.notices}
        hook.status, time.ahead = 204, 11.0
        async with app.database.transaction() as transaction:
            await transaction.execute(update(deliveries).values(run_at=deliveries.c.created_at))
        hook.notices.clear()
        await app.worker().drain()
    assert Counter(hook.packages) == Counter(FLAGGED)
    again = {body["package"]: key for key, body in hook.notices}
    assert first.items() <= again.items()
    ours = [record.getMessage() for record in caplog.records if record.name != "uvicorn.access"]
    assert SECRET not in "".join([*ours, *(str(row.error) for row in waiting)])


async def test_modules_know_only_each_others_messages(app: App) -> None:
    assert [module.name for module in app.modules] == ["inventory", "licences", "notices"]
    assert [str(one) for one in crossings(app.modules)] == []


def test_a_webhook_that_is_no_url_does_not_start_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNO_INVENTORY_WEBHOOK", f"nonsense/{SECRET}")
    with pytest.raises(Misconfigured, match="UNO_INVENTORY_WEBHOOK") as raised:
        inventory(database="sqlite://")
    assert SECRET not in str(raised.value)
