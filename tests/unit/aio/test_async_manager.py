"""The life of a process: in which order it starts and stops, and what may go wrong on the way."""

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from uno.aio import (
    AsyncManager,
    as_task,
    get_async_manager,
    get_resource_registry,
    get_task_manager,
)
from uno.aio.manager import Stage
from uno.errors import Misconfigured, TimedOut, Unavailable


class Part:
    def __init__(self, name: str, story: list[str]) -> None:
        self.name = name
        self.story = story

    async def start(self) -> None:
        self.story.append(f"+{self.name}")

    async def close(self) -> None:
        self.story.append(f"-{self.name}")


async def never() -> None:
    await asyncio.Event().wait()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


# ── order ──


async def test_it_stops_in_the_reverse_order_of_its_start() -> None:
    story: list[str] = []
    manager = AsyncManager()
    manager.add_startup_hook(lambda: story.append("+first hook"))
    manager.add_startup_hook(lambda: story.append("+second hook"))
    manager.add_shutdown_hook(lambda: story.append("-first hook"))
    manager.add_shutdown_hook(lambda: story.append("-second hook"))

    async def task() -> None:
        story.append("+task")
        await manager.wait_for_shutdown()
        story.append("-task")

    async with manager.running():
        await manager.register_resource(Part("database", story), "database")
        await manager.register_resource(Part("cache", story), "cache", depends_on="database")
        manager.create_task(task(), name="task")
        await settled()
        assert manager.stage is Stage.RUNNING
    assert story == [
        "+first hook", "+second hook", "+database", "+cache", "+task",
        "-task", "-second hook", "-first hook", "-cache", "-database",
    ]  # fmt: skip
    assert manager.stage is Stage.STOPPED


async def test_fifty_starts_and_stops_leave_nothing_behind() -> None:
    story: list[str] = []
    manager, before = get_async_manager(), asyncio.all_tasks()
    for n in range(50):
        async with manager.running():
            await manager.register_resource(Part(str(n), story), "part")
            manager.create_task(manager.wait_for_shutdown(), name=f"waiting {n}")
            manager.add_shutdown_hook(lambda n=n: story.append(f"hook {n}"))
    assert story == [line for n in range(50) for line in (f"+{n}", f"hook {n}", f"-{n}")]
    assert asyncio.all_tasks() == before
    assert len(manager.resources) == 0


async def test_blocks_inside_each_other_are_one_life() -> None:
    story: list[str] = []
    manager = AsyncManager()
    async with manager.running():
        async with manager.running():
            await manager.register_resource(Part("cache", story), "cache")
        assert not manager.is_shutting_down()
        assert story == ["+cache"]
    assert story == ["+cache", "-cache"]


async def test_blocks_that_begin_at_the_same_time_start_it_once() -> None:
    starts: list[int] = []
    manager = AsyncManager()

    @manager.add_startup_hook
    async def slow() -> None:
        await asyncio.sleep(0)
        starts.append(1)

    async def use() -> None:
        async with manager.running():
            await settled()

    await asyncio.gather(*(use() for _ in range(5)))
    assert starts == [1]
    assert manager.stage is Stage.STOPPED


async def test_what_was_started_by_hand_a_block_does_not_stop() -> None:
    manager = AsyncManager()
    await manager.start()
    async with manager.running():
        pass
    assert manager.stage is Stage.RUNNING
    await manager.shutdown()


# ── being told ──


async def test_everybody_is_told_once_and_at_once() -> None:
    told: list[str] = []
    manager = AsyncManager()
    async with manager.running():
        manager.on_stopping(lambda: told.append("kept"))
        forget = manager.on_stopping(lambda: told.append("forgotten"))
        forget()
        forget()
        manager.request_shutdown("SIGTERM")
        manager.request_shutdown("SIGTERM")
        assert told == ["kept"]
        assert manager.is_shutting_down()
        assert manager.stage is Stage.STOPPING
        manager.on_stopping(lambda: told.append("late"))
        assert told == ["kept", "late"]


async def test_one_who_cannot_be_told_does_not_keep_the_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def fail() -> None:
        raise RuntimeError("deaf")

    manager = AsyncManager()
    async with manager.running():
        manager.on_stopping(fail)
        manager.on_stopping(lambda: told.append("other"))
        manager.request_shutdown()
    assert told == ["other"]
    assert "could not be told" in caplog.text


async def test_the_reason_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        manager = AsyncManager(grace=3)
        async with manager.running():
            manager.request_shutdown("SIGTERM")
    record = next(r for r in caplog.records if getattr(r, "signal", "") == "lifecycle.stopping")
    assert (vars(record)["reason"], vars(record)["grace"]) == ("SIGTERM", 3)


