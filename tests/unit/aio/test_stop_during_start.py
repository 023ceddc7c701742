"""A stop in the middle of a start, and a start in the middle of a stop: nothing stays open, nobody waits for ever."""

import asyncio
from collections.abc import Callable

import pytest

from uno.aio import AsyncManager, RegistryClosed, ResourceRegistry
from uno.aio.manager import Stage
from uno.errors import Misconfigured


class Part:
    """Writes down when it starts and closes."""

    def __init__(self, name: str, story: list[str]) -> None:
        self.name = name
        self.story = story

    async def start(self) -> None:
        self.story.append(f"+{self.name}")

    async def close(self) -> None:
        self.story.append(f"-{self.name}")


@pytest.fixture
def story() -> list[str]:
    return []


@pytest.fixture
def part(story: list[str]) -> Callable[[str], Part]:
    return lambda name: Part(name, story)


async def test_a_stop_in_the_middle_of_the_start_leaves_nothing_open() -> None:
    story: list[str] = []
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Part):
        async def start(self) -> None:
            reached.set()
            await go_on.wait()
            await super().start()

    manager = AsyncManager()
    await manager.register_resource(Slow("slow", story), "slow")
    await manager.register_resource(Part("next", story), "next")
    starting = asyncio.create_task(manager.start())
    await reached.wait()
    await manager.shutdown()
    go_on.set()
    with pytest.raises(Misconfigured, match="The resources are closed"):
        await starting
    assert story == ["+slow", "-slow"]
    assert manager.stage is Stage.STOPPED


async def test_a_stop_in_a_startup_hook_ends_the_start() -> None:
    story: list[str] = []
    manager = AsyncManager()
    await manager.register_resource(Part("cache", story), "cache")
    manager.add_startup_hook(manager.shutdown)
    manager.add_startup_hook(lambda: story.append("second hook"))
    with pytest.raises(Misconfigured, match="The manager was shut down while it started"):
        async with manager.running():
            raise AssertionError("it must not come here")
    assert story == []
    assert manager.stage is Stage.STOPPED


async def test_a_block_inside_a_startup_hook_would_wait_for_itself() -> None:
    manager = AsyncManager()

    @manager.add_startup_hook
    async def hook() -> None:
        async with manager.running():
            raise AssertionError("it must not come here")

    with pytest.raises(Misconfigured, match=r"leave running\(\) out, it is inside"):
        async with manager.running():
            raise AssertionError("it must not come here")
    assert manager.stage is Stage.STOPPED


async def test_those_that_start_while_everything_closes_are_closed_too(
    story: list[str], part: Callable[[str], Part]
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Part):
        async def start(self) -> None:
            reached.set()
            await go_on.wait()
            await super().start()

    registry = ResourceRegistry()
    await registry.register("slow", Slow("slow", story))
    await registry.register("next", part("next"))
    starting = asyncio.create_task(registry.start())
    await reached.wait()
    await registry.close()
    go_on.set()
    with pytest.raises(RegistryClosed):
        await starting
    assert story == ["+slow", "-slow"]


async def test_one_that_is_taken_out_while_another_starts_is_not_started(
    story: list[str], part: Callable[[str], Part]
) -> None:
    registry = ResourceRegistry()
    await registry.register("first", object(), start=lambda: registry.unregister("second"))
    await registry.register("second", part("second"))
    await registry.start()
    assert story == []
    await registry.close()


async def test_a_start_waits_for_a_close_that_is_under_way(story: list[str], part: Callable[[str], Part]) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        reached.set()
        await go_on.wait()
        story.append("-slow")

    registry = ResourceRegistry()
    registry.breaker("payments")
    await registry.register("slow", object(), close=slow)
    await registry.start()
    closing = asyncio.create_task(registry.close())
    await reached.wait()
    starting = asyncio.create_task(registry.start())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not starting.done()
    go_on.set()
    await starting
    await registry.register("again", part("again"))
    assert story == ["-slow", "+again"]
    await closing
    await registry.close()
