"""Synchronous checks beside the event loop: one that hangs blocks neither the loop nor the end of the program."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any


def asking(function: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    """`function` as the async function of a `Check`."""
    if isinstance(function, _Threaded) or inspect.iscoroutinefunction(function):
        return function
    call = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    return function if inspect.iscoroutinefunction(call) else _Threaded(function)


class _Threaded:
    """At most one thread: while one hangs, later questions wait for the same answer."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._turn = threading.Lock()
        self._running: Future[Any] | None = None
        self.outside = getattr(function, "outside", False)

    async def __call__(self) -> Any:
        answer: Any = await asyncio.wrap_future(self._asked())
        if inspect.iscoroutine(answer) and inspect.getcoroutinestate(answer) != inspect.CORO_CREATED:
            # Somebody who asked at the same time awaits it already.
            return await self()
        # A lambda around an async function: awaited here, where its loop is.
        return await answer if inspect.isawaitable(answer) else answer

    def _asked(self) -> Future[Any]:
        """A future of its own for each caller: who gives up waiting must not cancel it for the others."""
        mine: Future[Any] = Future()
        with self._turn:
            if self._running is None or self._running.done():
                self._running = self._started()
            shared = self._running
        shared.add_done_callback(lambda done: _pass_on(done, mine))
        return mine

    def _started(self) -> Future[Any]:
        future: Future[Any] = Future()
        work = copy_context().run
        threading.Thread(target=work, args=(_run, self._function, future), name="uno.health", daemon=True).start()
        return future


def _run(function: Callable[[], Any], future: "Future[Any]") -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # the caller of the check sees it; nobody else waits for this thread
        future.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))


def _pass_on(done: "Future[Any]", mine: "Future[Any]") -> None:
    if not mine.set_running_or_notify_cancel():
        return
    error = done.exception()
    if error is None:
        mine.set_result(done.result())
    else:
        mine.set_exception(error)
