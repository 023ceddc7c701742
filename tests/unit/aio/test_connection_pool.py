"""The pool: never more than its size, nothing left open, nobody left waiting."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

from uno import clock
from uno.aio import (
    ConnectionPool,
    ConnectionPoolClosed,
    ResourceRegistry,
    get_resource_registry,
    managed_connection_pool,
)
from uno.data import Database
from uno.errors import Misconfigured, TimedOut, Unavailable
from uno.resilience import deadline

# Seconds after which a test that waits for something that never comes has failed.
LIMIT = 30.0


class Wire:
    """A connection; what opens them counts."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.is_open = self.works = True

    async def close(self) -> None:
        await asyncio.sleep(0)
        assert self.is_open, "it was closed before"
        self.is_open = False
        self.server.open -= 1


class Server:
    def __init__(self) -> None:
        self.open = self.most = self.opened = 0
        self.refuses: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def connect(self) -> Wire:
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if self.refuses is not None:
            raise self.refuses
        self.open += 1
        self.opened += 1
        self.most = max(self.most, self.open)
        return Wire(self)

    def pool(self, **settings: Any) -> ConnectionPool[Wire]:
        return ConnectionPool("wires", self.connect, Wire.close, **settings)


class Hand:
    """A clock moved by hand."""

    passed = 1000.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def hand() -> Iterator[Hand]:
    with clock.use(moved := Hand()):
        yield moved


async def never() -> None:
    await asyncio.Event().wait()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# ── taking and giving back ──


async def test_a_connection_that_was_given_back_is_used_again(server: Server) -> None:
    pool = server.pool()
    async with pool.connection() as first:
        pass
    async with pool.connection() as second:
        assert second is first
    await pool.close()
    assert (server.opened, server.open) == (1, 0)


async def test_there_are_never_more_than_the_size_and_who_comes_first_is_first(server: Server) -> None:
    pool = server.pool(max_size=2)
    order: list[int] = []

    async def use(n: int) -> None:
        async with pool.connection():
            order.append(n)
            await settled()

    await asyncio.gather(*(use(n) for n in range(9)))
    assert order == sorted(order)
    assert server.most == 2
    await pool.close()
    assert server.open == 0


async def test_the_smallest_size_is_opened_at_the_start(server: Server) -> None:
    async with server.pool(min_size=3, max_size=4) as pool:
        assert pool.get_metrics()["idle_connections"] == 3
        assert (server.open, server.opened) == (3, 3)
    assert server.open == 0


async def test_only_so_many_wait_unused(server: Server) -> None:
    pool = server.pool(max_size=5, max_idle=2)
    wires = [await pool.acquire() for _ in range(5)]
    for wire in wires:
        await pool.release(wire)
    assert pool.get_metrics()["idle_connections"] == server.open == 2
    await pool.close()


async def test_one_that_is_too_old_is_closed_and_replaced(server: Server, hand: Hand) -> None:
    pool = server.pool(ttl=60.0)
    async with pool.connection() as old:
        pass
    hand.passed += 60
    async with pool.connection() as fresh:
        assert fresh is not old
    assert not old.is_open
    await pool.close()


async def test_one_that_does_not_work_is_closed_and_replaced(server: Server, hand: Hand) -> None:
    pool = server.pool(validate_func=lambda wire: wire.works, validation_interval=30.0, ttl=1e9)
    async with pool.connection() as first:
        pass
    first.works = False
    async with pool.connection() as unasked:
        assert unasked is first
    hand.passed += 30
    async with pool.connection() as fresh:
        assert fresh is not first
    assert not first.is_open
    assert pool.get_metrics()["validation_failures"] == 1
    await pool.close()


async def test_one_whose_check_raises_does_not_work(server: Server) -> None:
    async def broken(_wire: Wire) -> bool:
        raise OSError("reset")

    pool = server.pool(validate_func=broken, validation_interval=0.0)
    async with pool.connection() as first:
        pass
    async with pool.connection() as fresh:
        assert fresh is not first
    await pool.close()


async def test_left_by_an_error_it_is_asked_first_and_without_a_question_closed(server: Server) -> None:
    asked: list[Wire] = []
    careful = server.pool(validate_func=lambda wire: asked.append(wire) or True)
    plain = server.pool()
    for pool in (careful, plain):
        with pytest.raises(ValueError, match="mine"):
            async with pool.connection() as wire:
                raise ValueError("mine")
        async with pool.connection() as again:
            assert (again is wire) == (pool is careful)
    assert len(asked) == 1
    assert server.open == 2
    await careful.close()
    await plain.close()


