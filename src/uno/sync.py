"""Asynchronous code for synchronous callers: written once, driven here.

`drive(coroutine)` runs a coroutine that never has to wait for an event loop to its end, without
one. `clock.sleep` blocks the thread there; anything else that suspends is an error. What has to wait
runs in an event loop of another thread, `wait_in(loop, call)`: for instance in that of the `portal`.
"""

import asyncio
import atexit
import gc
import inspect
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, wait as wait_for
from contextvars import Context, copy_context
from functools import partial
from types import CodeType
from typing import Any, NoReturn, Protocol, TypeVar

from uno import clock
from uno.errors import Misconfigured, TimedOut

T = TypeVar("T")
# Where something runs: its code, the line, the module.
Place = tuple[CodeType, int | None, str]
# What libraries say where no event loop runs, before they would suspend.
_NO_LOOP = (
    "no running event loop",
    "There is no current event loop",
    "Not currently running on any asynchronous event loop",
)
_OURS = ("uno", "sqlalchemy", "contextlib", "asyncio", "anyio", "sniffio")
# What a task runs for which other one: a unit of work and a lock are of that.
_lent: "dict[asyncio.Task[Any], _Loan]" = {}
# How often something may wait again, cleaning up.
_REFUSALS = 100
# Seconds: how often who waits looks whether the loop still runs, and for how long it may not begin.
LOOK, BEGIN = 0.5, 10.0


def drive(coroutine: Coroutine[Any, Any, T], context: Context | None = None) -> T:
    """What `coroutine` returns, run in a copy of the current context, or in `context`.

    Raises `Misconfigured` if it awaits something that only an event loop can give.
    """
    return (copy_context() if context is None else context).run(_run, coroutine)


def driver(call: Callable[[Any], Awaitable[T]]) -> Callable[[Any], T]:
    """A function that drives `call(argument)`; to be run in a copied context: `copy_context().run(f, argument)`.

    Made once for a `call`, it is quicker than `drive`.
    """
    mark, running_loop, none = clock.driver.set, asyncio._get_running_loop, clock.NO_LOOP

    def enter(argument: Any) -> T:
        mark(running_loop() or none)
        coroutine: Any = call(argument)
        try:
            coroutine.send(None)
        except StopIteration as end:
            value: T = end.value
            return value
        _refuse(coroutine)

    return enter


def is_async(f: Any) -> bool:
    """Whether a call of `f` itself gives something to await; what `f` wraps does not count."""
    return inspect.iscoroutinefunction(f) or inspect.iscoroutinefunction(getattr(type(f), "__call__", None))  # noqa: B004


def driving() -> bool:
    """Whether this code runs inside a drive."""
    return clock.driven()


def without_loop() -> bool:
    """Whether no event loop runs in this thread, so that nothing can be waited for but by blocking it."""
    return asyncio._get_running_loop() is None


def runner() -> object:
    """Who runs this code: its task, or the one that has lent itself to it; where no event loop runs, its thread."""
    loop = asyncio._get_running_loop()
    if loop is None:
        return threading.current_thread()
    task = asyncio.current_task(loop)
    return _lent[task].runner if _lent and task in _lent else task


class Kept(Protocol):
    """What a task has taken, and has to give back."""

    def hand_over(self, owner: asyncio.Task[Any]) -> None:
        """From now on it is of this task."""


class _Loan:
    """A task counts as its `runner`. What it took is the `lender`'s, unless that does not wait for it any more."""

    __slots__ = ("is_left", "kept", "lender", "runner")

    def __init__(self, lender: asyncio.Task[Any], runner: Any) -> None:
        self.lender = lender
        self.runner = runner
        self.is_left = False
        # It goes with the last one who has it.
        self.kept: weakref.WeakSet[Kept] = weakref.WeakSet()


def lend(task: asyncio.Task[Any]) -> None:
    """From now on `task` counts as the one that runs here, which does nothing but wait for it."""
    lender: Any = asyncio.current_task()
    _lent[task] = _Loan(lender, runner())
    task.add_done_callback(_returned)


