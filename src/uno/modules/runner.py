"""The event loop of synchronous callers, for handlers that have to be awaited."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

# What runs in its loop, and in the threads that were started from there, must not wait for its end.
_inside: ContextVar[bool] = ContextVar("uno.runner", default=False)


class Runner:
    """One event loop for all threads without one, made when it is first needed.

    Who comes first drives it, also for those who come meanwhile; when it has its own result, one of
    them drives on. So nobody waits for a loop that waits for them.
    """

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._changed = threading.Condition()
        self._driven = False
        self._closing = False
        self._calls = 0

    def run(self, made: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What the coroutine of `made()` returns; for threads without a running loop."""
        with self._changed:
            if self._runner is None:
                # With a factory it leaves alone what `asyncio.get_event_loop` gives.
                self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
                self._runner.get_loop()  # made here, before another thread can need it
            runner = self._runner
            first, self._driven = not self._driven, True
            self._calls += 1
        try:
            return self._drive(runner, _marked(made)) if first else self._beside(runner, made)
        finally:
            with self._changed:
                self._calls -= 1
                idle = self._idle()
            _end(idle)

    def _drive(self, runner: asyncio.Runner, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            return runner.run(coroutine, context=copy_context())
        finally:
            with self._changed:
                self._driven = False
                self._changed.notify_all()

    def _beside(self, runner: asyncio.Runner, made: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        loop, beside = runner.get_loop(), _Beside(made)
        beside.found.add_done_callback(self._told)
        loop.call_soon_threadsafe(beside.start)
        try:
            with self._changed:
                self._changed.wait_for(lambda: beside.found.done() or not self._driven)
                mine = not beside.found.done()
                self._driven = self._driven or mine
        except BaseException:  # told to exit while waiting
            loop.call_soon_threadsafe(beside.cancel)
            raise
        if mine:
            self._drive(runner, beside.rest())
        return beside.found.result()

    def _told(self, _: Any) -> None:
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Close the loop, as soon as nobody needs it; a later `run` makes a new one."""
        with self._changed:
            self._closing = self._runner is not None
            idle = self._idle()
        _end(idle)

    def _idle(self) -> asyncio.Runner | None:
        """The runner that is to be closed, under the lock."""
        if self._calls or not self._closing:
            return None
        self._closing = False
        runner, self._runner = self._runner, None
        return runner


class _Beside:
    """A coroutine in a loop that another thread drives. It raises nothing there: errors are for who waits."""

    def __init__(self, made: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.found: Future[Any] = Future()
        self._made = made
        self._context = copy_context()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), context=self._context)

    async def _run(self) -> None:
        try:
            self.found.set_result(await _marked(self._made))
        except BaseException as error:  # raised where `run` was called
            self.found.set_exception(error)

    async def rest(self) -> None:
        """The rest of it, where its own thread drives the loop now."""
        # `start` was called before, so the loop has done it before.
        if self._task is not None:
            await self._task

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


async def _marked(made: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    _inside.set(True)
    return await made()


def _end(runner: asyncio.Runner | None) -> None:
    if runner is None:
        return
    if not in_a_loop():
        runner.close()
        return
    # A loop cannot be run to its end inside another one.
    with ThreadPoolExecutor(1) as other:
        other.submit(runner.close).result()


def in_a_loop() -> bool:
    """Whether an event loop runs in this thread."""
    return asyncio._get_running_loop() is not None


def inside() -> bool:
    """Whether this code runs for somebody who waits in `Runner.run`."""
    return _inside.get()
