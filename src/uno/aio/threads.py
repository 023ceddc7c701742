"""A bounded pool of threads for work that computes, or that only blocks, with a queue that can be looked at."""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from uno import clock
from uno.errors import Misconfigured, Unavailable
from uno.resilience import Bulkhead
from uno.resilience.arguments import require_counts
from uno.sync import is_async

P = ParamSpec("P")
T = TypeVar("T")


class PoolClosed(Unavailable):
    """The pool has been closed and runs nothing more."""


@dataclass(frozen=True, slots=True)
class ThreadCall:
    """A call that runs in a thread of a pool, since `age` seconds."""

    function: str
    age: float


class ThreadPool:
    """Runs calls in at most `threads` threads; `max_waiting` more wait, first come first served.

    The others get `BulkheadFull`. Nobody waits for a thread past the deadline. A thread cannot be stopped: who is
    cancelled goes on at once, and the thread is free when its call has ended. Usable from any event loop.
    """

    def __init__(self, name: str = "work", *, threads: int | None = None, max_waiting: int = 1000) -> None:
        size = (os.cpu_count() or 1) if threads is None else threads
        require_counts("a ThreadPool", threads=size, max_waiting=max_waiting)
        if size < 1 or max_waiting < 0:
            raise Misconfigured("threads of a ThreadPool is 1 or more, and max_waiting 0 or more.")
        self.name = name
        self.threads = size
        self._places = Bulkhead(size, max_waiting, name=f"threads {name}")
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=f"uno.{name}")
        self._calls: dict[Future[Any], tuple[str, float]] = {}
        self._closed = False
        key = id(self)
        _known[key] = weakref.ref(self, lambda _: _known.pop(key, None))

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function(*args, **kwargs)` gives, called in a thread with a copy of the context.

        Raises `BulkheadFull` where too many wait, `TimedOut` where no thread was free in time, `PoolClosed`.
        """
        given: Any = function
        if not callable(given):
            if asyncio.iscoroutine(given):
                given.close()
            raise Misconfigured(f"A thread takes a function and its arguments, not its call, which gave {given!r}.")
        if is_async(function):
            raise Misconfigured(f"{_name(function)} is async: await it, threads are for what blocks.")
        self._require_open()
        await self._places.enter()
        call = partial(_called, function, args, kwargs)
        try:
            future = self._submit(call)
        except BaseException:
            self._places.leave()
            raise
        self._calls[future] = _name(function), clock.monotonic()
        future.add_done_callback(self._ended)
        found: T = await asyncio.wrap_future(future)
        return found

    def _submit(self, call: Callable[[], Any]) -> "Future[Any]":
        self._require_open()  # it may have been closed while this one waited
        try:
            return self._pool.submit(copy_context().run, call)
        except RuntimeError as error:  # in this moment, by another thread
            raise PoolClosed(f"The thread pool {self.name} has been closed.") from error

    def _require_open(self) -> None:
        if self._closed:
            raise PoolClosed(f"The thread pool {self.name} has been closed.")

    def _ended(self, future: "Future[Any]") -> None:
        self._calls.pop(future, None)
        self._places.leave()

    @property
    def running(self) -> int:
        """How many threads work now."""
        return self._places.running

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread now."""
        return self._places.waiting

    @property
    def calls(self) -> list[ThreadCall]:
        """What the threads are doing, the longest first."""
        now = clock.monotonic()
        return [ThreadCall(name, now - since) for name, since in list(self._calls.values())]

    def to_json(self) -> dict[str, Any]:
        """What it does, as JSON has it; ages in seconds."""
        return {
            "name": self.name,
            "threads": self.threads,
            "running": self.running,
            "waiting": self.waiting,
            "calls": [asdict(call) for call in self.calls],
        }

    def close(self) -> None:
        """Take nothing more; what runs comes to its end by itself."""
        self._closed = True
        self._pool.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ThreadPool({self.name!r}, threads={self.threads}, running={self.running}, waiting={self.waiting})"


def _called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        # A future cannot carry it: who waits would wait for ever.
        raise RuntimeError("What was called in a thread raised StopIteration.") from error


def _name(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


_lock = threading.Lock()
_shared: ThreadPool | None = None
# All there are, as long as somebody has them.
_known: dict[int, weakref.ref[ThreadPool]] = {}


def list_thread_pools() -> list[ThreadPool]:
    """All pools of the process that are open, or have not come to their end."""
    pools = [pool for held in list(_known.values()) if (pool := held()) is not None]
    return [pool for pool in pools if not pool._closed or pool.running]


def thread_figures() -> dict[str, float] | None:
    """Of all of them together: how many calls may run at a time (`limit`), are `running`, are `waiting`."""
    pools = list_thread_pools()
    if not pools:
        return None
    return {
        "limit": sum(pool.threads for pool in pools),
        "running": sum(pool.running for pool in pools),
        "waiting": sum(pool.waiting for pool in pools),
    }


def get_thread_pool() -> ThreadPool:
    """The pool of the process, with as many threads as there are processors; a new one after `close()`."""
    global _shared
    with _lock:
        if _shared is None or _shared._closed:
            _shared = ThreadPool()
        return _shared


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function(*args, **kwargs)` gives, called in a thread of the process's pool; see `ThreadPool.run`."""
    return await get_thread_pool().run(function, *args, **kwargs)


def _forked() -> None:
    """The threads are not there in a process that was forked."""
    global _shared, _lock
    _shared, _lock = None, threading.Lock()
    _known.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
