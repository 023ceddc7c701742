"""What mypy and pyright have to agree on about `uno.aio`. Never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

import asyncio
from typing import assert_type

from uno.aio import (
    TaskGroup,
    TaskInfo,
    ThreadPool,
    as_task,
    cancel_on_exit,
    get_task_manager,
    in_thread,
    list_tasks,
    managed_background_task,
)


async def count(word: str, *, twice: bool = False) -> int:
    return len(word) * (1 + twice)


async def wait() -> bytes:
    return b""


@as_task("counting")
async def counting(word: str) -> int:
    return len(word)


@as_task
async def plain() -> str:
    return ""


async def tasks() -> None:
    async with TaskGroup("words", on_error="collect", max_concurrency=2) as group:
        assert_type(group, TaskGroup)
        assert_type(group.create_task(count("a")), asyncio.Task[int])
        async for _ in group.as_completed():
            pass
    manager = get_task_manager()
    assert_type(manager.create_task(wait), asyncio.Task[bytes])
    assert_type(manager.create_task(count("a"), name="a"), asyncio.Task[int])
    assert_type(counting("a"), asyncio.Task[int])
    assert_type(await plain(), str)
    async with managed_background_task("wait", wait) as task, cancel_on_exit(counting("b")) as other:
        assert_type(task, asyncio.Task[bytes])
        assert_type(other, asyncio.Task[int])
    assert_type(list_tasks(), list[TaskInfo])


async def threads(pool: ThreadPool) -> None:
    assert_type(await pool.run(len, "a"), int)
    assert_type(await in_thread("a".encode), bytes)


async def wrong() -> None:
    TaskGroup(on_error="ignore")  # type: ignore[arg-type]
    counting(1)  # type: ignore[arg-type]
    await in_thread(len, 1)  # type: ignore[arg-type]
