"""Random nests of groups, timeouts, shields, cancels and failures, run in virtual time, and what must hold of each."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from uno import clock, sync
from uno.aio import AsyncLock, timeout
from uno.aio.cancelling import Cancellable
from uno.aio.group import GroupClosed, TaskGroup
from uno.aio.shield import to_the_end
from uno.aio.shown import opened

DEEPEST, LONGEST = 4, 4
# What a scope sends to its own task, and takes back; all other cancellations come from outside.
OWN = ("_fail", "_on_timeout", "_ring")
# Seconds: more than any nest takes, and as long as one waits for a lock, which may be in a circle.
FOREVER, PATIENCE = 10_000.0, 2.0


class Boom(Exception):
    """What the nests fail with."""


class Hung(Exception):
    """Somebody waits for what will never come."""


class Counted(asyncio.Task[Any]):
    """A task that counts who wanted to end it."""

    outside = 0
    by_itself = False

    def set_name(self, value: object) -> None:
        if value is not None:  # Python 3.13 sets it where there is a task factory
            super().set_name(value)

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        self.by_itself = self.by_itself or asyncio.current_task() is self
        self.outside += sys._getframe(1).f_code.co_name not in OWN
        return super().cancel(msg)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Nobody waits for a time to come: it comes when nothing else is to be done. It is uno's clock, too."""

    def __init__(self) -> None:
        super().__init__()
        self.complaints: list[str] = []
        self._at = 0.0
        self.set_exception_handler(lambda _, about: self.complaints.append(str(about)))
        self.set_task_factory(lambda loop, coro, **more: Counted(coro, loop=loop, **more))

    def time(self) -> float:
        return self._at

    def monotonic(self) -> float:
        return self._at

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self._at)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _run_once(self) -> None:
        inner: Any = self
        while inner._scheduled and inner._scheduled[0]._cancelled:
            inner._scheduled.pop(0)._scheduled = False
            inner._scheduled.sort()
            inner._timer_cancelled_count -= 1
        if not inner._ready:
            if not inner._scheduled:
                raise Hung
            self._at = max(self._at, inner._scheduled[0]._when)
        inner_run: Callable[[], None] = super()._run_once  # type: ignore[misc]
        inner_run()


@dataclass(frozen=True)
class Step:
    """What is done: `kind`, with a number, inside it `body`, and as tasks beside it `beside`."""

    kind: str
    number: int = 0
    body: tuple["Step", ...] = ()
    beside: tuple[tuple["Step", ...], ...] = ()


LEAVES = ("pause", "fail", "cancel main", "cancel one", "cancel all", "spawn", "pause", "await", "completed", "all")
SCOPES = (
    *("group", "collect", "limited", "asyncio timeout", "asyncio late", "timeout", "late", "timeout", "cancellable"),
    *("shield", "to the end", "lock", "catch", "finally"),
)


