"""A start that is broken off, fails or comes too late leaves nothing open, and hurts nobody else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from uno.aio import ResourceRegistry, managed_connection_pool, managed_resource
from uno.errors import TimedOut, Unavailable


class Part:
    """Whether it is open."""

    is_open = False

    async def start(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False


class Deaf(Part):
    """Its start ends when `may_end` is set, cancelled or not."""

    def __init__(self) -> None:
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        self.began.set()
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                continue
        self.is_open = True


class Failing(Part):
    """Its start fails when `may_end` is set."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def start(self) -> None:
        await self.may_end.wait()
        raise OSError("nobody there")


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def registry() -> AsyncIterator[ResourceRegistry]:
    registry = ResourceRegistry()
    await registry.start()
    yield registry
    await registry.close()


@pytest.fixture
async def deaf() -> AsyncIterator[Deaf]:
    deaf = Deaf()
    yield deaf
    # Also where the test fails, or the event loop would wait for it.
    deaf.may_end.set()


async def register(registry: ResourceRegistry, part: Part) -> None:
    await registry.register("part", part)


async def manage(registry: ResourceRegistry, part: Part) -> None:
    async with managed_resource(part, "part", registry=registry):
        await asyncio.Event().wait()


@pytest.mark.parametrize("use", [register, manage])
@pytest.mark.parametrize("turns", range(6))
async def test_a_cancel_in_any_turn_of_the_loop_leaves_open_only_what_the_registry_has(
    registry: ResourceRegistry, use: Callable[[ResourceRegistry, Part], Awaitable[None]], turns: int
) -> None:
    part = Part()
    using = asyncio.ensure_future(use(registry, part))
    for _ in range(turns):
        await asyncio.sleep(0)
    using.cancel()
    await asyncio.wait([using])
    assert part.is_open == ("part" in registry)
    assert using.cancelled() != part.is_open


@pytest.mark.parametrize("turns", range(12))
async def test_nor_does_a_cancel_leave_a_connection_of_a_pool_open(registry: ResourceRegistry, turns: int) -> None:
    connections: list[object] = []

    async def connect() -> object:
        connections.append(object())
        return connections[-1]

    async def use() -> None:
        async with managed_connection_pool("pool", connect, connections.remove, min_size=1, registry=registry):
            await asyncio.Event().wait()

    using = asyncio.create_task(use())
    for _ in range(turns):
        await asyncio.sleep(0)
    using.cancel()
    await asyncio.wait([using])
    assert connections == []
    assert "pool" not in registry


async def test_one_that_is_closed_since_its_start_was_cancelled_is_closed_to_the_end(
    registry: ResourceRegistry,
) -> None:
    began, may_end = asyncio.Event(), asyncio.Event()

    class Slow(Deaf):
        async def close(self) -> None:
            began.set()
            await may_end.wait()
            self.is_open = False

    slow = Slow()
    registering = asyncio.create_task(registry.register("slow", slow))
    await slow.began.wait()
    registering.cancel()
    slow.may_end.set()
    await began.wait()
    registering.cancel()
    await settled()
    assert not registering.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await registering
    assert not slow.is_open


async def test_who_takes_out_one_that_closes_slowly_and_is_cancelled_waits_for_its_end(
    registry: ResourceRegistry,
) -> None:
    began, may_end = asyncio.Event(), asyncio.Event()

    class Slow(Part):
        async def close(self) -> None:
            began.set()
            await may_end.wait()
            self.is_open = False

    slow = await registry.register("slow", Slow())
    leaving = asyncio.create_task(registry.unregister("slow"))
    await began.wait()
    leaving.cancel()
    await settled()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert not slow.is_open


async def test_one_that_has_started_when_its_time_is_over_is_closed(
    monkeypatch: pytest.MonkeyPatch, deaf: Deaf
) -> None:
    monkeypatch.setattr("uno.aio.verbs.LAST", 0)
    registry = ResourceRegistry(start_timeout=0)
    await registry.start()
    with pytest.raises(
        TimedOut, match=r"Starting the resource 'deaf' took .*; see whether .*registry\.start_timeout\. It does"
    ):
        await registry.register("deaf", deaf)
    assert "deaf" not in registry
    deaf.may_end.set()
    await settled()
    assert not deaf.is_open
    await registry.close()


