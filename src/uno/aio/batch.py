"""The batcher: what many ask for one by one, done together.

A batch is what was added within `max_wait_time` seconds, or `max_batch_size` items. It runs in a task of its
own, so that who gives up waiting takes nothing from the others.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence, Set as AbstractSet
from contextvars import Context, ContextVar
from functools import partial
from inspect import isawaitable
from itertools import repeat
from types import FunctionType, MethodType, TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from uno import clock, context as contexts, sync
from uno.aio.flushing import collects, hurried
from uno.aio.lines import check_seconds, limited
from uno.aio.outcomes import for_one, twin
from uno.aio.verbs import LAST, waiting
from uno.errors import Misconfigured, OutcomeUnknown, Unavailable
from uno.resilience import deadline
from uno.resilience.arguments import require_counts, require_function, require_numbers
from uno.resilience.commits import of_cancelled
from uno.telemetry.signals import emit

T = TypeVar("T")
R = TypeVar("R")
# The batches that run around this code.
_around: ContextVar[tuple["asyncio.Task[None]", ...]] = ContextVar("uno.aio.batch", default=())
_done, _give = asyncio.Future.done, asyncio.Future.set_result


class BatcherFull(Unavailable):
    """As many items as may be are waiting or being worked on."""


class BatchMismatch(Misconfigured, ValueError):
    """The batch operation did not give one result for each item."""


class _Batch(Generic[T, R]):
    """Items with the future of each who waits; `also` are more who wait for the item at a place."""

    __slots__ = ("also", "futures", "items", "places", "timer")

    def __init__(self) -> None:
        self.items: list[T] = []
        self.futures: list[asyncio.Future[R]] = []
        self.places: dict[Hashable, int] = {}
        self.also: dict[int, list[asyncio.Future[R]]] = {}
        self.timer: asyncio.Handle | None = None

    def waiting(self, place: int) -> Iterator["asyncio.Future[R]"]:
        yield self.futures[place]
        yield from self.also.get(place, ())

    def drop_unwanted(self) -> None:
        """Leave out the items that nobody waits for any more."""
        if not any(map(asyncio.Future.cancelled, self.futures)):
            return
        wanted = [n for n in range(len(self.items)) if not all(f.cancelled() for f in self.waiting(n))]
        self.also = {new: self.also[old] for new, old in enumerate(wanted) if old in self.also}
        self.items = [self.items[n] for n in wanted]
        self.futures = [self.futures[n] for n in wanted]

    def settle(self, results: list[Any]) -> None:
        if any(map(_done, self.futures)) or any(map(isinstance, results, repeat(BaseException))):
            for future, result in zip(self.futures, results, strict=True):
                _settle(future, result)
        else:  # nearly always, and a third of what a batch costs
            deque(map(_give, self.futures, results), maxlen=0)
        for place, futures in self.also.items():
            for future in futures:
                _settle(future, for_one(results[place]))

    def refuse(self, error: BaseException) -> None:
        """Raise the error where its items are waited for."""
        self.settle([error] * len(self.futures))

    def count(self) -> int:
        """How many wait, or have waited."""
        return len(self.futures) + sum(map(len, self.also.values()))


class AsyncBatcher(Generic[T, R]):
    """Collects items and gives them to `batch_operation(items)`, which gives a result for each, in their order.

    A result that is an exception is raised for its item alone; an exception that is raised, for all. With a `key`,
    items of the same `key(item)` in one batch are one item. `max_concurrency` batches run at a time, in the order of
    their items; more than `max_pending` items wait outside. It belongs to the event loop that it is first used in,
    and its batches run in copies of `context`: without one they see no context variables of a caller, nor of who made
    it. `aclose()` and `async with` finish what was added, and the manager of its event loop does so at the stop. Times
    are in seconds.
    """

    def __init__(
        self,
        batch_operation: Callable[[list[T]], Awaitable[Sequence[R | BaseException]]],
        max_batch_size: int = 100,
        max_wait_time: float = 0.1,
        *,
        key: Callable[[T], Hashable] | None = None,
        max_concurrency: int = 1,
        max_pending: int = 10_000,
        name: str | None = None,
        context: Context | None = None,
    ) -> None:
        _check(batch_operation, key, max_batch_size, max_wait_time, max_concurrency, max_pending)
        self.name = name or getattr(batch_operation, "__qualname__", None) or "unnamed"
        self.max_batch_size = int(max_batch_size)
        self.max_wait_time = max_wait_time
        self.max_concurrency = int(max_concurrency)
        self.max_pending = int(max_pending)
        self._operation = batch_operation
        self._key = key
        self._context = contexts.nobodys() if context is None else context
        self._loop: asyncio.AbstractEventLoop | None = None
        # The same while it takes items; all that one of them costs in the usual case is this comparison.
        self._taking: asyncio.AbstractEventLoop | None = None
        self._open: _Batch[T, R] | None = None
        # Whether it has waited long enough, and only for others to end.
        self._due = False
        self._ready: deque[_Batch[T, R]] = deque()
        self._running: dict[asyncio.Task[None], _Batch[T, R]] = {}
        # Items that were accepted and have no result yet, and places for those that may come in.
        self._pending = 0
        self._line: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._closed = False
        # How many want no batch to wait for company.
        self._hurries = 0
        self._empty: asyncio.Event | None = None

    # ── adding ──

    async def add_item(self, item: T) -> R:
        """The result of `item`; waits for room while there are `max_pending` items, and for nothing past the deadline.

        Raises what `batch_operation` raised, or gave as the result of this item, and `TimedOut`.
        """
        if deadline.ambient() is not None:
            return await limited(partial(self._add, item), self._late)
        if self._pending >= self.max_pending:
            return await self._add(item)
        return await self.submit(item)

    async def _add(self, item: T) -> R:
        if self._pending >= self.max_pending:
            await self._room()
            return await self._put(item, asyncio.get_running_loop())
        return await self.submit(item)

    def _late(self) -> str:
        return f"The batcher {self.name} had no result before the deadline."

    def submit(self, item: T) -> "asyncio.Future[R]":
        """The future result of `item`, for `asyncio.gather` or for later. Raises `BatcherFull`."""
        loop = asyncio._get_running_loop()
        if loop is None or loop is not self._taking:
            loop = self._enter(loop)
        if self._running and _around.get():
            self._check_around()
        if self._pending >= self.max_pending:
            emit("batcher.refused", batcher=self.name)
            raise BatcherFull(f"The batcher {self.name} has {self._pending} items to work on; await add_item() waits.")
        self._pending += 1
        if self._key is not None or (batch := self._open) is None:
            return self._put(item, loop)
        # _put() by hand, and no create_future(), which only calls this: these lines run for nearly every item.
        future: asyncio.Future[R] = asyncio.Future(loop=loop)
        batch.items.append(item)
        batch.futures.append(future)
        if len(batch.items) >= self.max_batch_size:
            self._seal()
        return future

    def _put(self, item: T, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[R]":
        future: asyncio.Future[R] = loop.create_future()
        batch = self._open or self._begin(loop)
        if self._key is not None and not self._is_new(batch, item, future):
            return future
        batch.items.append(item)
        batch.futures.append(future)
        if len(batch.items) >= self.max_batch_size:
            self._seal()
        return future

    def _is_new(self, batch: _Batch[T, R], item: T, future: "asyncio.Future[R]") -> bool:
        """Whether no item of the batch has the same key; otherwise the future waits for that one."""
        assert self._key is not None
        try:
            place = batch.places.setdefault(self._key(item), len(batch.items))
        except BaseException:
            self._leave(1)
            raise
        if place == len(batch.items):
            return True
        batch.also.setdefault(place, []).append(future)
        return False

    def _enter(self, loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop:
        """Make it belong to this loop. Raises `Misconfigured`."""
        if self._closed:
            raise Misconfigured(f"The batcher {self.name} is closed: make another AsyncBatcher.")
        if loop is None or sync.driving():
            raise Misconfigured(f"The batcher {self.name} needs an event loop: await it in one.")
        if self._loop is not None and not self._loop.is_closed():
            raise Misconfigured(f"The batcher {self.name} belongs to another event loop: make one for each loop.")
        self._loop = self._taking = loop
        self._pending, self._open, self._due = 0, None, False
        self._ready, self._running, self._line, self._empty = deque(), {}, OrderedDict(), None
        collects(loop, self)
        return loop

    def _check_around(self) -> None:
        if not self._running.keys().isdisjoint(_around.get()):
            raise Misconfigured(
                f"The batch operation of the batcher {self.name} waits for the same batcher, which waits for it to "
                "end: use another batcher, or do the work of the item there."
            )

    async def _room(self) -> None:
        """Until there is room, first come first served; the place is taken then."""
        loop = asyncio.get_running_loop()
        if loop is not self._taking:
            self._enter(loop)
        self._check_around()
        turn: asyncio.Future[None] = loop.create_future()
        self._line[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            self._line.pop(turn, None)
            if not turn.cancelled() and turn.exception() is None:  # the place had been given
                self._leave(1)
            raise

    def _leave(self, number: int) -> None:
        """So many items less; who waits for room comes in."""
        self._pending -= number
        while self._line and self._pending < self.max_pending:
            turn, _ = self._line.popitem(last=False)
            if not turn.done():
                self._pending += 1
                turn.set_result(None)
        if not self._pending and self._empty is not None:
            self._empty.set()
            self._empty = None

    # ── running ──

    def _begin(self, loop: asyncio.AbstractEventLoop) -> _Batch[T, R]:
        batch = self._open = _Batch()
        if self.max_wait_time > 0 and not (self._closed or self._hurries or hurried(loop)):
            batch.timer = loop.call_later(self.max_wait_time, self._time_over, batch, context=self._context)
        else:
            batch.timer = loop.call_soon(self._time_over, batch, context=self._context)
        return batch

    def _time_over(self, batch: _Batch[T, R]) -> None:
        if batch is self._open:
            self._due = True
            self._start()

    def _seal(self) -> None:
        """The open batch takes no more."""
        batch, self._open, self._due = self._open, None, False
        if batch is not None:
            if batch.timer is not None:
                batch.timer.cancel()
            self._ready.append(batch)
            self._start()

    def _start(self) -> None:
        """Run what can be run."""
        while len(self._running) < self.max_concurrency and (self._ready or self._due):
            if self._ready:
                self._run(self._ready.popleft())
            else:
                self._seal()

    def go(self) -> None:
        """Run what can be run now, whether it has waited long enough or not."""
        self._due = self._open is not None
        self._start()

    def _run(self, batch: _Batch[T, R]) -> None:
        number = batch.count()
        batch.drop_unwanted()
        if not batch.items:
            return self._leave(number)
        assert self._loop is not None
        task = self._loop.create_task(self._work(batch), name=f"batch {self.name}", context=self._context.copy())
        self._running[task] = batch
        task.add_done_callback(lambda ended: self._ended(ended, batch, number))

    async def _work(self, batch: _Batch[T, R]) -> None:
        _around.set((*_around.get(), cast("asyncio.Task[None]", asyncio.current_task())))
        try:
            found = self._operation(batch.items)
            if not isawaitable(found):
                raise BatchMismatch(
                    f"The batch operation of the batcher {self.name} has run, and returned a {type(found).__name__} "
                    "that nobody can await: make it an async function."
                )
            results = _checked(self.name, await found, len(batch.futures))
        except Exception as error:  # those who wait for the batch see it
            batch.refuse(error)
        else:
            batch.settle(results)

    def _ended(self, task: "asyncio.Task[None]", batch: _Batch[T, R], number: int) -> None:
        self._running.pop(task, None)
        if task.cancelled():
            batch.refuse(of_cancelled(task, f"A batch of the batcher {self.name} was cancelled before it had ended."))
        elif (error := task.exception()) is not None:
            batch.refuse(error)  # the loop is being left, as by Ctrl-C
        self._leave(number)
        self._start()

    # ── the end ──

    @property
    def pending(self) -> int:
        """How many items have no result yet; those that wait for room are not among them."""
        return self._pending

    async def aclose(self, timeout: float | None = None) -> None:
        """Take no more items, and finish what was added.

        What has not ended after `timeout` seconds is cancelled: its callers get `Unavailable`, or hear how the commit
        ended that it was in the middle of. What does not hear that is left behind, and its callers get
        `OutcomeUnknown`. Cancelled itself, it leaves the rest running.
        """
        check_seconds(f"the batcher {self.name}", timeout)
        busy = self._is_busy()
        self._closed, self._taking = True, None
        if busy:
            await self._flush(timeout)

    shutdown = aclose

    async def flush(self, timeout: float | None = None) -> None:
        """Run what was added now, and wait for it and for what comes meanwhile, as `aclose` does; it takes more items.

        The manager of the event loop does it at the stop.
        """
        check_seconds(f"the batcher {self.name}", timeout)
        if self._is_busy():
            self._hurries += 1
            try:
                await self._flush(timeout)
            finally:
                self._hurries -= 1

    def _is_busy(self) -> bool:
        """Whether there is something to finish. Raises `Misconfigured` where that cannot be waited for."""
        busy = self._loop is not None and not self._loop.is_closed() and bool(self._pending or self._line)
        if busy and self._loop is not asyncio.get_running_loop():
            raise Misconfigured(f"The batcher {self.name} belongs to another event loop: close it there.")
        return busy

    async def _flush(self, timeout: float | None) -> None:
        self._check_around()
        self.go()
        if not self._pending:
            return
        empty = self._empty = self._empty or asyncio.Event()
        if timeout is None:
            await empty.wait()
        else:
            await self._finished_within(timeout, empty)

    async def _finished_within(self, seconds: float, empty: asyncio.Event) -> None:
        try:
            async with clock.timeout(seconds):
                await empty.wait()
        except TimeoutError:
            self._abandon()
            if self._running:
                await asyncio.wait(list(self._running), timeout=LAST)
            self._leave_behind()

    def _leave_behind(self) -> None:
        """What does not hear that it is cancelled: nobody waits for it any more."""
        for task, batch in self._running.items():
            where = waiting(task.get_coro())
            batch.refuse(OutcomeUnknown(f"A batch of the batcher {self.name} was cancelled and does not end{where}."))

    def _abandon(self) -> None:
        """Cancel what runs, and refuse what waits."""
        error = Unavailable(f"The batcher {self.name} was closed before this item was worked on.")
        for turn in self._line:
            if not turn.done():
                turn.set_exception(twin(error))
        self._line.clear()
        waiting = [*self._ready, *([] if self._open is None else [self._open])]
        self._ready, self._open, self._due = deque(), None, False
        for task in self._running:
            task.cancel()
        for batch in waiting:
            batch.refuse(error)
            self._leave(batch.count())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncBatcher({self.name!r}, pending={self._pending})"


def _check(operation: Any, key: Any, size: Any, wait: Any, concurrency: Any, pending: Any) -> None:
    owner = "an AsyncBatcher"
    if not callable(operation):
        raise Misconfigured(f"batch_operation of {owner} is an async function of a list, not {operation!r}.")
    if _is_sync(operation):
        raise Misconfigured(
            f"batch_operation of {owner} is an async function, and {operation!r} is none: write `async def`, and what "
            "blocks there as `await uno.aio.in_thread(insert, rows)`."
        )
    require_function(owner, "The key", key)
    require_counts(owner, max_batch_size=size, max_concurrency=concurrency, max_pending=pending)
    require_numbers(owner, max_wait_time=wait)
    if size < 1 or concurrency < 1 or pending < 1 or not 0 <= wait < float("inf"):
        raise Misconfigured(
            f"max_batch_size, max_concurrency and max_pending of {owner} are 1 or more, max_wait_time 0 or more."
        )


def _is_sync(operation: Any) -> bool:
    """Whether it is a function that was written with `def`; of what else is none only the call can tell."""
    while isinstance(operation, partial | MethodType):
        operation = operation.func if isinstance(operation, partial) else operation.__func__
    is_written = isinstance(operation, FunctionType) and operation.__name__ != "<lambda>"
    return is_written and not hasattr(operation, "__wrapped__") and not sync.is_async(operation)


def _checked(name: str, results: Any, number: int) -> list[Any]:
    """One result for each item. Raises `BatchMismatch`."""
    if isinstance(results, str | bytes | Mapping | AbstractSet) or not hasattr(results, "__iter__"):
        raise BatchMismatch(
            f"The batch operation of the batcher {name} returned a {type(results).__name__}: return a list with one "
            "result for each item, in their order."
        )
    found = list(results)
    if len(found) != number:
        raise BatchMismatch(
            f"The batch operation of the batcher {name} returned {len(found)} results for {number} items: return one "
            "for each, in their order."
        )
    return found


def _settle(future: "asyncio.Future[Any]", result: Any) -> None:
    if future.done():
        return
    if not isinstance(result, BaseException):
        future.set_result(result)
    elif isinstance(result, asyncio.CancelledError | StopIteration):
        # A future takes neither for an error: the caller would seem to be cancelled, or to have come to an end.
        error = Unavailable(f"The work on the item was ended by {type(result).__name__}.")
        error.__cause__ = result
        future.set_exception(error)
    else:
        # What is given to several is each one's own.
        future.set_exception(twin(result))
