"""A batch or a load that is cancelled in the middle of a commit: who waits for it learns whether that is stored."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from uno.aio import AsyncBatcher, AsyncCache, retry
from uno.data.deadlines import run_commit
from uno.errors import Conflict, OutcomeUnknown, Unavailable
from uno.resilience.commits import CommittedLate


class Table:
    """Its commits end when who waits for them is cancelled."""

    def __init__(self, error: Exception | None = None) -> None:
        self.stored: list[int] = []
        self.error = error
        self.begun = asyncio.Event()

    async def insert(self, row: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        await run_commit(self._commit(row, task))
        return row

    async def insert_all(self, rows: list[int]) -> list[int]:
        return [await self.insert(row) for row in rows]

    async def _commit(self, row: int, caller: "asyncio.Task[int]") -> None:
        self.begun.set()
        while not caller.cancelling():
            await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.stored.append(row)


async def through_a_batch(table: Table) -> int:
    batcher = AsyncBatcher(table.insert_all, max_wait_time=0)
    waiting = batcher.submit(1)
    await table.begun.wait()
    await batcher.aclose(timeout=0.001)
    return await waiting


async def through_a_cache(table: Table) -> int:
    cache = AsyncCache(60.0)
    waiting = asyncio.create_task(cache.get(1, table.insert))
    await table.begun.wait()
    await cache.aclose()
    return await waiting


THROUGH = pytest.mark.parametrize("through", [through_a_batch, through_a_cache])
Through = Callable[[Table], Awaitable[int]]


@THROUGH
async def test_what_is_stored_all_the_same_is_not_done_twice(through: Through) -> None:
    table = Table()
    with pytest.raises(CommittedLate, match="was cancelled.*; its commit was under way, and has succeeded"):
        await retry(max_attempts=3, base_delay=0)(through)(table)
    assert table.stored == [1]


@THROUGH
async def test_what_nobody_knows_is_said_to_be_unknown(through: Through) -> None:
    with pytest.raises(OutcomeUnknown, match="lost"):
        await through(Table(OutcomeUnknown("The connection was lost.")))


@THROUGH
async def test_what_was_not_stored_may_be_done_again(through: Through) -> None:
    with pytest.raises(Unavailable, match="was cancelled") as caught:
        await through(Table(Conflict("It is there.")))
    assert type(caught.value) is Unavailable