async def test_cancelled_in_the_middle_it_is_closed(server: Server) -> None:
    pool = server.pool(validate_func=lambda _wire: True)

    async def use() -> None:
        async with pool.connection():
            await never()

    task = asyncio.create_task(use())
    await settled()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.open == 0
    assert pool.get_metrics()["closed_connections"] == 1


# ── cancelled anywhere ──


@given(
    st.lists(st.tuples(st.integers(0, 25), st.booleans(), st.booleans()), min_size=1, max_size=12),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_whoever_is_cancelled_wherever_it_waits_no_place_is_lost(
    calls: list[tuple[int, bool, bool]], size: int, least: int
) -> None:
    async def run() -> None:
        server = Server()
        sizes = {"max_size": size, "min_size": min(least, size), "max_idle": 1}
        pool = server.pool(**sizes, validate_func=lambda wire: wire.works, validation_interval=0.0)

        async def use() -> None:
            async with pool.connection() as wire:
                await asyncio.sleep(0)
                wire.works = server.opened % 2 == 0
                await asyncio.sleep(0)

        tasks = [
            (asyncio.create_task(pool.start() if starts else use()), turns, cancels) for turns, cancels, starts in calls
        ]
        for turn in range(26):
            for task, turns, cancels in tasks:
                if cancels and turn == turns:
                    task.cancel()
            await asyncio.sleep(0)
        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*(task for task, _, _ in tasks), return_exceptions=True)
        assert all(task.cancelling() == 0 or task.cancelled() or not task.exception() for task, _, _ in tasks)
        assert server.most <= size
        assert pool.get_metrics()["idle_connections"] <= max(1, sizes["min_size"])
        # Every place is free: as many as there may be are given without waiting.
        wires = [await pool.acquire(timeout=1.0) for _ in range(size)]
        for wire in wires:
            await pool.release(wire)
        await pool.close()
        assert server.open == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


async def test_who_waits_for_a_place_and_is_cancelled_leaves_it_to_the_next(server: Server) -> None:
    pool = server.pool(max_size=1)
    held = await pool.acquire()
    leaving, staying = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await settled()
    leaving.cancel()
    await settled()
    await pool.release(held)
    async with asyncio.timeout(LIMIT):
        assert await staying is held
    await pool.release(held)
    await pool.close()


# ── what fails ──


async def test_who_waits_too_long_is_told_why(server: Server) -> None:
    pool = server.pool(max_size=1)
    async with pool.connection():
        with pytest.raises(TimedOut, match="'wires' had no connection within 0.01 s: 1 of 1 are in use, 0 wait"):
            await pool.acquire(timeout=0.01)
    await pool.close()


async def test_nobody_waits_past_the_deadline(server: Server) -> None:
    pool = server.pool(max_size=1)
    async with pool.connection():
        token = deadline.current.set(deadline.Limit(clock.monotonic() + 0.01))
        try:
            # Of the sixty seconds less than a hundredth is left.
            with pytest.raises(TimedOut, match=r"no connection within 0\.00\d+ s: 1 of 1 are in use"):
                await pool.acquire(timeout=60)
        finally:
            deadline.current.reset(token)
    await pool.close()


async def test_after_a_failure_nobody_tries_again_for_a_while(server: Server, hand: Hand) -> None:
    pool = server.pool(retry_backoff=2.0)
    server.refuses = ConnectionRefusedError("nobody there")
    with pytest.raises(Unavailable, match="The pool 'wires' cannot open a connection: nobody there") as caught:
        await pool.acquire()
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    server.refuses = None
    with pytest.raises(Unavailable, match="tries again in 2.0 s") as caught:
        await pool.acquire()
    assert caught.value.retry_after == 2.0
    hand.passed += 2
    async with pool.connection():
        pass
    assert pool.get_metrics()["connection_errors"] == 1
    await pool.close()


async def test_where_the_start_fails_nothing_stays_open(server: Server) -> None:
    class Third(Server):
        async def connect(self) -> Wire:
            if self.opened == 2:
                raise OSError("full")
            return await super().connect()

    third = Third()
    with pytest.raises(Unavailable, match="full"):
        await third.pool(min_size=4).start()
    assert third.open == 0


async def test_a_close_that_fails_or_hangs_costs_nobody_a_place(server: Server) -> None:
    def fail(_wire: Wire) -> None:
        raise OSError("gone")

    pool = ConnectionPool("wires", server.connect, fail, max_size=1, max_idle=0)
    for _ in range(3):
        async with pool.connection():
            pass
    assert pool.get_metrics()["closed_connections"] == 3


# ── closing ──


async def test_who_waits_when_it_is_closed_is_told(server: Server) -> None:
    pool = server.pool(max_size=1)
    held = await pool.acquire()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
    await settled()
    closing = asyncio.create_task(pool.close())
    for task in waiting:
        with pytest.raises(Misconfigured, match="The pool 'wires' is closed"):
            await asyncio.wait_for(task, LIMIT)
    assert not closing.done()
    await pool.release(held)
    await closing
    assert server.open == 0


