"""What a cancelled call does before it ends: it is let clean up, once, undisturbed, and not for ever."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

from uno import clock, context, sync
from uno.errors import Misconfigured
from uno.resilience import deadline
from uno.resilience.arguments import COROUTINE, not_a_function, require_function, require_numbers
from uno.resilience.shapes import Guard
from uno.telemetry.logs import get_logger
from uno.telemetry.signals import emit

log = get_logger("uno.cleanup")
Cleanup = Callable[..., Coroutine[Any, Any, object]]


class Cancellable(Guard):
    """Passes a cancellation on into the call once, and waits for up to `cleanup_timeout` seconds until it has ended.

    Whoever cancels again meanwhile, as shutdowns and timeouts around do, does not disturb what it does in `finally`.
    Then `cleanup(*args, **kwargs)`, with the arguments of the call, is awaited in what is left of that time. What runs
    longer is cancelled; what does not end then either is left behind, with the locks it has taken. Deadlines of the
    caller do not hold for either. The caller's cancellation is always raised, whatever they give or raise. The call has
    a task of its own, with the locks and the unit of work of its caller.
    """

    def __init__(
        self, cleanup: Cleanup | None = None, cleanup_timeout: float = 10.0, *, name: str | None = None
    ) -> None:
        require_function("cancellable()", "cleanup", cleanup)
        require_numbers("cancellable()", cleanup_timeout=cleanup_timeout)
        if cleanup is not None and not sync.is_async(cleanup):
            raise Misconfigured(f"cleanup of cancellable() is an async function, not {cleanup!r}.")
        if not 0 < cleanup_timeout < math.inf:
            raise Misconfigured("cleanup_timeout of cancellable() is above 0 seconds, and not for ever.")
        self.cleanup = cleanup
        self.cleanup_timeout = cleanup_timeout
        self.name = name or "unnamed"

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives."""
        if type(f) is COROUTINE:
            raise not_a_function(f)
        if asyncio._get_running_loop() is None or clock.driven():  # nobody can cancel it
            return await f(*args, **kwargs)
        work = _Work(f(*args, **kwargs), self.name)
        try:
            await asyncio.wait([work.task])
        except asyncio.CancelledError as error:
            cancelled = error
        else:
            return work.task.result()
        end = clock.monotonic() + self.cleanup_timeout
        failed = await self._unwind(work, end, cancelled)
        if self.cleanup is not None:
            cleaning = _Work(self.cleanup(*args, **kwargs), f"the cleanup of {self.name}", end)
            failed = await self._finish(cleaning, end) or failed
        raise cancelled from failed

    async def _unwind(self, work: "_Work", end: float, cancelled: asyncio.CancelledError) -> BaseException | None:
        work.set_deadline(end)
        if not work.task.cancelling():  # by who cancels all tasks of the event loop
            work.task.cancel(*cancelled.args)
        return await self._finish(work, end)

    async def _finish(self, work: "_Work", end: float) -> BaseException | None:
        """Wait until `end`, then interrupt it; its error, if there is one."""
        task = work.task
        if not await _ended(task, end):
            emit("cleanup.interrupted", function=self.name, seconds=self.cleanup_timeout)
            task.cancel()
            if not await _ended(task, clock.monotonic() + self.cleanup_timeout):
                emit("cleanup.left", function=self.name, seconds=self.cleanup_timeout)
                sync.leave_behind(task)
                return None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("%s was cancelled, and its cleanup failed", self.name, exc_info=error)
        return error


class _Work:
    """A coroutine in a task that has what the current one has."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], name: str, end: float | None = None) -> None:
        self._context: Context = copy_context()
        if end is not None:
            self.set_deadline(end)
        loop = asyncio.get_running_loop()
        self.task: asyncio.Task[Any] = loop.create_task(coroutine, name=name, context=self._context)
        sync.lend(self.task)

    def set_deadline(self, end: float) -> None:
        """In place of what the caller had, whose alarms go on knowing of commits."""
        self._context.run(deadline.current.set, deadline.Limit(end, self._context.get(deadline.current)))
        around = context.get()
        if around is not None and around.deadline is not None:
            self._context.run(context.enter, around.replace(deadline=None))


async def _ended(task: asyncio.Task[Any], end: float) -> bool:
    """Whether it ends before `end`; who cancels meanwhile has done so before, and is heard then."""
    while not task.done() and (left := end - clock.monotonic()) > 0:
        try:
            await asyncio.wait([task], timeout=left)
        except asyncio.CancelledError:  # the first one is raised at the end
            continue
    return task.done()
