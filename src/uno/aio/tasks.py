"""`TaskManager`: the background tasks of an application, in named groups, from its start to its end."""

import asyncio
import contextvars
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial, wraps
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

from uno.aio.background import BackgroundGroup, Work, close_all
from uno.aio.ending import end
from uno.aio.group import GroupClosed
from uno.aio.restart import RestartPolicy
from uno.aio.shown import TaskInfo
from uno.errors import Misconfigured
from uno.sync import is_async

P = ParamSpec("P")
T = TypeVar("T")
# The group of tasks for which none is named.
BACKGROUND = "background"
# Groups that are held before any is forgotten, and those over in which something failed.
_MANY, _REMEMBERED = 32, 20


class GroupExists(Misconfigured, ValueError):
    """There is a group of this name already."""


class TaskManager:
    """Background tasks in named groups, all ended by `shutdown()`, or at the end of `async with`."""

    def __init__(self) -> None:
        self._groups: dict[str, BackgroundGroup] = {}
        # How many groups there may be before those that are over are forgotten.
        self._most = _MANY
        self._closed = self._finishing = False

    @classmethod
    def get_instance(cls) -> "TaskManager":
        """The one of the running event loop."""
        return get_task_manager()

    def create_group(self, name: str) -> BackgroundGroup:
        """A new group. Raises `GroupExists`, which is also a `ValueError`, `GroupClosed` after `shutdown()`."""
        found = self._groups.get(name)
        if found is not None and not (found.idle or found.closed):
            raise GroupExists(f"There is a group of background tasks {name!r} already; `get_group({name!r})` gives it.")
        return self._make(name)

    def _make(self, name: str) -> BackgroundGroup:
        if self._closed:
            raise GroupClosed("The task manager has been shut down and takes no more tasks.")
        made = BackgroundGroup(name)
        if self._finishing:
            made.finish()
        if len(self._groups) >= self._most:
            self._forget()
        self._groups[name] = made
        return made

    def _forget(self) -> None:
        """Let go what is over, but for the last ones in which something failed."""
        fallen = [name for name, group in self._groups.items() if group.idle and not group.gone]
        over = {name for name, group in self._groups.items() if group.gone} | set(fallen[:-_REMEMBERED])
        self._groups = {name: group for name, group in self._groups.items() if name not in over}
        self._most = 2 * max(len(self._groups), _MANY)

    def get_group(self, name: str) -> BackgroundGroup | None:
        """The group of this name, if there is one that has not been closed; from now on until it is.

        One that `create_task` made goes with its last task, unless it was asked for here.
        """
        found = self._groups.get(name)
        if found is None or found.closed or found.gone:
            return None
        found.passing = False
        return found

    def create_task(
        self,
        work: Work[T],
        name: str | None = None,
        *,
        group: str = BACKGROUND,
        restart: RestartPolicy | None = None,
        context: contextvars.Context | None = None,
    ) -> "asyncio.Task[T]":
        """Run `work` in the background, in the group of this name, which is made if there is none.

        `work` is a coroutine, or an async function without arguments, which `restart` may call again. Its error
        is logged when it ends. Of the context variables it sees only uno's context, without its deadline; all
        of them with `context=copy_context()`. Raises `GroupClosed` after `shutdown()`.
        """
        if self._closed and asyncio.iscoroutine(work):
            work.close()
        found = self._groups.get(group)
        if found is None or found.closed:
            found = self._make(group)
            found.passing = group != BACKGROUND
        return found.create_task(work, name=name, restart=restart, context=context)

    @property
    def groups(self) -> tuple[BackgroundGroup, ...]:
        """Those that have not been closed, as `get_group` gives them."""
        return tuple(found for name in list(self._groups) if (found := self.get_group(name)) is not None)

    @property
    def tasks(self) -> list[TaskInfo]:
        """All tasks that run, then the last ones that failed."""
        groups = list(self._groups.values())
        return [info for group in groups for info in group.infos()] + [
            info for group in groups for info in group.fallen()
        ]

    def running(self) -> "list[asyncio.Task[Any]]":
        """The tasks themselves, without those that have ended."""
        return [task for group in self._groups.values() for task in group.tasks]

    def is_shutting_down(self) -> bool:
        """Whether tasks are to come to their end."""
        return self._closed

    def finish(self) -> None:
        """Start nothing again from now on: what runs comes to its end."""
        self._finishing = True
        for group in self._groups.values():
            group.finish()

    async def shutdown(self, grace: float | None = 10.0) -> list[TaskInfo]:
        """Take no more tasks, and cancel all; they have `grace` seconds to clean up (None: as long as it takes).

        Gives those that have not ended by then, which are also logged with the line they wait in.
        """
        self._closed = True
        return await close_all(self._groups.values(), grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self.shutdown()

    def __repr__(self) -> str:
        return f"TaskManager({', '.join(map(repr, self._groups.values()))})"


_managers: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, TaskManager]" = weakref.WeakKeyDictionary()


def get_task_manager() -> TaskManager:
    """The one of the running event loop; a new one after its `shutdown()`. Raises `Misconfigured` outside a loop."""
    loop = asyncio._get_running_loop()
    if loop is None:
        raise Misconfigured("There is no event loop here to run tasks in; call this from an async function.")
    found = _managers.get(loop)
    if found is None or found.is_shutting_down():
        found = _managers[loop] = TaskManager()
    return found


# ── for one function, one task, one block ──


@overload
def as_task(name: Callable[P, Coroutine[Any, Any, T]], /) -> "Callable[P, asyncio.Task[T]]": ...


@overload
def as_task(
    name: str | None = None, *, group: str = BACKGROUND, restart: RestartPolicy | None = None
) -> "Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, asyncio.Task[T]]]": ...


def as_task(name: Any = None, *, group: str = BACKGROUND, restart: RestartPolicy | None = None) -> Any:
    """`@as_task("monitor")`: each call of the async function starts a background task, and gives it.

    The task is one of the running event loop's `TaskManager`; it may be awaited, and need not be.
    """
    if callable(name):
        bare: Any = as_task()
        return bare(name)
    if not (name is None or isinstance(name, str)):
        raise Misconfigured(f"as_task() takes the name of the task, as in `@as_task('monitor')`, not {name!r}.")

    def decorate(function: Callable[P, Coroutine[Any, Any, T]]) -> "Callable[P, asyncio.Task[T]]":
        if not is_async(function):
            raise Misconfigured(f"as_task() is for async functions, and {function!r} is none.")

        @wraps(function)
        def start(*args: P.args, **kwargs: P.kwargs) -> "asyncio.Task[T]":
            work: Callable[[], Coroutine[Any, Any, T]] = partial(function, *args, **kwargs)
            named = name or getattr(function, "__name__", None)
            return get_task_manager().create_task(work, named, group=group, restart=restart)

        return start

    return decorate


@asynccontextmanager
async def managed_background_task(
    name: str,
    work: Work[T],
    restart_on_failure: bool = False,
    *,
    restart: RestartPolicy | None = None,
    group: str = BACKGROUND,
) -> "AsyncIterator[asyncio.Task[T]]":
    """A background task for the length of the block, at whose end it is cancelled and waited for.

    For the life of an application use `get_task_manager().create_task(...)` instead. `restart_on_failure`
    is short for `restart=RestartPolicy()`. Its error is logged when it ends.
    """
    policy = restart or (RestartPolicy() if restart_on_failure else None)
    task = get_task_manager().create_task(work, name, group=group, restart=policy)
    try:
        yield task
    finally:
        await end(task)