async def test_a_stream_ends_with_a_goodbye() -> None:
    manager = AsyncManager()
    closed = False

    async def ticks() -> AsyncIterator[int]:
        nonlocal closed
        try:
            yield 1
            yield 2
            await never()
        finally:
            closed = True

    async def stream() -> list[Any]:
        got: list[Any] = [item async for item in manager.until_shutdown(ticks())]
        return [*got, "goodbye"]

    async with manager.running():
        reading = manager.create_task(stream())
        await settled()
        assert not reading.done()
        manager.request_shutdown()
        assert await reading == [1, 2, "goodbye"]
        assert closed
        assert reading.cancelling() == 0
        assert [item async for item in manager.until_shutdown(ticks())] == []


async def test_a_stream_that_ends_or_fails_by_itself_does_so() -> None:
    manager = AsyncManager()

    async def failing() -> AsyncIterator[int]:
        yield 1
        raise TimeoutError("its own")

    async def ending() -> AsyncIterator[int]:
        yield 1

    assert [item async for item in manager.until_shutdown(ending())] == [1]
    with pytest.raises(TimeoutError, match="its own"):
        [item async for item in manager.until_shutdown(failing())]


async def test_a_stream_whose_reader_is_cancelled_is_cancelled() -> None:
    manager = AsyncManager()

    async def ticks() -> AsyncIterator[int]:
        await never()
        yield 1

    async def read() -> None:
        async for _ in manager.until_shutdown(ticks()):
            pass

    reading = asyncio.create_task(read())
    await settled()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


# ── tasks ──


async def test_a_task_that_does_not_end_in_time_is_cancelled_and_named(caplog: pytest.LogCaptureFixture) -> None:
    manager = AsyncManager(grace=0.01)
    async with manager.running():
        task = manager.create_task(never(), name="for ever")
    assert task.cancelled()
    record = next(r for r in caplog.records if getattr(r, "signal", "") == "tasks.cancelled")
    assert vars(record)["tasks"][0].startswith("for ever; it waits at ")
    assert vars(record)["tasks"][0].endswith(" in never")


async def test_a_task_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("hunter2")

    async with AsyncManager().running() as manager:
        task = manager.create_task(fail(), name="failing")
        await asyncio.wait([task])
    assert "a background task failed: hunter2" in caplog.text
    del task
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_the_manager_of_a_loop_ends_background_tasks_of_that_loop_whoever_began_them() -> None:
    @as_task("beating")
    async def beat() -> None:
        await asyncio.Event().wait()

    async with get_async_manager().running(grace=0) as manager:
        task, own = beat(), manager.create_task(never, group="watching")
        assert manager.tasks is get_task_manager()
        assert get_task_manager().get_group("watching") is not None
    assert task.cancelled()
    assert own.cancelled()
    async with manager.running(grace=0):
        again = manager.create_task(never)
    assert again.cancelled()


async def test_a_task_manager_that_somebody_shut_down_is_followed_by_another() -> None:
    async with get_async_manager().running(grace=0) as manager:
        await manager.tasks.shutdown()
        task = manager.create_task(never)
        assert manager.tasks is get_task_manager()
    assert task.cancelled()


async def test_a_task_that_stops_the_manager_would_wait_for_itself() -> None:
    manager = AsyncManager()
    async with manager.running():
        task = manager.create_task(manager.shutdown())
        await asyncio.wait([task])
        with pytest.raises(Misconfigured, match=r"call manager.request_shutdown\(\) in it"):
            task.result()
        assert not manager.is_shutting_down()


# ── what fails ──


async def test_a_start_that_fails_is_undone() -> None:
    story: list[str] = []
    manager = AsyncManager()
    await manager.resources.register("cache", Part("cache", story))

    class Refusing(Part):
        async def start(self) -> None:
            raise ConnectionRefusedError("nobody there")

    await manager.resources.register("broker", Refusing("broker", story), depends_on="cache")
    with pytest.raises(Unavailable, match="'broker' could not start: ConnectionRefusedError: nobody there"):
        async with manager.running():
            raise AssertionError("it must not come here")
    assert story == ["+cache", "-cache"]
    assert manager.stage is Stage.STOPPED


async def test_a_hook_that_fails_or_hangs_keeps_nothing_open() -> None:
    story: list[str] = []
    manager = AsyncManager(grace=0)

    async def fail() -> None:
        raise OSError("full")

    async with manager.running():
        await manager.register_resource(Part("cache", story), "cache")
        manager.add_shutdown_hook(fail)
        forget = manager.add_shutdown_hook(lambda: story.append("-hook"))
        assert callable(forget)
        ending = manager.shutdown()
        with pytest.raises(OSError, match="full"):
            await ending
    assert story == ["+cache", "-hook", "-cache"]


