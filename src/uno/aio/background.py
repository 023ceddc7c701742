"""The tasks that live as long as the process, and how they end."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from uno.aio.verbs import LAST, left_of, waiting
from uno.telemetry.signals import emit

T = TypeVar("T")
log = logging.getLogger("uno.tasks")


class Background(Protocol):
    """What an `AsyncManager` asks of whoever keeps its tasks."""

    def create_task(self, coro: Coroutine[Any, Any, T], *, name: str | None = None) -> "asyncio.Task[T]":
        """Begin it in the running event loop, and keep it."""
        ...

    async def finish(self, until: float) -> None:
        """Wait for all until then (on `clock.monotonic()`), and cancel who has not ended."""
        ...

    def __contains__(self, task: object) -> bool:
        """Whether it is one of them, and has not ended."""
        ...


class Tasks:
    """Tasks that are kept until they end; an error is logged."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def create_task(self, coro: Coroutine[Any, Any, T], *, name: str | None = None) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the background task %s failed", task.get_name(), exc_info=error)

    async def finish(self, until: float) -> None:
        others = set(self._tasks)
        if others:
            await asyncio.wait(others, timeout=left_of(until, float("inf")))
        late = [task for task in others if not task.done()]
        if late:
            emit("tasks.cancelled", tasks=[f"{task.get_name()}{waiting(task.get_coro())}" for task in late])
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=LAST)

    def __contains__(self, task: object) -> bool:
        return task in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)
