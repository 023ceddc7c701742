"""`TaskGroup`: tasks that end before the block does.

On Python 3.11 and 3.12 asyncio.TaskGroup leaves `cancelling()` at 1 behind a task that failed while the block
was being left, and on all versions it cannot keep siblings alive; so this one does its own counting, the
same on every version. See docs/decisions/0012-a-task-group-of-our-own.md.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextvars import Context
from operator import attrgetter
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeAlias, TypeVar

from uno import clock
from uno.aio.births import Birth, birth
from uno.aio.ending import is_unseen
from uno.aio.shown import WAITING_ROOMS, TaskInfo, opened, waiting_for
from uno.errors import Misconfigured
from uno.resilience.arguments import require_counts
from uno.resilience.cancels import is_to_come, older
from uno.resilience.commits import Commit, explained, note, noted
from uno.telemetry.signals import emit

T = TypeVar("T")
Task: TypeAlias = asyncio.Task[Any]
OnError = Literal["cancel", "collect"]
# Nothing public tells an error without marking it as seen.
_error_of = attrgetter("_exception")
_running_loop = asyncio._get_running_loop
# Of tasks that failed, in the message of the error.
_NAMED = 3
# How many failed tasks are held before those whose error was caught are forgotten.
_MANY = 64


class GroupClosed(Misconfigured, RuntimeError):
    """A task for a group that is not open: not entered yet, being cancelled, or left."""


class TaskGroup:
    """Runs tasks, and ends with them: `async with TaskGroup("orders") as group: group.create_task(...)`.

    With `on_error="cancel"` the first task that fails cancels the others and the block; with "collect" the
    others go on, and each may be awaited and its error caught. Errors that nobody caught are raised when
    the block is left, the originals in an `ExceptionGroup`. Where the block is cancelled or fails, so are its
    tasks cancelled. A cancellation from outside always comes through, as `CancelledError`; errors
    that came with it are its cause, in `errors`, and in the log.

    Of `max_concurrency` tasks (None: any number) the others wait for their turn, in the order of their making.
    With `keep=False` tasks are forgotten when they end, for a group that is open for hours: it
    has no `results` and no `as_completed()`. For the event loop it was entered in; raises `GroupClosed`, which is
    also a `RuntimeError`, for a task it cannot run any more.
    """

    __slots__ = (
        "__weakref__",
        "_all",
        "_block",
        "_born",
        "_closing",
        "_collects",
        "_commits",
        "_ended",
        "_failed",
        "_kept",
        "_late",
        "_live",
        "_loop",
        "_many",
        "_older",
        "_open",
        "_own",
        "_parent",
        "_places",
        "_waiting",
        "name",
    )

    def __init__(
        self,
        name: str | None = None,
        *,
        on_error: OnError = "cancel",
        max_concurrency: int | None = None,
        keep: bool = True,
    ) -> None:
        if on_error not in ("cancel", "collect"):
            raise Misconfigured(f"on_error of a TaskGroup is 'cancel' or 'collect', not {on_error!r}.")
        if not (name is None or isinstance(name, str)):
            raise Misconfigured(f"The name of a TaskGroup is text, not {name!r}.")
        self.name = name or "unnamed"
        self._collects = on_error == "collect"
        self._places = _places(max_concurrency)
        self._live: dict[Task, Birth] = {}
        self._kept: list[Task] | None = [] if keep else None
        # The same tasks in the order in which they ended.
        self._ended: list[Task] = []
        # What failed, and what came through the block.
        self._failed: list[Task] = []
        self._block: BaseException | None = None
        # What was being committed where the group cut something off, and errors that say what came of it.
        self._commits: tuple[Commit, ...] = ()
        self._late: list[BaseException] = []
        self._many = _MANY
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = self._closing = self._own = False
        # Who waits for the next end of a task, and for the end of all.
        self._waiting: list[asyncio.Future[None]] = []
        self._all: asyncio.Future[None] | None = None

    # ── the block ──

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise Misconfigured(f"{self} was entered before; make another TaskGroup for every block.")
        parent = asyncio.current_task()
        if parent is None:
            raise Misconfigured(f"{self} is entered outside a task; use `asyncio.run(main())` around it.")
        self._loop = asyncio.get_running_loop()
        self._parent: Task = parent
        # Cancellations that are older than the group.
        self._older = older(parent)
        self._born = birth(2)
        self._open = True
        opened[self] = None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._closing = True
        try:
            stopped = await self._join(error)
            if self._failed or error is not None or stopped is not None:
                self._end(error, stopped)
        finally:
            self._open = False
            opened.pop(self, None)
            del error, trace  # their frames hold this one

    async def _join(self, error: BaseException | None) -> asyncio.CancelledError | None:
        """Wait for the tasks; the cancellation that came through the block or arrived here, if one did."""
        stopped = None
        if isinstance(error, asyncio.CancelledError):
            stopped = error
            self._cut_off("The block", error)
        elif not isinstance(error, GeneratorExit):
            self._block = error
        if error is not None:
            self._abort()
        while self._live and self._can_wait(error):
            try:
                await self._end_of(all=True)
            except asyncio.CancelledError as cancelled:  # raised by _end
                stopped = cancelled
                self._abort()
        return stopped

    def _can_wait(self, error: BaseException | None) -> bool:
        """A coroutine that is closed outside its loop has nothing to wait with."""
        return not isinstance(error, GeneratorExit) or _running_loop() is self._loop

    def _end(self, error: BaseException | None, stopped: asyncio.CancelledError | None) -> None:
        """Raise what the block ends with; what came through it goes on where this returns."""
        outer = stopped is not None
        failed = self._uncaught()
        if self._own:
            self._own = False
            # More than our own one: somebody outside wants it to end, too.
            outer = self._parent.uncancel() > self._older and outer
        raised: BaseException | None = next(filter(_is_exit, failed), None)
        if raised is None and stopped is not None and outer:
            raised = stopped
            note(stopped, *self._commits)
            if failed:
                stopped.__cause__ = self._grouped(failed)
                emit("group.failed_cancelled", group=self.name, error=repr(stopped.__cause__))
        try:
            if raised is None and failed:
                raise self._grouped(failed) from None
            if raised is not None and raised is not error:
                raise raised
        finally:
            del failed, raised, error, stopped

    def _uncaught(self) -> list[BaseException]:
        """What nobody has seen of what the tasks raised, and what the block did; each once, the first one first."""
        failed = [task for task in self._failed if not self._collects or is_unseen(task)]
        found = {id(error): error for task in failed if (error := task.exception()) is not None}
        if self._block is not None:
            block = {id(self._block): self._block}
            found = found | block if self._own or self._collects else block | found
        # Who does it all again, because of the others, would do that twice.
        return [*found.values(), *(self._late if found else ())]

    def _grouped(self, errors: list[BaseException]) -> BaseExceptionGroup[BaseException]:
        among = {id(error) for error in errors}
        names = [task.get_name() for task in self._failed if id(_error_of(task)) in among]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        who = ", ".join(names[:_NAMED]) + more if names else "the block itself"
        return BaseExceptionGroup(f"failed in the task group {self.name}: {who}", errors)

    # ── tasks ──

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """Run `coro` as a task of this group. Raises `GroupClosed`."""
        loop = self._loop
        if not self._open or loop is None or _running_loop() is not loop:
            self._refuse(coro)
        places = self._places
        try:
            work = coro if places is None or not asyncio.iscoroutine(coro) else _in_turn(coro, places)
            if self._collects and loop.get_task_factory() is None:
                task: asyncio.Task[T] = _Collected(work, loop=loop, name=name, context=context)
            else:
                task = loop.create_task(work, name=name, context=context)
        except TypeError as wrong:
            if asyncio.iscoroutine(coro):  # the task factory of the loop refused it
                coro.close()
                raise
            raise Misconfigured(f"{self} takes coroutines, as in `create_task(work(1))`, not {coro!r}.") from wrong
        frame = sys._getframe(1)
        # births.birth() in line: it is a tenth of all this costs.
        self._live[task] = clock.monotonic(), frame.f_code, frame.f_lasti
        if self._kept is not None:
            self._kept.append(task)
        task.add_done_callback(self._settle)
        if work is not coro:
            # Cancelled before its turn, it is never awaited.
            task.add_done_callback(lambda _: coro.close())
        return task

    def add_task(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        """Make a task that runs already one of this group; `max_concurrency` does not hold for it.

        Raises `GroupClosed`, and `Misconfigured` for a task that waits for the group, so that none would ever end.
        """
        given: Any = task
        if not self._open or not asyncio.isfuture(given) or given.get_loop() is not self._loop:
            self._refuse(given)
        if task in waiting_for(self._parent):
            raise Misconfigured(f"{self} would wait for the task {task.get_name()}, which waits for the group.")
        if task not in self._live:
            self._live[task] = birth(2)
            if self._kept is not None:
                self._kept.append(task)
            task.add_done_callback(self._settle)
        return task

    def _refuse(self, work: Any) -> NoReturn:
        if asyncio.iscoroutine(work):
            work.close()
        if self._loop is None:
            raise GroupClosed(f"{self} is not open yet: `async with TaskGroup() as group: group.create_task(...)`.")
        if _running_loop() is not self._loop:
            raise GroupClosed(f"{self} belongs to another event loop; use `asyncio.run_coroutine_threadsafe()` there.")
        if self._open:
            raise Misconfigured(f"{self} takes tasks of its own event loop in add_task(), not {work!r}.")
        how = "is being cancelled" if self._live else "has been left"
        raise GroupClosed(f"{self} {how} and takes no more tasks.")

    def _settle(self, task: Task) -> None:
        """A task has ended."""
        live = self._live
        del live[task]
        if self._kept is not None:
            self._ended.append(task)
        if _error_of(task) is not None:
            self._fail(task)
        elif not self._open:
            self._look_at(task)
        if self._waiting or not live:
            self._wake()

    def _fail(self, task: Task) -> None:
        self._failed.append(task)
        if self._collects:
            self._forget_seen()
            return
        task.exception()  # seen
        if not self._closing and not self._own and not self._parent.done():
            # The block has to end, too; `_end` takes this back.
            self._own = True
            self._parent.cancel()
        self._abort()

    def _look_at(self, task: Task) -> None:
        """It has ended after the others were cancelled."""
        try:
            task.exception()
        except asyncio.CancelledError as cancelled:  # the task's own
            self._cut_off(f"The task {task.get_name()}", cancelled)

    def _cut_off(self, who: str, cancelled: asyncio.CancelledError) -> None:
        commits = noted(cancelled)
        late = explained(cancelled, f"{who} of the group {self.name!r} was cancelled") if commits else None
        self._commits += commits
        self._late += () if late is None else (late,)

    def _forget_seen(self) -> None:
        """What is not kept may fail, and be caught, for hours."""
        if self._kept is None and len(self._failed) >= self._many:
            self._failed = [task for task in self._failed if is_unseen(task)]
            self._many = 2 * max(len(self._failed), _MANY)

    def _abort(self) -> None:
        if self._open:
            self._open = False
            self.cancel_all()

    def cancel_all(self) -> None:
        """Cancel the tasks, and not the block; they end when they have cleaned up."""
        if self._loop is None or self._loop.is_closed():
            return
        for task in list(self._live):
            if not task.done():  # its error would count as seen
                task.cancel()

    async def close(self) -> None:
        """Take no more tasks, cancel those there are, and wait for them."""
        self._abort()
        await self.wait_all()

    # ── what came of them ──

    async def wait_all(self) -> None:
        """Until no task is left. Raises nothing of theirs: that is for `await task`, or for the end of the block.

        Raises `Misconfigured` in a task of the group, which would wait for itself; so does `as_completed()`.
        """
        while self._live:
            await self._end_of(all=False)

    async def as_completed(self) -> AsyncIterator[Task]:
        """The tasks in the order in which they end, until none is left, also those made meanwhile."""
        self._require_kept("as_completed()")
        given = 0
        while True:
            for task in self._ended[given:]:
                given += 1
                yield task
            if given == len(self._ended):
                if not self._live:
                    return
                await self._end_of(all=False)

    @property
    def results(self) -> list[Any]:
        """What the tasks gave, in the order of their making; an error or cancellation in the place of who ended so.

        Raises `Misconfigured` before all have ended.
        """
        kept = self._require_kept("results")
        if self._live:
            raise Misconfigured(f"{self} has tasks that run; read its results after the block, or `await wait_all()`.")
        return [_outcome(task) for task in kept]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks in the order of their making; with `keep=False` those that run."""
        return tuple(self._live if self._kept is None else self._kept)

    @property
    def errors(self) -> tuple[BaseException, ...]:
        """What tasks have raised, and what came through the block: caught or not, the originals.

        Of those that were cancelled in the middle of a commit an error that says what came of it.
        """
        found = [_error_of(task) for task in self._failed]
        return (*found, *(() if self._block is None else (self._block,)), *self._late)

    @property
    def has_errors(self) -> bool:
        return bool(self.errors)

    def _require_kept(self, what: str) -> list[Task]:
        if self._kept is None:
            raise Misconfigured(f"{self} does not keep its tasks (keep=False), so it has no {what}.")
        return self._kept

    # ── waiting and showing ──

    async def _end_of(self, *, all: bool) -> None:
        """Until a task ends; or the last."""
        future = asyncio.get_running_loop().create_future()
        if all:
            self._all = future
        else:
            self._refuse_own()
            self._waiting.append(future)
        await future

    def _refuse_own(self) -> None:
        task = asyncio.current_task()
        # One that has just cancelled all, itself too, does not begin to wait.
        if task in self._live and not is_to_come(task):
            raise Misconfigured(f"The task {task.get_name()} of the group {self.name!r} would wait for itself here.")

    def _wake(self) -> None:
        futures, self._waiting = self._waiting, []
        if self._all is not None and not self._live:
            futures.append(self._all)
            self._all = None
        for future in futures:
            if not future.done():
                future.set_result(None)

    @property
    def owner(self) -> Task | None:
        """The task that entered it, while it is entered."""
        return self._parent if self in opened else None

    @property
    def born(self) -> Birth:
        """When and where it was entered."""
        return self._born

    def running(self) -> list[tuple[Task, Birth]]:
        """The tasks that run, with their births."""
        return list(self._live.items())

    def about(self, task: Task) -> dict[str, Any]:
        """Nothing more than asyncio knows."""
        return {}

    def fallen(self) -> tuple[TaskInfo, ...]:
        """None is shown: who waits for the group gets its errors."""
        return ()

    def __str__(self) -> str:
        return f"The task group {self.name!r}"

    def __repr__(self) -> str:
        state = "open" if self._open else "closing" if self in opened else "closed" if self._loop else "new"
        return f"TaskGroup({self.name!r}, {state}, running={len(self._live)}, errors={len(self._failed)})"


class _Collected(asyncio.Task[T]):
    """A task whose error does not count as seen because somebody cancels it afterwards, as with asyncio's own."""

    def cancel(self, msg: Any = None) -> bool:
        return not self.done() and super().cancel(msg)


async def _in_turn(coro: Coroutine[Any, Any, T], places: asyncio.Semaphore) -> T:
    await _turn(places)
    try:
        return await coro
    finally:
        places.release()


async def _turn(places: asyncio.Semaphore) -> None:
    await places.acquire()


WAITING_ROOMS[_turn.__code__] = "queued"


def _is_exit(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt | SystemExit)


def _outcome(task: Task) -> Any:
    if task.cancelled():
        return asyncio.CancelledError()
    error = _error_of(task)
    return task.result() if error is None else error


def _places(max_concurrency: int | None) -> asyncio.Semaphore | None:
    if max_concurrency is None:
        return None
    require_counts("a TaskGroup", max_concurrency=max_concurrency)
    if max_concurrency < 1:
        raise Misconfigured(f"max_concurrency of a TaskGroup is 1 or more, or None, not {max_concurrency!r}.")
    return asyncio.Semaphore(max_concurrency)
