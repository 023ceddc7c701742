"""An application that is started and stopped again and again leaves nothing behind."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import pytest
from tests.flows.proxy import Proxy

from uno.aio import get_async_manager, get_resource_monitor, get_resource_registry
from uno.app import App, Module
from uno.data import Database, schema
from uno.testing.postgres import DatabaseFarm

TIMES = 50


class Broker:
    def __init__(self, story: list[str]) -> None:
        self._story = story

    async def start(self) -> None:
        self._story.append("+broker")

    async def close(self) -> None:
        self._story.append("-broker")


class Connection:
    """A real one, to somebody who says nothing."""

    open = 0

    def __init__(self, port: int) -> None:
        self._port = port

    async def start(self) -> None:
        _, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        Connection.open += 1

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()
        Connection.open -= 1


class Kept(Module):
    def __init__(self, port: int) -> None:
        super().__init__("kept")
        self._port = port

    async def on_load(self) -> None:
        manager = get_async_manager()
        await manager.register_resource(Connection(self._port), "broker")
        manager.create_task(manager.wait_for_shutdown(), name="waiting")
        get_resource_registry().breaker("payments", failure_threshold=3)


@asynccontextmanager
async def listener() -> AsyncIterator[int]:
    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hear, "127.0.0.1") as server:
        yield server.sockets[0].getsockname()[1]


class OnDatabase(Module):
    def __init__(self, story: list[str]) -> None:
        super().__init__("shop")
        self._story = story

    async def on_load(self) -> None:
        await get_resource_registry().register("broker", Broker(self._story), depends_on=["database"])


@pytest.mark.parametrize("outside", [False, True])
async def test_a_resource_of_a_module_may_depend_on_the_database(outside: bool) -> None:
    story: list[str] = []
    async with get_async_manager().running() if outside else nullcontext():
        for _ in range(2):
            async with App(OnDatabase(story), database="sqlite:///:memory:"):
                assert story == ["+broker"]
            # Before the database, also where the manager runs on.
            assert story == ["+broker", "-broker"]
            assert "database" not in get_resource_registry()
            story.clear()


async def test_so_may_one_of_a_startup_hook() -> None:
    story: list[str] = []
    manager = get_async_manager()

    @manager.add_startup_hook
    async def hook() -> None:
        if not story:  # it stays for those who start the manager of this process later
            await manager.register_resource(Broker(story), "broker", depends_on="database")

    async with App(database="sqlite:///:memory:"):
        assert get_resource_registry().dependencies()["broker"] == ("database",)
    assert story == ["+broker", "-broker"]


async def test_a_database_that_is_away_is_not_called_healthy() -> None:
    async with DatabaseFarm() as farm:
        url = await farm.create()
        async with Database(url) as database:
            await schema.create(database)
        proxy = Proxy(url)
        await proxy.start()
        async with App(database=proxy.url):
            monitor = get_resource_monitor()
            assert await monitor.health_of("database") == "healthy"
            await proxy.stop()
            found = (await monitor.get_health_summary())["resources"]["database"]
            assert found["health"] == "unhealthy"
            assert found["message"]
        await farm.drop(url)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_fifty_starts_and_stops_leave_no_task_thread_or_descriptor() -> None:
    async with DatabaseFarm() as farm, listener() as port:
        url = await farm.create()
        first = App(Kept(port), database=url, worker=True)
        assert first.database is not None
        async with first.database:
            await first.create_schema()

        async def once() -> None:
            async with App(Kept(port), database=url, worker=True):
                assert Connection.open == 1
                assert set(get_resource_registry().get_all_resources()) >= {"database", "broker", "payments"}

        await once()
        tasks, threads, open_before = asyncio.all_tasks(), threading.active_count(), descriptors()
        for _ in range(TIMES):
            await once()
        while len(asyncio.all_tasks()) > len(tasks):  # the other end of the last connection notices
            await asyncio.sleep(0.01)
        assert (Connection.open, threading.active_count()) == (0, threads)
        assert descriptors() <= open_before
        await farm.drop(url)
