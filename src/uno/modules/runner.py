"""The event loop of synchronous callers, for handlers that have to be awaited."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any


class Runner:
    """One event loop, made when it is first needed; calls from several threads get loops of their own meanwhile."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._busy = threading.Lock()

    def run(self, made: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What the coroutine of `made()` returns; for threads without a running loop."""
        # Not waiting: a handler in a thread may call synchronously what needs the loop it runs for.
        if not self._busy.acquire(blocking=False):
            with asyncio.Runner() as extra:
                return extra.run(made(), context=copy_context())
        try:
            if self._runner is None:
                self._runner = asyncio.Runner()
            return self._runner.run(made(), context=copy_context())
        finally:
            self._busy.release()

    def close(self) -> None:
        """Close the loop; a later `run` makes a new one."""
        with self._busy:
            runner, self._runner = self._runner, None
            if runner is not None:
                runner.close()


def in_a_loop() -> bool:
    """Whether an event loop runs in this thread."""
    return asyncio._get_running_loop() is not None
