"""Others that have a lock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any


@contextlib.asynccontextmanager
async def held(lock: Any, name: str = "holder") -> AsyncIterator[asyncio.Task[None]]:
    """Another task has it in the block."""
    end, began = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with lock:
            began.set()
            await end.wait()

    task = asyncio.create_task(hold(), name=name)
    await began.wait()
    try:
        yield task
    finally:
        end.set()
        await asyncio.wait([task])