def _returned(task: asyncio.Task[Any]) -> None:
    loan = _lent.pop(task)
    outer = None if loan.is_left else _lent.get(loan.lender)
    if outer is not None:
        outer.kept.update(loan.kept)


def holder_of(task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    """The task that what this one takes belongs to: whoever has lent itself to it, and waits for it."""
    while (loan := _lent.get(task)) is not None and not loan.is_left:
        task = loan.lender
    return task


def holder() -> object:
    """`holder_of` the task that runs here; where no event loop runs, its thread."""
    found = runner()
    task = asyncio.current_task() if _lent else None
    return found if task is None else holder_of(task)


def keep(thing: Kept) -> None:
    """What runs here has taken it, and goes on having it should it be left behind."""
    task = asyncio.current_task() if _lent else None
    if task is not None and task in _lent:
        _lent[task].kept.add(thing)


def leave_behind(task: asyncio.Task[Any]) -> None:
    """Nobody waits any more for a task that was lent: what it has taken it has itself."""
    if task in _lent:
        _lent[task].is_left = True
    for one, loan in _lent.items():
        owner = holder_of(one)
        for thing in list(loan.kept):
            thing.hand_over(owner)


def shielded(work: Awaitable[T]) -> Awaitable[T]:
    """`asyncio.shield`; where no event loop runs nobody can cancel it."""
    return work if without_loop() else asyncio.shield(work)


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    clock.driver.set(asyncio._get_running_loop() or clock.NO_LOOP)
    step: Callable[[], object] = partial(coroutine.send, None)
    try:
        for _ in range(_REFUSALS):
            step()
            # Raised where it waits, so that everything around it ends as it does after any other error.
            step = partial(coroutine.throw, _needs_loop(awaits(coroutine), coroutine))
    except StopIteration as end:
        value: T = end.value
        return value
    except RuntimeError as error:
        if not str(error).startswith(_NO_LOOP):
            raise
        raise _needs_loop(_raised_in(error), coroutine) from error
    _refuse(coroutine)


def _refuse(coroutine: Coroutine[Any, Any, Any]) -> NoReturn:
    error = _needs_loop(awaits(coroutine), coroutine)
    coroutine.close()
    raise error


def _needs_loop(places: Iterator[Place], coroutine: Any) -> Misconfigured:
    """It names the outermost of `places` that is the user's, and where it waits."""
    theirs = [(code, line) for code, line, module in places if module.partition(".")[0] not in _OURS]
    name, where = getattr(coroutine, "__qualname__", repr(coroutine)), ""
    if theirs:
        code, line = theirs[-1]
        name, where = theirs[0][0].co_qualname, f" ({code.co_filename}:{line or code.co_firstlineno})"
    return Misconfigured(
        f"{name.rpartition('<locals>.')[2]} has to wait for an event loop, so it cannot be run synchronously: await it "
        f"instead{where}."
    )


def awaits(awaitable: Any) -> Iterator[Place]:
    """The calls in which it waits, the outermost first."""
    while (kind := _kind(awaitable)) is not None:
        frame = getattr(awaitable, f"{kind}_frame")
        if frame is None:  # it has come to its end
            return
        yield frame.f_code, frame.f_lineno, frame.f_globals.get("__name__", "")
        inner = getattr(awaitable, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
        # What steps through an async generator does not say which one, but refers to it.
        awaitable = inner if _kind(inner) else next(filter(_kind, gc.get_referents(inner)), None)


def _kind(awaitable: Any) -> str | None:
    return next((kind for kind in ("cr", "ag", "gi") if hasattr(awaitable, f"{kind}_frame")), None)


def _raised_in(error: BaseException) -> Iterator[Place]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code, trace.tb_lineno, trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next


class Portal:
    """One event loop on a daemon thread, started when it is first needed and ended with the process.

    A process that is forked does not have the thread: it begins anew.
    """

    def __init__(self) -> None:
        self._inherited: list[Any] = []
        self._fresh()
        os.register_at_fork(after_in_child=self._forked)

    def _fresh(self) -> None:
        self._turn = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._end: asyncio.Event | None = None

    def _forked(self) -> None:
        # Kept: closing it would take file descriptors out of the parent's loop.
        self._inherited.append((self._loop, self._thread, self._end))
        self._fresh()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        with self._turn:
            if self._loop is None:
                began: Future[asyncio.AbstractEventLoop] = Future()
                self._thread = threading.Thread(target=self._serve, args=(began,), name="uno.portal", daemon=True)
                self._thread.start()
                self._loop = began.result()
                atexit.register(self.close)
            return self._loop

    def runs(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Whether this loop is that of the portal."""
        return loop is not None and loop is self._loop

    def _serve(self, began: "Future[asyncio.AbstractEventLoop]") -> None:
        async def until_the_end() -> None:
            self._end = asyncio.Event()
            began.set_result(asyncio.get_running_loop())
            await self._end.wait()

        # It cancels what is left, closes generators and the loop.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(until_the_end())

    def close(self) -> None:
        """End the thread; what runs there is cancelled. It starts again when it is needed."""
        with self._turn:
            loop, thread, end = self._loop, self._thread, self._end
            if loop is None or thread is None or end is None:
                return
            atexit.unregister(self.close)
            loop.call_soon_threadsafe(end.set)
            thread.join()
            self._loop = self._thread = self._end = None


_portal = Portal()


def portal() -> Portal:
    """The portal of this process."""
    return _portal


def wait_in(
    loop: asyncio.AbstractEventLoop, call: Callable[[], Coroutine[Any, Any, T]], context: Context | None = None
) -> T:
    """What the coroutine of `call()` returns, run in `loop`, which another thread runs.

    It runs in a copy of the current context, or in `context`. An exception in the thread that waits,
    as Ctrl-C is, cancels it and comes through once it has ended. Never waits for a loop that does not run.
    """
    work = _Work(call, copy_context() if context is None else context)
    try:
        loop.call_soon_threadsafe(work.start)
    except RuntimeError as error:
        raise _ended() from error
    try:
        found: T = work.result(loop)
        return found
    except BaseException:
        if not work.found.done() and loop.is_running():
            loop.call_soon_threadsafe(work.cancel)
            wait_for([work.found], None if work.began else LOOK)
        raise


class _Work:
    """A coroutine in the loop of another thread. It raises nothing there: errors are for who waits."""

    def __init__(self, call: Callable[[], Coroutine[Any, Any, Any]], context: Context) -> None:
        self.found: Future[Any] = Future()
        self._call = call
        self._context = context
        self._task: asyncio.Task[None] | None = None

    @property
    def began(self) -> bool:
        return self._task is not None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), context=self._context)
        self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        try:
            value = await self._call()
        except BaseException as error:  # raised where it is waited for
            self.found.set_exception(error)
        else:
            self.found.set_result(value)

    def _ended(self, _task: object) -> None:
        if not self.found.done():  # cancelled before its first step
            self.found.set_exception(asyncio.CancelledError())

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def result(self, loop: asyncio.AbstractEventLoop) -> Any:
        waited = 0.0
        while True:
            try:
                return self.found.result(LOOK)
            except TimeoutError:
                if self.found.done():
                    return self.found.result()
            waited += LOOK
            if not loop.is_running():
                raise _ended()
            if not self.began and waited >= BEGIN:
                raise TimedOut(
                    f"The event loop has not gone on for {BEGIN:g} s; is its thread waiting for the one that waits "
                    "for it here? Await `asyncio.to_thread(…)` there instead of joining a thread."
                )


def _ended() -> Misconfigured:
    return Misconfigured("The event loop that the database was opened in does not run any more.")
