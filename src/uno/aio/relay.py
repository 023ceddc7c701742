"""Calls that are all made, though whoever makes them is cancelled in between."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from uno.aio.tasks import get_task_manager

Call = Callable[[], Awaitable[Any]]


async def each_in_turn(calls: Iterable[Call], name: str) -> None:
    """Await each; a caller that is cancelled is so at once, and what was not begun is done in the background."""
    waiting = deque(calls)
    try:
        while waiting:
            await waiting.popleft()()
    except asyncio.CancelledError:
        apart(waiting, name)
        raise


def apart(calls: Iterable[Call], name: str) -> None:
    """All of them in the background, where there is an event loop."""
    waiting = tuple(calls)
    if waiting and asyncio._get_running_loop() is not None:
        get_task_manager().create_task(each_in_turn(waiting, name), name)
