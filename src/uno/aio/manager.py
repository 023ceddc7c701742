"""The life of a process: it starts, is told to stop, finishes what it has begun, and closes what it has opened.

The same for a server, a worker, a command, a script and a test.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from uno import clock
from uno.aio.background import Work
from uno.aio.flushing import flush_all, hurrying
from uno.aio.group import TaskGroup
from uno.aio.resources import ResourceRegistry
from uno.aio.restart import RestartPolicy
from uno.aio.shield import outlasting, to_the_end
from uno.aio.stopping import CLOSING
from uno.aio.tasks import BACKGROUND, TaskManager, get_task_manager
from uno.aio.verbs import LAST, Verb, done, left_of, require_verb, told, waiting, within
from uno.errors import Misconfigured
from uno.resilience.arguments import require_numbers
from uno.telemetry.signals import emit

T = TypeVar("T")
log = logging.getLogger("uno.lifecycle")
# How often tasks that end may begin others, which end in their turn.
_ROUNDS = 8


class Stage(StrEnum):
    """NEW → STARTING → RUNNING → STOPPING → STOPPED, from where it may start again."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class AsyncManager:
    """One ordered life: hooks, resources and background tasks of an event loop.

    `grace` is how many seconds what was begun has for finishing, once it is told to stop. Stopping goes in the reverse
    order of starting: tasks, shutdown hooks, resources. `async with manager.running():` does both; within another such
    block it does nothing. `get_async_manager()` gives that of the running event loop.
    """

    def __init__(self, *, grace: float = 10.0) -> None:
        _require_grace(grace)
        self.grace = grace
        self.resources = ResourceRegistry()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._on_start: list[Verb] = []
        self._on_stop: list[Verb] = []
        self._lasting: tuple[int | None, int | None] = None, None
        self._told: dict[object, Callable[[], None]] = {}
        # How many running() blocks there are, whether the first of them has started it, and which task is about to.
        self._users, self._is_theirs = 0, False
        self._starter: asyncio.Task[Any] | None = None
        self._turn = asyncio.Lock()
        # From when it is told to stop until it has, no batch waits for more items.
        self._hurry = ExitStack()
        self._renew()

    def _renew(self) -> None:
        self._hurry.close()
        self._stage = Stage.NEW
        self._tasks: TaskManager | None = None
        self._takes_tasks = True
        self._stopping = asyncio.Event()
        # When what was begun has to be finished; None until it is told to stop.
        self._deadline: float | None = None
        self._since = clock.monotonic()
        self._ending: asyncio.Task[None] | None = None

    # ── what belongs to it ──

    def add_startup_hook(self, hook: Verb) -> Verb:
        """Call `hook()`, async or not, at the start, after the hooks before it; also a decorator."""
        require_verb("the manager", "hook", hook)
        self._on_start.append(hook)
        return hook

    def add_shutdown_hook(self, hook: Verb) -> Verb:
        """Call `hook()`, async or not, at the stop, before the hooks before it; also a decorator."""
        require_verb("the manager", "hook", hook)
        self._on_stop.append(hook)
        return hook

    @property
    def tasks(self) -> TaskManager:
        """What `create_task` puts its tasks into."""
        # One that somebody else has shut down takes no more.
        if self._tasks is None or (self._takes_tasks and self._tasks.is_shutting_down()):
            self._tasks = self._find_tasks()
        return self._tasks

    def _find_tasks(self) -> TaskManager:
        return TaskManager()

    def create_task(
        self,
        work: Work[T],
        name: str | None = None,
        *,
        group: str = BACKGROUND,
        restart: RestartPolicy | None = None,
    ) -> "asyncio.Task[T]":
        """Run `work` beside everything else, until it ends; as `TaskManager.create_task` does.

        At the stop it is waited for within the grace period, then cancelled: one that goes on for ever looks at
        `is_shutting_down()`. Raises `Misconfigured` where no event loop runs, in another one, and after the stop.
        """
        try:
            self._refuse_stranger()
            if self._stage is Stage.STOPPED:
                raise Misconfigured("The manager has stopped, so nobody would wait for a new task; start it again.")
        except Misconfigured:
            if asyncio.iscoroutine(work):
                work.close()
            raise
        return self.tasks.create_task(work, name, group=group, restart=restart)

    def task_group(self, name: str | None = None) -> TaskGroup:
        """A `TaskGroup` of this name, which ends with its own block, as any other does."""
        return TaskGroup(name)

    async def register_resource(self, resource: T, name: str, **options: Any) -> T:
        """Keep `resource` open until the stop; `options` are those of `ResourceRegistry.register`."""
        if not isinstance(name, str):
            raise Misconfigured(f"The name comes last: register_resource(cache, 'cache'), not {name!r}.")
        return await self.resources.register(name, resource, **options)

    def on_stopping(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Call `tell()` in the moment the stop is asked for, at once if it was; gives a function that takes it back."""
        key = object()
        self._told[key] = tell
        if self.is_shutting_down():
            self._tell(tell)
        return lambda: self._told.pop(key, None) and None

    # ── how it is ──

    @property
    def stage(self) -> Stage:
        return self._stage

    @property
    def uptime(self) -> float:
        """Seconds since it started."""
        return clock.monotonic() - self._since

    def is_shutting_down(self) -> bool:
        """Whether it was told to stop."""
        return self._deadline is not None

    def remaining(self) -> float:
        """Seconds that what was begun has for finishing; the whole grace period until it is told to stop."""
        return self.grace if self._deadline is None else left_of(self._deadline, float("inf"))

    async def wait_for_shutdown(self) -> None:
        """Until it is told to stop."""
        await self._stopping.wait()

    async def until_shutdown(self, source: AsyncIterable[T]) -> AsyncIterator[T]:
        """The items of `source` until it is told to stop, so that a stream can say goodbye after them.

        async for event in manager.until_shutdown(events):
            yield event
        yield "goodbye"
        """
        items = aiter(source)
        try:
            while not self.is_shutting_down():
                limit = clock.timeout(None)
                try:
                    async with limit:
                        item = await self._next(items, limit)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if limit.expired():
                        return
                    raise
                yield item
        finally:
            if (close := getattr(items, "aclose", None)) is not None:
                await close()

    async def _next(self, items: AsyncIterator[T], limit: clock.Timeout) -> T:
        forget = self.on_stopping(partial(_expire, limit))
        try:
            return await anext(items)
        finally:
            forget()

    # ── its life ──

    async def start(self) -> None:
        """Run the hooks of the start, then start the resources.

        Raises `Unavailable` where one of them fails, from what that raises: then all is closed, and may be started
        again. Raises `Misconfigured` where it runs already, here or in another event loop.
        """
        self._refuse_stranger()
        if self._stage not in (Stage.NEW, Stage.STOPPED):
            raise Misconfigured(
                f"The manager is {self._stage} already; start it once, or use `async with manager.running()`."
            )
        if self._stage is Stage.STOPPED:
            self._renew()
            self.resources.reopen()
        self.loop = asyncio.get_running_loop()
        self._since = clock.monotonic()
        # Whoever was told to stop before is told so as long as it is not forgotten.
        self._stage = Stage.STOPPING if self.is_shutting_down() else Stage.STARTING
        self._lasting = len(self._on_start), len(self._on_stop)
        # What a hook registers it registers again.
        before = self.resources.entries()
        try:
            for hook in self._on_start:
                with told(f"The startup hook {_called(hook)} failed"):
                    await done(hook)
                self._refuse_stopped()
            await self.resources.start()
        except BaseException as error:
            left = () if self._ending else self.resources.still_here(before)
            await self._stop_after(error)
            self.resources.put_back(left)
            raise
        if self._stage is Stage.STARTING:
            self._stage = Stage.RUNNING

    def _refuse_stopped(self) -> None:
        if self._ending is not None:
            raise Misconfigured("The manager was shut down while it started, so that the start goes no further.")

    async def _stop_after(self, error: BaseException) -> None:
        try:
            await self.shutdown()
        except Exception as another:  # who started it sees the first error; this one is told with it
            error.add_note(f"Stopping what was started failed, too: {another!r}")

    def request_shutdown(self, reason: str = "", *, grace: float | None = None) -> None:
        """Tell everybody to stop, and return: no work is begun from now on, and no batch waits for more. Again it does
        nothing.

        `grace` takes the place of the manager's. Call it in the event loop's own thread; from another one with
        `loop.call_soon_threadsafe`. Raises `Misconfigured` where `grace` is no number, or below 0.
        """
        if grace is not None:
            _require_grace(grace)
        if self._deadline is not None:
            return
        seconds = self.grace if grace is None else grace
        self._deadline = clock.monotonic() + seconds
        if self._stage in (Stage.RUNNING, Stage.STARTING):
            self._stage = Stage.STOPPING
        emit("lifecycle.stopping", reason=reason, grace=seconds)
        self._stopping.set()
        if asyncio._get_running_loop() is not None:
            self.tasks.finish()
            self._hurry.enter_context(hurrying())
        for tell in tuple(self._told.values()):
            self._tell(tell)

    def _tell(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:  # the others are to be told as well; the log has it
            log.exception("somebody could not be told that the process stops")

    async def finish_tasks(self) -> None:
        """Tell everybody to stop; background tasks have the rest of the grace period for ending, then are cancelled.

        Batches do not wait for more items from now on, and are finished after the tasks.
        """
        self.request_shutdown("its work is done")
        with hurrying():  # or a task would wait for a batch until its time is over
            await self._finish(self.tasks)
            await self._finish_later_ones()
        await self._finish_batches()

    async def _finish(self, tasks: TaskManager) -> None:
        """Wait until none runs, also of those that begin meanwhile, or the grace period is over; then cancel them."""
        left = 1.0
        while left > 0 and (running := tasks.running()):
            left = self.remaining()
            await asyncio.wait(running, timeout=left)
        late = [f"{task.get_name()}{waiting(task.get_coro())}" for task in tasks.running()]
        if late:
            emit("tasks.cancelled", tasks=late)
        self._takes_tasks = False
        await tasks.shutdown(LAST)

    async def _finish_later_ones(self) -> None:
        """What others have begun while they ended, as `@as_task` does, and so on, but not for ever."""
        for _ in range(_ROUNDS):
            later = self._find_tasks()
            if not later.running():
                return
            await self._finish(later)

    async def _finish_batches(self) -> None:
        """Have done what batchers have collected: nobody comes for whom they would wait."""
        seconds = self.remaining() + LAST
        try:
            await within(flush_all(seconds), seconds + LAST, "Finishing the batches", "let them end sooner")
        except Exception:  # the rest has to stop all the same; the log has it
            log.exception("batches were left unfinished")

    async def shutdown(self, timeout: float | None = None) -> None:
        """Stop: finish the tasks, run the shutdown hooks, close the resources, each in the reverse order.

        `timeout` is the grace period in seconds, unless it runs already. A hook or a resource that fails or hangs does
        not keep the others; its error is raised at the end, of several an `ExceptionGroup`. Who is cancelled meanwhile
        waits for it. Without a start it closes what was registered. Raises `Misconfigured` as `request_shutdown` does.
        """
        if timeout is not None:
            _require_grace(timeout)
        self._refuse_stranger()
        if self._stage is Stage.STOPPED:
            return
        if asyncio.current_task() in self.tasks.running():
            raise Misconfigured("A background task would wait for itself here; call manager.request_shutdown() in it.")
        self.request_shutdown("shutdown was called", grace=timeout)
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(), name="uno stopping")
        await outlasting(self._ending)

    async def _end(self) -> None:
        errors: list[Exception] = []
        await self.finish_tasks()
        for hook in reversed(self._on_stop):
            await _gathering(errors, within(done(hook), self.remaining() + CLOSING, _named(hook), "let it end sooner"))
        await self._finish_batches()
        await _gathering(errors, self.resources.close(until=clock.monotonic() + self.remaining() + CLOSING))
        await self._finish_later_ones()
        self._hurry.close()
        self._stage = Stage.STOPPED
        # What was added while it ran belongs to that run.
        del self._on_start[self._lasting[0] :], self._on_stop[self._lasting[1] :]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("the process did not stop properly", errors)

    @asynccontextmanager
    async def running(self, *, grace: float | None = None) -> AsyncIterator["AsyncManager"]:
        """Started for a block and stopped at its end; where it runs already, the one who began stops it."""
        if grace is not None:
            _require_grace(grace)
        if self._starter is not None and self._starter is asyncio.current_task():
            raise Misconfigured(
                "A startup hook waits here for the start, which waits for the hook: leave running() out, it is inside."
            )
        async with self._turn:
            if self._users == 0:
                self.grace = self.grace if grace is None else grace
                await self._begin()
            self._users += 1
        try:
            yield self
        finally:
            await to_the_end(self._leave())

    async def _begin(self) -> None:
        """Start it for the first block, unless somebody has started it by hand."""
        self._is_theirs = self._stage in (Stage.NEW, Stage.STOPPED)
        if self._is_theirs:
            self._starter = asyncio.current_task()
            try:
                await self.start()
            finally:
                self._starter = None

    async def _leave(self) -> None:
        async with self._turn:
            self._users -= 1
            if self._users == 0 and self._is_theirs:
                await self.shutdown()

    async def leaving(self) -> None:
        """The end of the caller's `running()` block comes: in the last one, tell everybody and finish the tasks now."""
        if self._users == 1 and self._is_theirs:
            await self.finish_tasks()

    @property
    def users(self) -> int:
        """How many `running()` blocks there are."""
        return self._users

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to this event loop from now on: it was made outside of any, or its own is closed."""
        if self.loop is not None:
            self.resources.renew()
            self._users = 0
            self._told.clear()
            self._renew()
        self._turn = asyncio.Lock()
        self.loop = loop

    def _refuse_stranger(self) -> None:
        loop = asyncio._get_running_loop()
        if loop is None:
            raise Misconfigured(
                "No event loop runs here; call it in an async function, as asyncio.run(main()) runs one."
            )
        if self.loop is not None and self.loop is not loop and not self.loop.is_closed():
            raise Misconfigured(
                "This manager belongs to another event loop; get_async_manager() gives that of the running one."
            )


async def _gathering(errors: list[Exception], work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except Exception as error:  # the rest has to stop all the same; raised afterwards
        errors.append(error)


def _named(hook: Verb) -> str:
    return f"The shutdown hook {_called(hook)}"


def _called(hook: Verb) -> str:
    return getattr(hook, "__qualname__", None) or repr(hook)


def _expire(limit: clock.Timeout) -> None:
    limit.reschedule(asyncio.get_running_loop().time())


def _require_grace(grace: float) -> None:
    require_numbers("an AsyncManager", grace=grace)
    if grace < 0:
        raise Misconfigured("The grace of an AsyncManager is 0 seconds or more.")


class _OfLoop(AsyncManager):
    """The manager of an event loop, which ends what `get_task_manager()` has there, too."""

    def _find_tasks(self) -> TaskManager:
        return get_task_manager()


_process: AsyncManager = _OfLoop()
_others: dict[asyncio.AbstractEventLoop, AsyncManager] = {}
_lock = threading.Lock()


def _is_free() -> bool:
    """Whether the manager that modules may hold is for whoever asks now; the main thread is asked for before others."""
    if _process.loop is None or _process.loop.is_closed():
        return True
    is_idle = _process.users == 0 and _process.stage in (Stage.NEW, Stage.STOPPED)
    return is_idle and threading.current_thread() is threading.main_thread()


def get_async_manager() -> AsyncManager:
    """The manager of the running event loop; outside of one, that of the first one to come.

    So it may be asked for at the top of a module. A loop that runs beside the first, in another thread, has its own.
    """
    loop = asyncio._get_running_loop()
    with _lock:
        if loop is None or _process.loop is loop:
            return _process
        if _is_free():
            _process.adopt(loop)
            return _process
        for gone in [other for other in _others if other.is_closed()]:
            del _others[gone]
        if loop not in _others:
            _others[loop] = _OfLoop()
            _others[loop].adopt(loop)
        return _others[loop]
