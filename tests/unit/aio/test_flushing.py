"""What a batcher has collected when its process stops is done, before what it is done with is closed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from uno import App, Module
from uno.aio import AsyncBatcher, AsyncManager, get_async_manager, run_application
from uno.api import asgi
from uno.errors import Misconfigured, Unavailable

# Longer than any test.
LONG = 3600.0


class Table:
    """What can be written to until it is closed; it tells what happened, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.batcher = AsyncBatcher(self.insert, max_wait_time=LONG, name="rows")

    async def insert(self, rows: list[str]) -> list[str]:
        await asyncio.sleep(0)
        self.told += rows
        return rows

    async def aclose(self) -> None:
        self.told.append("closed")


async def test_the_manager_finishes_batches_after_the_tasks_and_the_hooks_and_before_it_closes_resources() -> None:
    manager, table = AsyncManager(), Table()
    add = table.batcher.submit

    async def work() -> None:
        await manager.wait_for_shutdown()
        # It waits for its result: nobody else will come to the batch.
        await table.batcher.add_item("of a task")
        table.told.append("task over")

    @manager.add_shutdown_hook
    def hook() -> None:
        table.told.append("hook")
        add("of a hook")

    await manager.register_resource(table, "table")
    async with manager.running():
        add("before")
        manager.create_task(work())
        await asyncio.sleep(0)
    assert table.told == ["before", "of a task", "task over", "hook", "of a hook", "closed"]
    assert table.batcher.pending == 0


async def test_a_request_that_waits_for_a_batch_when_the_process_is_told_to_stop_does_not_wait_for_company() -> None:
    manager, table, later = AsyncManager(), Table(), Table()
    async with asyncio.timeout(30):
        async with manager.running():
            request = asyncio.create_task(table.batcher.add_item("a"))
            await asyncio.sleep(0)
            manager.request_shutdown()
            assert await request == "a"
            # Nor who comes now, also to a batcher that nobody has used before.
            assert [await table.batcher.add_item("b"), await later.batcher.add_item("c")] == ["b", "c"]
        waiting = table.batcher.submit("d")
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await table.batcher.aclose()


async def test_what_one_batch_adds_to_another_is_finished_too() -> None:
    manager, table = AsyncManager(), Table()

    async def enrich(rows: list[str]) -> list[str]:
        return await asyncio.gather(*(table.batcher.add_item(f"{row}!") for row in rows))

    async with manager.running():
        await table.batcher.flush()
        first = AsyncBatcher(enrich, max_wait_time=LONG)
        waiting = first.submit("a")
        await manager.register_resource(table, "table")
        primed = asyncio.create_task(table.batcher.add_item("before"))
        await asyncio.sleep(0)
        await table.batcher.flush()
    assert (await waiting, await primed) == ("a!", "before")
    assert table.told == ["before", "a!", "closed"]


async def test_a_batch_that_does_not_end_is_cancelled_and_what_is_left_is_refused() -> None:
    manager, ended = AsyncManager(grace=0), list[str]()

    async def hangs(rows: list[str]) -> list[str]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("batch")
        return rows

    # Held: an event loop does not keep what waits for nothing that it knows.
    batcher = AsyncBatcher(hangs, max_wait_time=0)
    async with manager.running():
        waiting = batcher.submit("a")
    with pytest.raises(Unavailable):
        await waiting
    assert ended == ["batch"]


async def test_a_batch_that_does_not_even_hear_that_it_is_cancelled_does_not_keep_the_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager, go = AsyncManager(grace=0), asyncio.Event()

    async def deaf(rows: list[str]) -> list[str]:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        return rows

    async with manager.running():
        waiting = AsyncBatcher(deaf, max_wait_time=0).submit("a")
    assert "batches were left unfinished" in caplog.text
    go.set()
    assert await waiting == "a"


async def test_a_batcher_takes_items_after_a_flush_and_waits_for_company_again() -> None:
    table = Table()
    for row in ("a", "b"):
        waiting = table.batcher.submit(row)
        await asyncio.gather(table.batcher.flush(), table.batcher.flush())
        assert await waiting == row
    table.batcher.submit("c")
    assert table.batcher._hurries == 0
    assert table.told == ["a", "b"]
    await table.batcher.aclose()
    with pytest.raises(Misconfigured, match="closed"):
        table.batcher.submit("d")


def test_an_application_of_any_kind_finishes_its_batches() -> None:
    for life in (as_program, as_app, as_server):
        table = Table()
        asyncio.run(life(table))
        assert table.told == ["a", "closed"], life.__name__


async def as_program(table: Table) -> None:
    async def startup() -> None:
        await get_async_manager().register_resource(table, "table")
        table.batcher.submit("a")
        get_async_manager().request_shutdown()

    await run_application(startup)


def _app(table: Table) -> App:
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        yield
        await table.aclose()

    return App(Module("shop"), lifespan=lifespan)


async def as_app(table: Table) -> None:
    async with _app(table):
        table.batcher.submit("a")


async def as_server(table: Table) -> None:
    api = asgi(_app(table))
    async with api.router.lifespan_context(api):
        table.batcher.submit("a")
