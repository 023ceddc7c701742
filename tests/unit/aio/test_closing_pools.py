"""Pools that close while a connection of theirs hangs, or is closing."""

import asyncio

import pytest

from uno.aio import ConnectionPool, ResourceRegistry
from uno.errors import TimedOut


async def test_one_that_does_not_close_keeps_none_of_the_others_open(caplog: pytest.LogCaptureFixture) -> None:
    opened: list[int] = []
    closed: list[int] = []

    def connect() -> int:
        opened.append(len(opened))
        return opened[-1]

    async def disconnect(connection: int) -> None:
        if connection == 1:
            await asyncio.Event().wait()
        closed.append(connection)

    registry = ResourceRegistry()
    pool = ConnectionPool("broker", connect, disconnect, min_size=3, max_idle=3)
    await registry.register("broker", pool, close_timeout=0.05)
    await registry.start()
    with pytest.raises(TimedOut, match="Closing the resource 'broker' took longer") as caught:
        await registry.close()
    assert sorted(closed) == [0, 2]
    # It ended when it was cancelled.
    assert "left behind" not in str(caught.value)
    assert "test_closing_pools.py" in caplog.text
    assert "disconnect; it is left to the server" in caplog.text


async def test_those_in_use_are_cut_off_at_the_same_time() -> None:
    closing: list[int] = []
    all_of_them = asyncio.Event()

    async def disconnect(connection: int) -> None:
        closing.append(connection)
        if len(closing) == 3:
            all_of_them.set()
        await all_of_them.wait()

    numbers = iter(range(3))
    pool: ConnectionPool[int] = ConnectionPool("broker", lambda: next(numbers), disconnect)
    for _ in range(3):
        await pool.acquire()
    await pool.close(timeout=0.0)
    assert sorted(closing) == [0, 1, 2]


async def test_a_close_that_is_under_way_is_finished_where_who_waits_for_it_is_cancelled() -> None:
    may_close, closed = asyncio.Event(), asyncio.Event()

    async def disconnect(_connection: int) -> None:
        await may_close.wait()
        closed.set()

    async with ConnectionPool("broker", lambda: 1, disconnect, min_size=1) as pool:
        closing = asyncio.create_task(pool.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.sleep(0)
        may_close.set()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert closed.is_set()


async def test_one_that_is_closed_when_it_is_given_back_is_so_though_who_gives_it_back_is_cancelled() -> None:
    may_close, closed = asyncio.Event(), asyncio.Event()

    async def disconnect(_connection: object) -> None:
        await may_close.wait()
        closed.set()

    pool = ConnectionPool("broker", object, disconnect, max_idle=0)
    giving_back = asyncio.create_task(pool.release(await pool.acquire()))
    for _ in range(3):
        await asyncio.sleep(0)
    giving_back.cancel()
    await asyncio.sleep(0)
    may_close.set()
    with pytest.raises(asyncio.CancelledError):
        await giving_back
    assert closed.is_set()
    await pool.close()
