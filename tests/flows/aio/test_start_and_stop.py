"""An application that is started and stopped again and again leaves nothing behind."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from uno.aio import get_async_manager, get_resource_registry
from uno.app import App, Module
from uno.testing.postgres import DatabaseFarm

TIMES = 50


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