async def test_several_errors_of_the_stop_come_together() -> None:
    def fail(text: str) -> None:
        raise OSError(text)

    manager = AsyncManager()
    await manager.start()
    manager.add_shutdown_hook(lambda: fail("one"))
    manager.add_shutdown_hook(lambda: fail("two"))
    with pytest.raises(ExceptionGroup, match="did not stop properly") as caught:
        await manager.shutdown()
    assert [str(error) for error in caught.value.exceptions] == ["two", "one"]


async def test_a_resource_that_hangs_is_told_and_the_manager_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uno.aio.manager.CLOSING", 0.01)
    manager = AsyncManager(grace=0)
    await manager.start()
    await manager.resources.register("hanging", object(), close=never)
    with pytest.raises(TimedOut, match="Closing the resource 'hanging' took longer than"):
        await manager.shutdown()
    assert manager.stage is Stage.STOPPED


async def test_who_is_cancelled_while_it_stops_waits_for_the_end() -> None:
    story: list[str] = []
    go_on = asyncio.Event()
    manager = AsyncManager()
    manager.add_shutdown_hook(go_on.wait)
    await manager.start()
    await manager.register_resource(Part("cache", story), "cache")
    stopping = asyncio.create_task(manager.shutdown())
    await settled()
    stopping.cancel()
    await settled()
    assert not stopping.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert story == ["+cache", "-cache"]


async def test_a_block_that_is_cancelled_stops_properly() -> None:
    story: list[str] = []
    manager = AsyncManager()

    async def run() -> None:
        async with manager.running():
            await manager.register_resource(Part("cache", story), "cache")
            await never()

    running = asyncio.create_task(run())
    await settled()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert story == ["+cache", "-cache"]


# ── loops ──


def test_outside_of_a_loop_it_is_that_of_the_first_loop_to_come() -> None:
    thread = threading.Thread(target=lambda: asyncio.run(_asked()))
    thread.start()
    thread.join()
    early = get_async_manager()
    breaker = get_resource_registry().breaker("early")

    async def run() -> None:
        assert get_async_manager() is early
        assert early.loop is asyncio.get_running_loop()

    asyncio.run(run())
    assert breaker.name == "early"


async def _asked() -> AsyncManager:
    return get_async_manager()


def test_loops_that_run_beside_each_other_have_one_each() -> None:
    async def run() -> None:
        mine = get_async_manager()
        others: list[AsyncManager] = []
        thread = threading.Thread(target=lambda: others.append(asyncio.run(_asked())))
        thread.start()
        await asyncio.to_thread(thread.join)
        assert others[0] is not mine
        assert get_async_manager() is mine

    asyncio.run(run())


def test_a_loop_that_ended_without_a_stop_leaves_nothing_to_the_next() -> None:
    async def run(story: list[str]) -> None:
        manager = get_async_manager()
        await manager.start()
        assert not manager.is_shutting_down()
        await manager.register_resource(Part("cache", story), "cache")
        manager.request_shutdown()

    for _ in range(2):
        asyncio.run(run([]))


def test_without_a_loop_and_in_another_one_it_says_so() -> None:
    manager = AsyncManager()
    with pytest.raises(Misconfigured, match="No event loop runs here"):
        manager.create_task(never())

    async def run() -> None:
        await manager.start()

        def elsewhere() -> None:
            with pytest.raises(Misconfigured, match="belongs to another event loop"):
                asyncio.run(manager.start())

        await asyncio.to_thread(elsewhere)
        await manager.shutdown()

    asyncio.run(run())


# ── misuse ──


async def test_started_twice_and_used_after_the_end_it_says_so() -> None:
    manager = AsyncManager()
    await manager.start()
    with pytest.raises(Misconfigured, match="The manager is running already"):
        await manager.start()
    await manager.shutdown()
    await manager.shutdown()
    with pytest.raises(Misconfigured, match="The manager has stopped"):
        manager.create_task(never())
    wrong: Any = 3
    async with AsyncManager().running() as running:
        with pytest.raises(Misconfigured, match="a coroutine or an async function without arguments, not 3"):
            running.create_task(wrong)
        with pytest.raises(Misconfigured, match="The name comes last: register_resource"):
            await running.register_resource("cache", wrong)
    with pytest.raises(Misconfigured, match="The grace of an AsyncManager is 0 seconds or more"):
        AsyncManager(grace=-1)
    with pytest.raises(Misconfigured, match="hook of the manager is a function"):
        manager.add_startup_hook(never())  # type: ignore[arg-type]


async def test_a_manager_gives_task_groups_by_name() -> None:
    async def work() -> int:
        return 1

    async with get_async_manager().task_group("orders") as group:
        group.create_task(work())
    assert (group.name, group.results) == ("orders", [1])