async def test_what_is_not_given_back_in_time_is_cut_off(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    pool = server.pool()
    held = await pool.acquire()
    await pool.close(timeout=0)
    assert not held.is_open
    [record] = [r for r in caplog.records if getattr(r, "signal", "") == "pool.cut_off"]
    assert (vars(record)["pool"], vars(record)["connections"]) == ("wires", 1)
    await pool.release(held)
    await pool.close()
    with pytest.raises(ConnectionPoolClosed, match="is closed; make another one"):
        await pool.acquire()
    assert issubclass(ConnectionPoolClosed, RuntimeError)


async def test_closing_ends_as_soon_as_all_are_given_back(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    pool = server.pool()
    async with pool.connection():
        pass
    async with asyncio.timeout(30):
        await pool.close(timeout=1234)
    pool = server.pool()
    held = await pool.acquire()
    closing = asyncio.create_task(pool.close(timeout=1234))
    await settled()
    assert not closing.done()
    await pool.release(held)
    async with asyncio.timeout(30):
        await closing
    assert [r for r in caplog.records if getattr(r, "signal", "") == "pool.cut_off"] == []
    assert server.open == 0


@pytest.mark.parametrize("begin", ["acquire", "start"])
async def test_what_is_being_opened_when_it_is_closed_is_closed(server: Server, begin: str) -> None:
    server.gate = asyncio.Event()
    pool = server.pool(min_size=3)
    opening = asyncio.create_task(getattr(pool, begin)())
    await settled()
    await pool.close()
    server.gate.set()
    with pytest.raises(ConnectionPoolClosed):
        await opening
    assert (server.opened, server.open) == (1, 0)
    assert pool.get_metrics()["in_use_connections"] == 0


async def test_one_that_is_being_asked_when_it_is_closed_is_closed(server: Server, hand: Hand) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def works(_wire: Wire) -> bool:
        asked.set()
        await go_on.wait()
        return True

    pool = server.pool(validate_func=works)
    async with pool.connection():
        pass
    hand.passed += 31
    taking = asyncio.create_task(pool.acquire())
    await asked.wait()
    await pool.close()
    go_on.set()
    with pytest.raises(ConnectionPoolClosed):
        await taking
    assert server.open == 0


async def test_a_managed_pool_lives_in_the_registry_for_its_block(server: Server) -> None:
    async with managed_connection_pool("wires", server.connect, Wire.close, min_size=1) as pool:
        assert get_resource_registry().pool("wires") is pool
        assert server.open == 1
    assert server.open == 0
    assert "wires" not in get_resource_registry()


async def test_the_registry_opens_and_closes_its_pools(server: Server) -> None:
    registry = ResourceRegistry()
    pool = registry.pool("wires", server.connect, Wire.close)
    await registry.start()
    async with pool.connection():
        assert registry.get_metrics()["wires"]["in_use_connections"] == 1
    await registry.close()
    assert server.open == 0


# ── misuse ──


async def test_what_was_not_taken_from_it_is_not_taken_back(server: Server) -> None:
    pool = server.pool()
    wire = await pool.acquire()
    await pool.release(wire)
    with pytest.raises(Misconfigured, match="or it was given back before"):
        await pool.release(wire)
    with pytest.raises(Misconfigured, match="not one that was taken from the pool 'wires'"):
        await pool.release(Wire(server))
    await pool.close()


def test_it_belongs_to_one_event_loop(server: Server) -> None:
    pool = server.pool()
    asyncio.run(pool.start())
    with pytest.raises(Misconfigured, match="is used in another event loop"):
        asyncio.run(pool.start())


async def test_what_has_a_pool_itself_is_not_pooled_again() -> None:
    database = Database("sqlite://")
    pool: ConnectionPool[Any]
    for thing in (database, database.engine, database.engine.sync_engine):
        pool = ConnectionPool("twice", lambda thing=thing: thing)
        with pytest.raises(Misconfigured, match="which has a pool itself"):
            await pool.acquire()
    pool = ConnectionPool("once", database.engine.connect)
    async with pool.connection() as connection:
        await connection.close()
    await database.close()


async def test_its_figures_have_the_names_of_the_seed(server: Server) -> None:
    figures = server.pool(max_size=7, min_size=1).get_metrics()
    assert set(figures) >= {
        "name", "total_connections", "in_use_connections", "idle_connections", "max_size", "min_size",
        "created_connections", "closed_connections", "connection_errors", "validation_failures", "uptime",
    }  # fmt: skip
    assert (figures["name"], figures["max_size"], figures["min_size"]) == ("wires", 7, 1)
