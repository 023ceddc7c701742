"""Where blocking handlers run: a bounded pool of threads, with the caller's context."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from types import CoroutineType
from typing import Any

from uno.errors import Unavailable
from uno.modules.runner import inside

_ENDED = "The host has been shut down."


class Threads:
    """At most `limit` threads that work, made when they are needed.

    A thread that waits for another lends it its place: that is one thread more, which does one
    thing after the other.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    async def run(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        """What `function` returns, called in a thread with a copy of the context; a coroutine is awaited here.

        Who is cancelled meanwhile goes on at once; the thread cannot be stopped and ends by itself.
        Raises `Unavailable` when the threads are closed, or were before it had one.
        """
        context = copy_context()

        def call() -> Any:
            return context.run(_call, function, arguments, named)

        # In the pool threads that wait for others could all wait for a free one.
        lent = _place.get()
        working = (None if lent is None else lent.submit(call)) or self._submit(call)
        try:
            found = await asyncio.wrap_future(working)
        except asyncio.CancelledError:
            # By `close`: nobody asked the task to end, and it must not end as if somebody had.
            if working.cancelled() and not _asked_to_end():
                raise Unavailable(_ENDED) from None
            raise
        return await found if found.__class__ is CoroutineType else found

    def _submit(self, call: Callable[[], Any]) -> "Future[Any]":
        with self._lock:
            if self._closed:
                raise Unavailable(_ENDED)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._limit, thread_name_prefix="uno.module")
            return self._pool.submit(call)

    def open(self) -> None:
        """After `close`: let `run` make new threads, which the next `close` ends."""
        with self._lock:
            self._closed = False

    def close(self, *, wait: bool = True) -> None:
        """End the threads. Called by a handler it does not wait for the handler."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=wait and not waited_for(), cancel_futures=not wait)


class _Place:
    """What a thread of the pool lends while it waits: one other thread, made when it is needed."""

    __slots__ = ("_lock", "_thread", "over")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.over = False
        self._thread: ThreadPoolExecutor | None = None

    def submit(self, call: Callable[[], Any]) -> "Future[Any] | None":
        """None when its own call is over: then nobody waits there."""
        with self._lock:
            if self.over:
                return None
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="uno.module.nested")
            return self._thread.submit(call)

    def end(self) -> None:
        """Without waiting: who was cancelled must not wait for what cannot be stopped."""
        with self._lock:
            self.over = True
        if self._thread is not None:
            self._thread.shutdown(wait=False)


def _asked_to_end() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


_place: ContextVar[_Place | None] = ContextVar("uno.thread", default=None)


def waited_for() -> bool:
    """Whether a thread of a pool, or a synchronous caller, waits for this code."""
    place = _place.get()
    return inside() or (place is not None and not place.over)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    place = _Place()
    _place.set(place)
    try:
        return function(*arguments, **named)
    except StopIteration as error:
        # A future cannot carry it: whoever waits would wait for ever.
        raise RuntimeError("The handler raised StopIteration.") from error
    finally:
        place.end()
