"""Where blocking handlers run: a bounded pool of threads, with the caller's context."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

_inside: ContextVar[bool] = ContextVar("uno.thread", default=False)


class Threads:
    """At most `limit` threads, made when they are needed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        """What `function` returns, called in a thread with a copy of the context.

        Who is cancelled meanwhile goes on at once; the thread cannot be stopped and ends by itself.
        """
        context = copy_context()

        def call() -> Any:
            return context.run(_call, function, arguments, named)

        loop = asyncio.get_running_loop()
        if _inside.get():
            # One thread waits for another here: in the pool they could all wait for a free one.
            with _one_more() as extra:
                return await loop.run_in_executor(extra, call)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._limit, thread_name_prefix="uno.module")
        return await loop.run_in_executor(self._pool, call)

    def close(self, *, wait: bool = True) -> None:
        """End the threads; a later `run` makes new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=wait, cancel_futures=not wait)


class _one_more(ThreadPoolExecutor):
    """A thread that nobody waits for in the end: who was cancelled must not block the event loop."""

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="uno.module.nested")

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=False)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    _inside.set(True)
    try:
        return function(*arguments, **named)
    except StopIteration as error:
        # A future cannot carry it: whoever waits would wait for ever.
        raise RuntimeError("The handler raised StopIteration.") from error
