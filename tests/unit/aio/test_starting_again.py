"""After a start that failed the next one starts the same, and whoever reads the error learns which one failed."""

import asyncio

import pytest

from uno.aio import AsyncManager, ConnectionPool, ResourceRegistry
from uno.aio.manager import Stage
from uno.errors import Misconfigured, TimedOut, Unavailable


class Part:
    """Its start fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.is_open = False

    async def start(self) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("not yet")
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False


async def test_a_registry_that_did_not_start_starts_the_same_the_next_time() -> None:
    registry, database, broker = ResourceRegistry(), Part(), Part(failures=1)
    await registry.register("database", database)
    await registry.register("broker", broker, depends_on="database")
    with pytest.raises(Unavailable, match="The resource 'broker' could not start: OSError: not yet"):
        await registry.start()
    assert not database.is_open
    await registry.start()
    assert database.is_open
    assert broker.is_open
    await registry.close()
    assert not database.is_open
    assert len(registry) == 0


async def test_a_pool_that_was_opened_for_nothing_is_opened_again() -> None:
    registry = ResourceRegistry()
    pool = ConnectionPool("wires", object, max_size=1, min_size=1)
    await registry.register("wires", pool)
    await registry.register("broker", Part(failures=1), depends_on="wires")
    with pytest.raises(Unavailable, match="not yet"):
        await registry.start()
    assert pool.is_closed
    await registry.start()
    async with pool.connection():
        with pytest.raises(TimedOut, match="1 of 1 are in use"):
            await pool.acquire(timeout=0)
    await registry.close()


async def test_a_manager_that_did_not_start_starts_the_same_the_next_time() -> None:
    manager, database = AsyncManager(), Part(failures=1)
    manager.add_startup_hook(lambda: manager.resources.register("cache", Part()))
    await manager.register_resource(database, "database")
    with pytest.raises(Unavailable, match="'database' could not start"):
        await manager.start()
    assert list(manager.resources.get_all_resources()) == ["database"]
    async with manager.running():
        assert database.is_open
        assert manager.resources.get("cache").is_open
    assert len(manager.resources) == 0


async def test_a_hook_that_fails_once_takes_no_resource_away() -> None:
    manager, database, failures = AsyncManager(), Part(), [1]

    @manager.add_startup_hook
    def migrate() -> None:
        if failures:
            failures.clear()
            raise RuntimeError("not yet")

    await manager.register_resource(database, "database")
    with pytest.raises(
        Unavailable, match=r"startup hook .*migrate failed: RuntimeError: not yet \(.*\.py, line"
    ) as caught:
        await manager.start()
    assert isinstance(caught.value.__cause__, RuntimeError)
    async with manager.running():
        assert database.is_open


async def test_what_is_wrong_with_the_program_is_raised_as_it_is() -> None:
    manager = AsyncManager()

    @manager.add_startup_hook
    def refuse() -> None:
        raise Misconfigured("There is no key.")

    with pytest.raises(Misconfigured, match="^There is no key.") as caught:
        await manager.start()
    assert caught.value.__notes__[0].endswith("refuse failed.")


async def test_what_was_open_before_a_start_that_failed_and_cannot_be_opened_again_is_forgotten() -> None:
    class Client:
        is_open = True

        async def close(self) -> None:
            self.is_open = False

    registry, client, clock = ResourceRegistry(), Client(), object()
    await registry.register("client", client)
    await registry.register("clock", clock)
    await registry.register("broker", Part(failures=1))
    with pytest.raises(Unavailable):
        await registry.start()
    assert not client.is_open
    assert list(registry.get_all_resources()) == ["clock", "broker"]
    await registry.start()
    await registry.close()


async def test_who_closes_it_while_it_starts_wants_it_empty() -> None:
    registry, reached = ResourceRegistry(), asyncio.Event()

    async def start() -> None:
        reached.set()
        await asyncio.Event().wait()

    await registry.register("slow", object(), start=start)
    starting = asyncio.create_task(registry.start())
    await reached.wait()
    await registry.close()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert len(registry) == 0


async def test_a_manager_that_is_shut_down_while_it_starts_has_nothing_left() -> None:
    manager = AsyncManager()
    await manager.register_resource(Part(), "part")
    manager.add_startup_hook(manager.shutdown)
    with pytest.raises(Misconfigured, match="The manager was shut down while it started"):
        await manager.start()
    assert manager.stage is Stage.STOPPED
    assert len(manager.resources) == 0


async def test_what_a_startup_hook_registers_it_registers_in_each_life() -> None:
    manager, parts = AsyncManager(), list[Part]()

    @manager.add_startup_hook
    async def register() -> None:
        parts.append(await manager.register_resource(Part(), "cache"))

    for _ in range(2):
        async with manager.running():
            assert parts[-1].is_open
    assert [part.is_open for part in parts] == [False, False]
