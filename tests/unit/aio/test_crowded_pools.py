"""Pools that many use at once: how many connections there are, and whose place it is."""

import asyncio
from itertools import pairwise

import pytest

from uno.aio import ConnectionPool, ResourceHealth, ResourceMonitor, ResourceRegistry
from uno.errors import Misconfigured, TimedOut

# Seconds after which a test that waits for something that never comes has failed.
LIMIT = 30.0


class Peer:
    """Opens connections slowly, and counts them."""

    def __init__(self) -> None:
        self.opened = 0
        self.answers = asyncio.Event()

    async def connect(self) -> object:
        self.opened += 1
        await self.answers.wait()
        return object()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def answered(peer: Peer, *calls: "asyncio.Task[object]") -> None:
    await settled()
    peer.answers.set()
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*calls)


async def hangs() -> object:
    return await asyncio.Event().wait()


# ── how many ──


async def test_who_comes_while_it_starts_takes_what_the_start_opens() -> None:
    peer = Peer()
    pool = ConnectionPool("peer", peer.connect, max_size=1, min_size=1)
    starting, using = asyncio.create_task(pool.start()), asyncio.create_task(pool.acquire())
    await answered(peer, starting, using)
    assert (peer.opened, pool.get_metrics()["in_use_connections"]) == (1, 1)
    await pool.release(using.result())
    await pool.close()


async def test_what_is_in_use_or_being_opened_needs_not_be_opened_at_the_start() -> None:
    peer = Peer()
    pool = ConnectionPool("peer", peer.connect, max_size=3, min_size=2)
    using = asyncio.create_task(pool.acquire())
    await settled()
    await answered(peer, using, asyncio.create_task(pool.start()))
    assert peer.opened == 2
    await pool.release(using.result())
    await pool.close()


async def test_two_starts_open_what_one_does() -> None:
    peer = Peer()
    pool = ConnectionPool("peer", peer.connect, max_size=2, min_size=2)
    await answered(peer, asyncio.create_task(pool.start()), asyncio.create_task(pool.start()))
    assert peer.opened == pool.get_metrics()["idle_connections"] == 2
    await pool.close()


async def test_a_start_that_has_to_wait_opens_what_is_missing_then() -> None:
    pool = ConnectionPool("peer", object, max_size=1, min_size=1)

    async def use() -> None:
        async with pool.connection():
            await settled()

    with pytest.raises(ValueError, match="broken"):
        async with pool.connection():
            using = asyncio.create_task(use())
            await settled()
            raise ValueError("broken")
    # The place is given to who waits for it, who has not begun to open anything.
    async with asyncio.timeout(LIMIT):
        await pool.start()
    await using
    assert pool.get_metrics()["total_connections"] == 1
    await pool.close()


async def test_nothing_is_kept_for_those_who_wait_no_more() -> None:
    pool = ConnectionPool("peer", object, max_idle=0)
    taken = [await pool.acquire() for _ in range(10)]
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(10)]
    await settled()
    for task in waiting[1:]:
        task.cancel()
    for connection in taken:
        await pool.release(connection)
    await settled()
    assert pool.get_metrics()["total_connections"] == pool.get_metrics()["in_use_connections"] == 1
    await pool.release(waiting[0].result())
    await pool.close()


async def test_as_many_are_kept_as_wait_and_no_more() -> None:
    pool = ConnectionPool("peer", object, max_size=3, max_idle=0)
    taken = [await pool.acquire() for _ in range(3)]
    waiting = asyncio.create_task(pool.acquire())
    await settled()
    for connection in taken:
        await pool.release(connection)
    assert await asyncio.wait_for(waiting, LIMIT) in taken
    assert pool.get_metrics()["idle_connections"] == 0
    await pool.release(waiting.result())
    await pool.close()


# ── the same one twice ──


async def test_one_that_is_given_twice_is_refused_and_its_place_is_free() -> None:
    one, other = object(), object()
    given = iter([one, one, one, other])
    pool = ConnectionPool("peer", lambda: next(given), max_size=2)
    first = await pool.acquire()
    with pytest.raises(Misconfigured, match="The factory of the pool 'peer' gave a object which it had given before"):
        await pool.acquire(timeout=LIMIT)
    await pool.release(first)
    assert await pool.acquire() is first
    with pytest.raises(Misconfigured, match="each call has to open another"):
        await pool.acquire(timeout=LIMIT)
    assert await pool.acquire(timeout=LIMIT) is other
    await pool.release(one)
    await pool.release(other)
    await pool.close()


async def test_one_that_was_closed_may_be_opened_again() -> None:
    one = object()
    pool = ConnectionPool("peer", lambda: one, max_idle=0)
    for _ in range(3):
        async with pool.connection() as connection:
            assert connection is one
    await pool.close()


# ── a peer that hangs ──


async def test_a_peer_that_does_not_answer_in_time_has_failed() -> None:
    registry = ResourceRegistry()
    monitor = ResourceMonitor(registry)
    pool = registry.pool("peer", hangs)
    found = []
    for _ in range(11):
        with pytest.raises(TimedOut, match="The pool 'peer' had no connection within 0.001 s"):
            await pool.acquire(timeout=0.001)
        found.append(await monitor.health_of("peer"))
    assert pool.get_metrics()["connection_errors"] == 11
    changes = [(before, after) for before, after in pairwise(found) if before is not after]
    healthy, degraded, unhealthy = ResourceHealth.HEALTHY, ResourceHealth.DEGRADED, ResourceHealth.UNHEALTHY
    assert changes == [(healthy, degraded), (degraded, unhealthy)]
    await registry.close()


async def test_who_is_cancelled_while_it_is_opened_says_nothing_of_the_peer() -> None:
    pool = ConnectionPool("peer", hangs)
    opening = asyncio.create_task(pool.acquire(timeout=LIMIT))
    await settled()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert pool.get_metrics()["connection_errors"] == 0
    await pool.close()
