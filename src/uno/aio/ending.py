"""Ending tasks: cancelled, and waited for until they have cleaned up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any, TypeVar

from uno import clock, sync
from uno.aio.births import waits, waits_at
from uno.errors import Misconfigured
from uno.telemetry.signals import emit

T = TypeVar("T")
# Seconds that what was cancelled has for cleaning up, before it is taken for one that did not hear.
PATIENCE = 10.0
# Whether a task failed and nobody has asked for its error; nothing public tells it.
is_unseen = attrgetter("_log_traceback")


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel the tasks and wait until they have ended.

    Who is cancelled meanwhile waits to the end, too, and learns of it then. What has not ended after 10 seconds is told
    of (`task.stuck`) and, where its caller is cancelled, cancelled again: it may have swallowed the first one.
    """
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    stopped: asyncio.CancelledError | None = None
    again = clock.monotonic() + PATIENCE
    try:
        while left:
            try:
                await asyncio.wait(left, timeout=max(0.0, again - clock.monotonic()))
            except asyncio.CancelledError as error:  # raised below
                stopped = error
            left = [task for task in left if not task.done()]
            if left and clock.monotonic() >= again:
                _urge(left)
                again = clock.monotonic() + PATIENCE
        if stopped is not None:
            raise stopped
    finally:
        del stopped


def _urge(late: list["asyncio.Task[Any]"]) -> None:
    caller = asyncio.current_task()
    for task in late:
        emit("task.stuck", task=task.get_name(), group=None, place=waits_at(waits(task.get_coro())))
        if caller is not None and caller.cancelling():
            task.cancel()


async def end_within(task: "asyncio.Task[Any]", seconds: float) -> bool:
    """Cancel it, and whether it ended within `seconds`. What it raises is for nobody: its time was over."""
    task.cancel()
    await asyncio.wait([task], timeout=seconds)
    if task.done() and not task.cancelled():
        task.exception()
    return task.done()


@asynccontextmanager
async def cancel_on_exit(task: "asyncio.Task[T]") -> AsyncIterator["asyncio.Task[T]"]:
    """Cancels `task` at the end of the block and waits for it.

    Its own error, if nobody has seen it, is raised there, unless the block raises one; then it is the
    event loop that tells of it. Raises `Misconfigured` for what is no task, and for the one that would wait for itself.
    """
    if not asyncio.isfuture(task):
        raise Misconfigured(f"cancel_on_exit() takes a task, as `asyncio.create_task(...)` gives, not {task!r}.")
    if task in (asyncio.current_task(), sync.runner()):
        raise Misconfigured("cancel_on_exit() takes another task than its own, which would wait for itself.")
    try:
        yield task
    finally:
        await end(task)
    if not task.cancelled() and is_unseen(task):
        task.result()
