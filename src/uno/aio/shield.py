"""Work that is done to its end, whatever happens to who waits for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, run as a task of its own; a caller that is cancelled is so once it has ended."""
    return await outlasting(asyncio.get_running_loop().create_task(work))


async def outlasting(task: "asyncio.Task[T]") -> T:
    """The same for a task, which others may wait for, too."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:  # raised below
            cancelled = cancelled or error
    if cancelled is None:
        return task.result()
    # Asked for, or the event loop would report it as an error that nobody saw.
    raise cancelled from (None if task.cancelled() else task.exception())