def program(data: bytes) -> tuple[tuple[int, ...], tuple[Step, ...]]:
    """When the whole is cancelled from outside, and what it does."""
    numbers = iter(data)
    times = tuple(_next(numbers, 9) for _ in range(_next(numbers, 4) // 2))
    return times, _steps(numbers, 0)


def _next(numbers: Iterator[int], below: int) -> int:
    return next(numbers, 0) % below


def _steps(numbers: Iterator[int], depth: int) -> tuple[Step, ...]:
    return tuple(_step(numbers, depth) for _ in range(1 + _next(numbers, LONGEST)))


def _step(numbers: Iterator[int], depth: int) -> Step:
    if depth >= DEEPEST or _next(numbers, 3) == 0:
        return Step(LEAVES[_next(numbers, len(LEAVES))], _next(numbers, 4))
    kind = SCOPES[_next(numbers, len(SCOPES))]
    number, body = _next(numbers, 4), _steps(numbers, depth + 1)
    many = _next(numbers, 4) if kind in ("group", "collect", "limited") else kind == "finally"
    return Step(kind, number, body, tuple(_steps(numbers, depth + 1) for _ in range(many)))


@dataclass
class Nest:
    """One run of a program; `wrong` says what did not hold."""

    group: type[Any] = TaskGroup
    closed: type[Exception] = GroupClosed
    timeout: Callable[[float], Any] = timeout
    cancellable: Callable[..., Any] = Cancellable
    lock: Callable[..., Any] = AsyncLock
    to_the_end: Callable[..., Any] = to_the_end
    wrong: list[str] = field(default_factory=list)
    main: Counted | None = None
    tasks: list[Counted] = field(default_factory=list)
    caught: list[BaseException] = field(default_factory=list)
    failed: int = 0

    async def judged(self, data: bytes) -> list[str]:
        """What does not hold after the program has run."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        times, steps = program(data)
        self.main = self._task(self._run(steps, None, own=False))
        for when in times:
            loop.call_later(when, self.main.cancel)
        await asyncio.wait([self.main])
        left = asyncio.all_tasks() - {asyncio.current_task()}
        self._check(not left, f"left behind: {left}")
        self._check(not opened, f"still open: {list(opened)}")
        for lock in map(self._named, range(4)):
            self._check(not (lock.locked() or lock.waiting), f"{lock} is held, or waited for: {lock.waiting}")
        for task in self.tasks:
            self._judge(task)
        self.wrong += loop.complaints
        loop.complaints.clear()
        return self.wrong

    def _judge(self, task: Counted) -> None:
        if not task.done():
            return self._check(False, f"{task} has not ended")
        error = None if task.cancelled() else task.exception()
        self._check(task.cancelling() == task.outside, f"{task} counts {task.cancelling()}, not {task.outside}")
        self._check(task.outside > 0 or not task.cancelled(), f"{task} was cancelled by nobody")
        if not task.by_itself:
            self._check(task.outside == 0 or task.cancelled(), f"{task} swallowed a cancellation: {error!r}")
        return None

    def _check(self, holds: bool, text: str) -> None:
        if not holds:
            self.wrong.append(text)

    def _task(self, coro: Coroutine[Any, Any, None], group: Any = None) -> Counted:
        made = asyncio.create_task(coro) if group is None else group.create_task(coro)
        assert isinstance(made, Counted)
        self.tasks.append(made)
        return made

    # ── what the steps do; `own` where this is the task of the group's block ──

    async def _run(self, steps: tuple[Step, ...], group: Any, *, own: bool) -> None:
        for step in steps:
            await getattr(self, "_" + step.kind.replace(" ", "_"))(step, group, own)

    async def _pause(self, step: Step, group: Any, own: bool) -> None:
        await asyncio.sleep(step.number)

    async def _fail(self, step: Step, group: Any, own: bool) -> None:
        self.failed += 1
        raise Boom(self.failed)

    async def _cancel_main(self, step: Step, group: Any, own: bool) -> None:
        if self.main is not None:
            self.main.cancel()

    async def _cancel_one(self, step: Step, group: Any, own: bool) -> None:
        if group is not None and group.tasks:
            group.tasks[step.number % len(group.tasks)].cancel()

    async def _cancel_all(self, step: Step, group: Any, own: bool) -> None:
        if group is not None:
            group.cancel_all()

    async def _spawn(self, step: Step, group: Any, own: bool) -> None:
        if group is not None:
            with suppress(self.closed):
                self._task(self._pause(step, None, False), group)

    async def _await(self, step: Step, group: Any, own: bool) -> None:
        """One task of the group, its error caught; whether it was cancelled is no matter."""
        if group is not None and own and group.tasks:
            task = group.tasks[step.number % len(group.tasks)]
            await asyncio.wait([task])
            if not task.cancelled():
                try:
                    await task
                except (Boom, TimeoutError, ExceptionGroup) as error:
                    self.caught.append(error)

    async def _completed(self, step: Step, group: Any, own: bool) -> None:
        if group is not None and own:
            async for task in group.as_completed():
                self._check(task.done(), f"{task} was given before its end")
                if step.number == 3:
                    break

    async def _all(self, step: Step, group: Any, own: bool) -> None:
        if group is not None and own:
            await group.wait_all()

    async def _group(self, step: Step, group: Any, own: bool) -> None:
        await self._block(self.group("cancel"), step)

    async def _collect(self, step: Step, group: Any, own: bool) -> None:
        await self._block(self.group("collect", on_error="collect"), step)

    async def _limited(self, step: Step, group: Any, own: bool) -> None:
        await self._block(self.group("limited", max_concurrency=1 + step.number), step)

    async def _block(self, inner: Any, step: Step) -> None:
        try:
            async with inner:
                for steps in step.beside:
                    self._task(self._run(steps, inner, own=False), inner)
                await self._run(step.body, inner, own=True)
            self._judge_end(inner)
        except BaseExceptionGroup as errors:
            self._judge_errors(inner, errors)
            raise
        finally:
            self._judge_left(inner)

    def _judge_errors(self, inner: Any, errors: BaseExceptionGroup[Any]) -> None:
        cancelled, _ = errors.split(asyncio.CancelledError)
        self._check(cancelled is None, f"a cancellation among the errors: {errors!r}")
        for error in errors.exceptions:
            self._check(_has(inner.errors, error), f"{error!r} is not among {inner.errors}")
            again = inner.name == "collect" and _has(self.caught, error) and error is not inner.errors[-1]
            self._check(not again, f"{error!r} was caught, and is raised")

    def _judge_end(self, inner: Any) -> None:
        """It ended well, so all errors were caught."""
        for error in inner.errors:
            self._check(inner.name == "collect" and _has(self.caught, error), f"{error!r} is not raised")

    def _judge_left(self, inner: Any) -> None:
        """No task of it runs, and no error is lost."""
        for task in inner.tasks:
            self._check(task.done(), f"{task} outlives its group")
            if task.done() and not task.cancelled() and task.exception() is not None:
                self._check(_has(inner.errors, task.exception()), f"the error of {task} is lost")

    async def _asyncio_timeout(self, step: Step, group: Any, own: bool) -> None:
        with suppress(TimeoutError):
            await self._asyncio_late(step, group, own)

    async def _asyncio_late(self, step: Step, group: Any, own: bool) -> None:
        """A timeout whose error is not caught."""
        async with clock.timeout(step.number):
            await self._run(step.body, group, own=own)

    async def _timeout(self, step: Step, group: Any, own: bool) -> None:
        with suppress(TimeoutError):
            await self._late(step, group, own)

    async def _late(self, step: Step, group: Any, own: bool) -> None:
        async with self.timeout(step.number):
            await self._run(step.body, group, own=own)

    async def _lock(self, step: Step, group: Any, own: bool) -> None:
        lock = self._named(step.number)
        before = _depth(lock)
        try:
            async with lock:
                self._check(_depth(lock) == (before or 0) + 1, f"{lock} has not been entered: {lock.owner_info}")
                await self._run(step.body, group, own=own)
        finally:
            self._check(_depth(lock) == before, f"{lock} has been entered {_depth(lock)} times, not {before}")

    def _named(self, number: int) -> Any:
        return self.lock(f"lock {number}", timeout=PATIENCE)

    async def _cancellable(self, step: Step, group: Any, own: bool) -> None:
        await self.cancellable(cleanup_timeout=FOREVER).call(self._apart, step)

    async def _apart(self, step: Step) -> None:
        """In a task that others have made."""
        task = asyncio.current_task()
        assert isinstance(task, Counted)
        self.tasks.append(task)
        await self._run(step.body, None, own=False)

    async def _shield(self, step: Step, group: Any, own: bool) -> None:
        before = _cancelling()
        async with self.group("shield") as inner:
            shielded = self._task(self._run(step.body, inner, own=False), inner)
            try:
                await asyncio.shield(shielded)
            except asyncio.CancelledError:
                # Somebody may have cancelled what is shielded, and nobody this task.
                if not shielded.cancelled() or _cancelling() > before:
                    raise

    async def _to_the_end(self, step: Step, group: Any, own: bool) -> None:
        await self.to_the_end(self._apart(step))

    async def _catch(self, step: Step, group: Any, own: bool) -> None:
        with suppress(Exception):
            await self._run(step.body, group, own=own)

    async def _finally(self, step: Step, group: Any, own: bool) -> None:
        try:
            await self._run(step.body, group, own=own)
        finally:
            await self._clean_up(step.beside[0], group, own)

    async def _clean_up(self, steps: tuple[Step, ...], group: Any, own: bool) -> None:
        """Only a cancellation that comes meanwhile may interrupt it."""
        task = asyncio.current_task()
        assert isinstance(task, Counted)
        before, to_come = _cancelling(), task._must_cancel  # type: ignore[attr-defined]
        try:
            with suppress(Exception):
                await self._run(steps, group, own=own)
        except asyncio.CancelledError:
            again = _cancelling() > before or to_come
            self._check(again, f"the cleaning up of {task} was cancelled by what was there before")
            raise


def _depth(lock: Any) -> int | None:
    """How often this task has entered it; None where it does not have it."""
    owner, runner = lock.owner_info, sync.runner()
    return owner.depth if owner is not None and owner.task == runner.get_name() else None


def _has(errors: Iterable[BaseException], error: BaseException | None) -> bool:
    return any(error is one for one in errors)


def _cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


def judged(data: bytes, loop: VirtualLoop, **parts: Any) -> list[str]:
    """What does not hold of the nest that these bytes stand for."""
    with clock.use(loop):
        return loop.run_until_complete(Nest(**parts).judged(data))
