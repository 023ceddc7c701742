"""A named group of background tasks: none ends another, all are seen, what fails is told and may be started again."""

import asyncio
import contextvars
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from inspect import signature
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from uno import context as contexts
from uno.aio.births import Birth, birth_outside, place
from uno.aio.ending import end
from uno.aio.group import GroupClosed
from uno.aio.restart import RestartPolicy, Restarts
from uno.aio.shown import WAITING_ROOMS, TaskInfo, member, show
from uno.errors import Misconfigured
from uno.telemetry.logs import get_logger
from uno.telemetry.signals import count, emit

T = TypeVar("T")
Task = asyncio.Task[Any]
# A coroutine, or a function that makes one each time it is started.
Work = Coroutine[Any, Any, T] | Callable[[], Coroutine[Any, Any, T]]
log = get_logger("uno.task")
# Of tasks that failed, for those who look.
_REMEMBERED = 20


# Those with tasks that run: an event loop alone does not keep what only waits from being collected.
_busy: "set[BackgroundGroup]" = set()


class BackgroundGroup:
    """Background tasks under one name, for the life of an application.

    As a context manager it waits at the end of the block for its tasks, and cancels them where the block fails.
    """

    owner = None

    def __init__(self, name: str) -> None:
        given: Any = name
        if not (isinstance(given, str) and given):
            raise Misconfigured(f"The name of a group of background tasks is text, not {name!r}.")
        self.name = name
        self.born = birth_outside()
        # Not held: whoever has a loop of its own may have the group as long as it.
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self._live: dict[Task, Birth] = {}
        self._restarts: dict[Task, Restarts] = {}
        self._fallen: deque[TaskInfo] = deque(maxlen=_REMEMBERED)
        # Whether it was made for a task, and nobody has asked for it: it goes with its tasks.
        self.passing = False
        self.closed = self._finishing = False
        show(self)

    def create_task(
        self,
        work: Work[T],
        *,
        name: str | None = None,
        restart: RestartPolicy | None = None,
        context: contextvars.Context | None = None,
    ) -> "asyncio.Task[T]":
        """Run `work`, a coroutine, or an async function without arguments, which `restart` may call again.

        It does not see the context variables of who starts it, but for uno's context without its deadline: it may
        outlive a request, and must not go on in its transaction or name. Say `context=copy_context()` for all of
        them. Its error is logged when it ends. Raises `GroupClosed`.
        """
        loop = self._require_open(work)
        named = name or _name(work)
        restarts = None
        if restart is None:
            coro = _coroutine(work)
        else:
            policy, function = _require(restart, work), _function(work)
            restarts = Restarts(policy, function, over=self._finishing)
            coro = _supervised(function, restarts, named, self.name)
        task = loop.create_task(coro, name=named, context=context or contexts.apart())
        self._live[task] = birth_outside()
        _busy.add(self)
        if restarts is not None:
            self._restarts[task] = restarts
        task.add_done_callback(self._settle)
        return task

    def _require_open(self, work: Any) -> asyncio.AbstractEventLoop:
        loop = asyncio._get_running_loop()
        if loop is not None and self._loop is None:
            self._loop = weakref.ref(loop)
        if loop is not None and self._loop is not None and self._loop() is loop and not self.closed:
            return loop
        if asyncio.iscoroutine(work):
            work.close()
        if self.closed:
            raise GroupClosed(f"{self} has been closed and takes no more tasks.")
        where = "outside an event loop" if loop is None else "in another event loop than the tasks before it"
        raise GroupClosed(f"A task of {self} was to be made {where}; make it in an async function of the application.")

    def _settle(self, task: Task) -> None:
        """A task has ended."""
        born, restarts = self._live.pop(task), self._restarts.pop(task, None)
        if not self._live:
            _busy.discard(self)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        gave_up = restarts is not None and restarts.gave_up
        self._fallen.append(
            TaskInfo(
                id=id(task),
                name=task.get_name(),
                group=self.name,
                state="gave up" if gave_up else "failed",
                created_at=place(born),
                restarts=0 if restarts is None else restarts.count,
                error=repr(error.__cause__ if gave_up and error.__cause__ else error),
            )
        )
        signal = "task.gave_up" if gave_up else "task.failed"
        count(signal)
        about = {"signal": signal, "task": task.get_name(), "group": self.name}
        log.error("a background task failed: %s", error, exc_info=error, extra=about)

    # ── all of them ──

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Those that run, the oldest first."""
        return tuple(self._live)

    def finish(self) -> None:
        """From now on nothing is started again; what waits for that ends as it did."""
        self._finishing = True
        for task, restarts in self._restarts.items():
            restarts.stop(task)

    async def wait_all(self) -> None:
        """Until none runs. Raises nothing of theirs."""
        while self._live:
            await asyncio.wait(list(self._live))

    def cancel_all(self) -> None:
        """Cancel all but the one that calls this; they end when they have cleaned up."""
        for task in self._others():
            task.cancel()

    async def close(self, grace: float | None = None) -> list[TaskInfo]:
        """Take no more tasks, cancel all, and wait for them, `grace` seconds at most; those that have not ended."""
        return await close_all([self], grace)

    def _others(self) -> list[Task]:
        current = None if asyncio._get_running_loop() is None else asyncio.current_task()
        return [task for task in self._live if task is not current]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        try:
            if error is None:
                await self.wait_all()
        finally:
            self.closed = True
            await end(*self._others())

    # ── what is shown ──

    def running(self) -> list[tuple[Task, Birth]]:
        """The tasks that run, with their births."""
        return list(self._live.items())

    def infos(self) -> list[TaskInfo]:
        """The tasks that run, as they are shown."""
        return [member(self, task, born) for task, born in self.running() if not task.done()]

    def about(self, task: Task) -> dict[str, Any]:
        """How often it was started again, and because of what; between two runs also where its work begins."""
        restarts = self._restarts.get(task)
        if restarts is None:
            return {}
        begins, error = restarts.next_place, restarts.error
        found = {"restarts": restarts.count, "error": None if error is None else repr(error)}
        return found if begins is None else {**found, "waits_at": begins}

    def fallen(self) -> tuple[TaskInfo, ...]:
        """The last ones that failed, the oldest first."""
        return tuple(self._fallen)

    @property
    def idle(self) -> bool:
        """Whether nothing runs in it, and nobody is to begin anything."""
        return (self.closed or self.passing) and not self._live

    @property
    def gone(self) -> bool:
        """The same, with nothing left to show."""
        return self.idle and not self._fallen

    def __str__(self) -> str:
        return f"The group of background tasks {self.name!r}"

    def __repr__(self) -> str:
        return f"BackgroundGroup({self.name!r}, running={len(self._live)})"


async def close_all(groups: Iterable[BackgroundGroup], grace: float | None) -> list[TaskInfo]:
    """Close the groups together, with `grace` seconds for all of them; the tasks that have not ended by then."""
    closing = list(groups)
    for group in closing:
        group.closed = True
        group.cancel_all()
    left = [task for group in closing for task in group._others()]
    if left:
        await asyncio.wait(left, timeout=grace)
    stuck = {id(task) for task in left if not task.done()}
    found = [info for group in closing for info in group.infos() if info.id in stuck]
    for info in found:
        emit("task.stuck", task=info.name, group=info.group, place=info.waits_at)
    return found


async def _supervised(work: Callable[[], Coroutine[Any, Any, T]], restarts: Restarts, name: str, group: str) -> T:
    """What `work()` gives, called again as the policy says. Raises `CrashLoop` from the last error."""
    while True:
        error: BaseException | None = None
        found: Any = None
        try:
            found = await _coroutine(work)
            if restarts.policy.on == "failure" or _is_last(restarts):
                return cast(T, found)
        except Misconfigured:  # it would only come again
            raise
        except asyncio.CancelledError as cancelled:
            if _is_last(restarts):
                raise
            error = cancelled  # something it awaited was cancelled, and nobody asked this task to end
        except Exception as failed:  # told below, and again when it is given up
            if _is_last(restarts):
                raise
            error = failed
        try:
            await (restarts.until_the_next() if error is None else _after(error, restarts, name, group))
        finally:
            del error
        if restarts.over:
            return cast(T, found)


async def _after(error: BaseException, restarts: Restarts, name: str, group: str) -> None:
    delay = restarts.next_delay(error)
    if delay is None:
        raise restarts.crash_loop(name) from error
    emit("task.restarted", task=name, group=group, restarts=restarts.count, delay=delay, error=repr(error))
    await restarts.pause(delay)
    if restarts.over:
        raise error


WAITING_ROOMS[_after.__code__] = "restarting"


def _is_last(restarts: Restarts) -> bool:
    task = asyncio.current_task()
    return restarts.over or (task is not None and task.cancelling() > 0)


def _coroutine(work: Work[T]) -> Coroutine[Any, Any, T]:
    coro = work() if callable(work) else work
    if not asyncio.iscoroutine(coro):
        raise Misconfigured(f"A background task is a coroutine or an async function without arguments, not {work!r}.")
    return coro


def _function(work: Work[T]) -> Callable[[], Coroutine[Any, Any, T]]:
    if callable(work):
        _refuse_arguments(work)
        return work
    if asyncio.iscoroutine(work):
        work.close()
    raise Misconfigured(
        f"A coroutine runs only once: pass the function, as in `create_task({_name(work)}, restart=...)`."
    )


def _refuse_arguments(work: Callable[..., Any]) -> None:
    try:
        signature(work).bind()
    except TypeError as wrong:
        raise Misconfigured(
            f"{_name(work)} cannot be called without arguments ({wrong}): use functools.partial({_name(work)}, …)."
        ) from wrong
    except ValueError:  # it does not tell, as what is written in C
        return


def _require(restart: RestartPolicy, work: Any) -> RestartPolicy:
    given: Any = restart
    if not isinstance(given, RestartPolicy):
        if asyncio.iscoroutine(work):
            work.close()
        raise Misconfigured(f"restart is a RestartPolicy, not {given!r}.")
    return restart


def _name(work: Any) -> str:
    while isinstance(work, partial):
        work = work.func
    return getattr(work, "__name__", None) or type(work).__name__