async def test_one_that_has_started_when_the_start_of_all_was_cancelled_is_closed(
    monkeypatch: pytest.MonkeyPatch, deaf: Deaf
) -> None:
    monkeypatch.setattr("uno.aio.verbs.LAST", 0)
    registry = ResourceRegistry()
    await registry.register("deaf", deaf)
    starting = asyncio.create_task(registry.start())
    await deaf.began.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    deaf.may_end.set()
    await settled()
    assert not deaf.is_open


async def test_what_fails_when_it_is_closed_is_told_with_why_the_start_was_broken_off(
    registry: ResourceRegistry,
) -> None:
    class Broken(Deaf):
        async def close(self) -> None:
            raise OSError("it sticks")

    broken = Broken()
    registering = asyncio.create_task(registry.register("broken", broken))
    await broken.began.wait()
    registering.cancel()
    broken.may_end.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await registering
    assert caught.value.__notes__ == ["Closing what was started failed, too: OSError('it sticks')"]


# ── others ──


async def test_a_start_that_fails_does_not_throw_out_what_has_its_name_by_then(registry: ResourceRegistry) -> None:
    failing = Failing()
    registering = asyncio.create_task(registry.register("part", failing))
    await settled()
    await registry.unregister("part")
    second = await registry.register("part", Part())
    failing.may_end.set()
    with pytest.raises(Unavailable, match="nobody there"):
        await registering
    assert registry.get("part") is second
    await registry.close()
    assert not second.is_open


async def test_who_registers_the_same_twice_learns_both_times_that_it_does_not_start(
    registry: ResourceRegistry,
) -> None:
    failing = Failing()
    both = [asyncio.create_task(registry.register("part", failing)) for _ in range(2)]
    await settled()
    assert not any(task.done() for task in both)
    failing.may_end.set()
    for task in both:
        with pytest.raises(Unavailable, match="The resource 'part' could not start: OSError: nobody there"):
            await task
    assert len(registry) == 0


async def test_who_registers_the_same_twice_gets_it_started(registry: ResourceRegistry) -> None:
    part = Part()
    both = await asyncio.gather(*(registry.register("part", part) for _ in range(2)))
    assert both == [part, part]
    assert part.is_open


async def test_where_the_first_is_cancelled_the_second_registers_it(registry: ResourceRegistry) -> None:
    class Slow(Part):
        def __init__(self) -> None:
            self.may_end = asyncio.Event()

        async def start(self) -> None:
            await self.may_end.wait()
            self.is_open = True

    slow = Slow()
    first, second = [asyncio.create_task(registry.register("part", slow)) for _ in range(2)]
    await settled()
    first.cancel()
    await settled()
    slow.may_end.set()
    assert await second is slow
    assert first.cancelled()
    assert slow.is_open
    assert "part" in registry


# ── for a block ──


async def test_a_block_leaves_open_what_somebody_else_has_registered(registry: ResourceRegistry) -> None:
    part = await registry.register("part", Part())
    async with managed_resource(part, "part", registry=registry):
        pass
    assert part.is_open
    assert "part" in registry


async def test_a_start_that_ends_late_closes_nothing_that_was_started_again() -> None:
    registry, part = ResourceRegistry(start_timeout=0.01), Deaf()
    await registry.register("part", part)
    before = asyncio.all_tasks()
    with pytest.raises(TimedOut, match="took longer than"):
        await registry.start()
    late = asyncio.all_tasks() - before
    part.may_end.set()
    await registry.start()
    await asyncio.wait(late)
    assert part.is_open
    await registry.close()
    assert not part.is_open


async def test_of_blocks_inside_each_other_the_outer_one_closes() -> None:
    registry, part = ResourceRegistry(), Part()
    async with managed_resource(part, "part", registry=registry):
        async with managed_resource(part, "part", registry=registry):
            pass
        assert part.is_open
    assert not part.is_open
    assert len(registry) == 0


async def test_a_block_leaves_open_what_has_its_name_at_its_end() -> None:
    registry, part, other = ResourceRegistry(), Part(), Part()
    async with managed_resource(part, "part", registry=registry):
        await registry.unregister("part")
        await registry.register("part", other)
        await registry.start_one("part")
    assert other.is_open
    await registry.close()


async def test_a_block_may_name_one_dependency_by_itself() -> None:
    registry = ResourceRegistry()
    async with (
        managed_resource(Part(), "database", registry=registry),
        managed_resource(Part(), "cache", depends_on="database", registry=registry),
    ):
        assert registry.dependencies()["cache"] == ("database",)
