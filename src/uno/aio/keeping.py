"""Who keeps the background tasks of a process, as its manager sees it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from uno.aio.verbs import left_of, waiting
from uno.errors import Misconfigured
from uno.telemetry.signals import emit

T = TypeVar("T")
log = logging.getLogger("uno.tasks")
Work = Coroutine[Any, Any, T] | Callable[[], Coroutine[Any, Any, T]]


class Group(Protocol):
    """Some of the tasks."""

    @property
    def tasks(self) -> Sequence["asyncio.Task[Any]"]:
        """Those that run."""
        ...


class Keeper(Protocol):
    """What an `AsyncManager` asks of whoever keeps its tasks."""

    def create_task(self, work: Work[T], name: str | None = None) -> "asyncio.Task[T]":
        """Run `work` in the background, and log its error."""
        ...

    @property
    def groups(self) -> Sequence[Group]:
        """Where its tasks are."""
        ...

    async def shutdown(self, grace: float | None = 10.0) -> Any:
        """Take no more tasks, and cancel all; they have `grace` seconds to clean up."""
        ...


class Tasks:
    """Tasks that are kept until they end; an error is logged."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._is_closed = False

    def create_task(self, work: Work[T], name: str | None = None) -> "asyncio.Task[T]":
        coro = work() if callable(work) else work
        if self._is_closed:
            coro.close()
            raise Misconfigured("The background tasks have ended, so nobody would wait for a new one.")
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the background task %s failed", task.get_name(), exc_info=error)

    @property
    def tasks(self) -> tuple["asyncio.Task[Any]", ...]:
        return tuple(self._tasks)

    @property
    def groups(self) -> "tuple[Tasks, ...]":
        return (self,)

    async def shutdown(self, grace: float | None = 10.0) -> None:
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=grace)


def kept_by(keeper: Keeper) -> list["asyncio.Task[Any]"]:
    """All its tasks that run."""
    return [task for group in keeper.groups for task in group.tasks]


async def finished(keeper: Keeper, until: float, last: float) -> None:
    """Wait for its tasks until then (on `clock.monotonic()`), and cancel those left, which have `last` seconds."""
    there = kept_by(keeper)
    if there:
        await asyncio.wait(there, timeout=left_of(until, float("inf")))
    late = [f"{task.get_name()}{waiting(task.get_coro())}" for task in there if not task.done()]
    if late:
        emit("tasks.cancelled", tasks=late)
    await keeper.shutdown(last)
