"""A pool of connections, for things that bring none of their own."""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Generic, TypedDict, TypeVar, Unpack, overload

from uno import clock
from uno.aio.ending import end_within
from uno.aio.lines import check_seconds, limited
from uno.aio.shield import to_the_end
from uno.aio.verbs import LAST, done, waiting, within
from uno.errors import Misconfigured, Unavailable
from uno.resilience.alarm import has_rung
from uno.resilience.arguments import require_counts, require_function, require_numbers
from uno.resilience.deadline import remaining
from uno.telemetry.signals import emit

T = TypeVar("T")
# What opens a connection, and what is done with one, async or not. Where either may be, `OpensLater` is asked first:
# what has to be awaited is no connection.
OpensLater = Callable[[], Awaitable[T]]
Opens = Callable[[], T]
Uses = Callable[[T], object]
# Seconds that closing one connection may take.
_CLOSING = 5.0
# What has a pool itself: the package it comes from, and what only such a thing can do.
_POOLS = (("sqlalchemy", "dispose"), ("uno", "pool_use"), ("asyncpg", "get_idle_size"))


class ConnectionPoolClosed(Misconfigured, RuntimeError):
    """The pool has been closed and gives no connection any more."""


class PoolSettings(TypedDict, Generic[T], total=False):
    """What else a pool is told; times are seconds."""

    validate_func: Uses[T] | None
    max_size: int
    min_size: int
    max_idle: int
    ttl: float
    validation_interval: float
    retry_backoff: float


class Pooled(Generic[T]):
    """A connection, since when it is open, and when it was last known to work; on `clock.monotonic()`."""

    __slots__ = ("checked", "connection", "opened")

    def __init__(self, connection: T, now: float) -> None:
        self.connection = connection
        self.opened = self.checked = now


def _error_of(task: "asyncio.Task[Any]") -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


class ConnectionPool(Generic[T]):
    """Up to `max_size` connections that `factory()` opens and `close_func(connection)` closes, either async or not.

    `min_size` of them are opened at the start; up to `max_idle` (or `min_size`, if that is more) wait for the next
    caller, the others are closed when they are given back. After `ttl` seconds a connection is not used again. One that
    nobody has looked at for `validation_interval` seconds is asked by `validate_func(connection)`, and where that is
    false or raises, closed and replaced. After a failure no other connection is opened for `retry_backoff` seconds:
    who needs one gets `Unavailable`.

        async with pool.connection() as connection: ...

    It belongs to one event loop. What has a pool already, as an SQLAlchemy engine has, is refused.
    """

    @overload
    def __init__(
        self, name: str, factory: OpensLater[T], close_func: Uses[T] | None = None, **settings: Unpack[PoolSettings[T]]
    ) -> None: ...

    @overload
    def __init__(
        self, name: str, factory: Opens[T], close_func: Uses[T] | None = None, **settings: Unpack[PoolSettings[T]]
    ) -> None: ...

    def __init__(
        self,
        name: str,
        factory: Callable[[], Any],
        close_func: Callable[[T], Any] | None = None,
        validate_func: Callable[[T], Any] | None = None,
        max_size: int = 10,
        min_size: int = 0,
        max_idle: int = 2,
        ttl: float = 60.0,
        validation_interval: float = 30.0,
        retry_backoff: float = 1.0,
    ) -> None:
        owner = f"the pool {name!r}"
        if not callable(factory):
            raise Misconfigured(f"factory of {owner} is a function that opens a connection, not {factory!r}.")
        require_function(owner, "close_func", close_func)
        require_function(owner, "validate_func", validate_func)
        require_counts(owner, max_size=max_size, min_size=min_size, max_idle=max_idle)
        require_numbers(owner, ttl=ttl, validation_interval=validation_interval, retry_backoff=retry_backoff)
        lowest = min(max_idle, validation_interval, retry_backoff)
        if not 0 <= min_size <= max_size or max_size < 1 or lowest < 0 or not ttl > 0:
            raise Misconfigured(
                f"max_size of {owner} is 1 or more, min_size between 0 and that, ttl above 0; max_idle, "
                "validation_interval and retry_backoff are 0 or more."
            )
        self.name = name
        self.factory = factory
        self.close_func = close_func
        self.validate_func = validate_func
        self.max_size = max_size
        self.min_size = min_size
        self.max_idle = max_idle
        self.ttl = ttl
        self.validation_interval = validation_interval
        self.retry_backoff = retry_backoff
        self._loop: asyncio.AbstractEventLoop | None = None
        # The one used last is used next, so that those not needed grow old.
        self._idle: deque[Pooled[T]] = deque()
        # By identity: connections may be equal, or have no hash.
        self._used: dict[int, Pooled[T]] = {}
        self._open_ids: set[int] = set()
        # Who holds a place may have a connection: so there are never more than places.
        self._places = asyncio.Semaphore(max_size)
        self._waiting = self._held = 0
        self._is_closed = False
        self._returned = asyncio.Event()
        self._began = clock.monotonic()
        self._retry_at = float("-inf")
        self._created = self._closed = self._errors = self._in_a_row = self._invalid = 0

    # ── taking and giving back ──

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[T]:
        """A connection for a block.

        Left by an error it is asked whether it still works before anybody else gets it; without `validate_func`, or
        cancelled in the middle of something, it is closed.
        """
        taken = await self.acquire(timeout)
        try:
            yield taken
        except BaseException as error:
            doubtful = isinstance(error, Exception) and self.validate_func is not None
            await self._give_back(taken, doubtful=doubtful, broken=not doubtful)
            raise
        await self._give_back(taken)

    async def acquire(self, timeout: float | None = None) -> T:
        """A connection, to be given to `release` afterwards; waits for `timeout` seconds, and not past the deadline.

        First come, first served. Raises `TimedOut`, `Unavailable` where none can be opened, and after `close`
        `ConnectionPoolClosed`, which is also a `RuntimeError`.
        """
        check_seconds("acquire()", timeout)
        self._enter_loop()
        limits = [seconds for seconds in (timeout, remaining()) if seconds is not None]
        if not limits:
            return await self._acquire()
        seconds = min(limits)
        return await limited(self._acquire, lambda: self._late(seconds), seconds)

    async def release(self, connection: T) -> None:
        """Give it back. Raises `Misconfigured` for one that was not taken from here, or was given back."""
        await self._give_back(connection)

    async def _acquire(self) -> T:
        await self._enter()
        try:
            self._refuse_closed()
            pooled = await self._kept(await self._usable() or await self._open())
        except BaseException:
            self._leave()
            raise
        self._used[id(pooled.connection)] = pooled
        return pooled.connection

    async def _enter(self) -> None:
        """Take a place, as soon as there is one."""
        self._waiting += 1
        try:
            await self._places.acquire()
        except BaseException:
            self._waiting -= 1
            await self._close_surplus()
            raise
        self._waiting -= 1
        self._held += 1

    def _leave(self) -> None:
        self._held -= 1
        self._places.release()

    async def _usable(self) -> Pooled[T] | None:
        """One that waits and works; those that do not are closed."""
        while self._idle:
            pooled = self._idle.pop()
            usable = False
            try:
                usable = not self._is_old(pooled) and await self._works(pooled)
            finally:
                if not usable:
                    await self._close(pooled)
            if usable:
                return pooled
        return None

    async def _works(self, pooled: Pooled[T]) -> bool:
        if self.validate_func is None or clock.monotonic() - pooled.checked < self.validation_interval:
            return True
        try:
            works = self.validate_func(pooled.connection)
            works = bool(await works if inspect.isawaitable(works) else works)
        except Exception:  # that is the answer; the figures count it
            works = False
        pooled.checked = clock.monotonic()
        self._invalid += not works
        return works

    async def _open(self) -> Pooled[T]:
        left = self._retry_at - clock.monotonic()
        if left > 0:
            text = f"The pool {self.name!r} could not open a connection; it tries again in {left:.1f} s."
            raise Unavailable(text, retry_after=left)
        try:
            connection: T = await done(self.factory)
        except Misconfigured:
            raise
        except asyncio.CancelledError:
            # A peer that hangs. Nobody else has to wait for that: this caller may have had little time.
            if has_rung():
                self._failed("it took longer than its caller could wait")
            raise
        except Exception as error:
            self._failed(repr(error))
            self._retry_at = clock.monotonic() + self.retry_backoff
            text = f"The pool {self.name!r} cannot open a connection: {error or type(error).__name__}"
            raise Unavailable(text, retry_after=self.retry_backoff) from error
        self._refuse_pools(connection)
        self._refuse_known(connection)
        self._open_ids.add(id(connection))
        self._created += 1
        self._in_a_row = 0
        return Pooled(connection, clock.monotonic())

    def _failed(self, error: str) -> None:
        self._errors += 1
        self._in_a_row += 1
        emit("pool.connect_failed", pool=self.name, error=error)

    async def _kept(self, pooled: Pooled[T]) -> Pooled[T]:
        """Nobody would close what was opened while the pool was closed."""
        if self._is_closed:
            await self._close(pooled)
        self._refuse_closed()
        return pooled

    async def _give_back(self, connection: T, *, doubtful: bool = False, broken: bool = False) -> None:
        pooled = self._used.pop(id(connection), None)
        if pooled is None and self._is_closed:
            return  # it was cut off
        if pooled is None:
            raise Misconfigured(
                f"This connection is not one that was taken from the pool {self.name!r}, or it was given back before."
            )
        if doubtful:
            pooled.checked = float("-inf")
        try:
            if broken or self._is_closed or self._is_old(pooled) or not self._has_room():
                await self._close(pooled)
            else:
                self._idle.append(pooled)
        finally:
            self._leave()
            if not self._used:
                self._returned.set()

    def _has_room(self) -> bool:
        return len(self._idle) < self._most_idle()

    def _most_idle(self) -> int:
        """Each of those who wait takes one."""
        return max(self.max_idle, self.min_size) + self._waiting

    async def _close_surplus(self) -> None:
        """What was kept for somebody who waits no more."""
        while len(self._idle) > self._most_idle():
            await self._close(self._idle.popleft())

    def _is_old(self, pooled: Pooled[T]) -> bool:
        return clock.monotonic() - pooled.opened >= self.ttl

    async def _close(self, pooled: Pooled[T]) -> None:
        """Who is cancelled meanwhile waits for it: half closed it would be of no use, and open."""
        self._closed += 1
        self._open_ids.discard(id(pooled.connection))
        if self.close_func is not None:
            await to_the_end(self._closing(self.close_func, pooled.connection))

    async def _closing(self, close: Callable[[T], Any], connection: T) -> None:
        what = f"Closing a connection of the pool {self.name!r}"
        try:
            await within(done(lambda: close(connection)), _CLOSING, what, "it is left to the server")
        except Exception as error:  # it is of no use any more either way; the log says so
            emit("pool.close_failed", pool=self.name, error=repr(error))

    # ── its life ──

    async def start(self) -> None:
        """Open `min_size` connections, also after a `close` that cut nobody off. Raises `Unavailable` where that fails;
        then none of them is open."""
        self._enter_loop()
        if not self._held and not self._waiting:
            self._reopen()
        self._refuse_closed()
        try:
            while self._missing() > 0:
                await self._open_missing()
        except BaseException:
            await self._close_idle()
            raise

    def _reopen(self) -> None:
        if self._is_closed:
            # Those who waited when it was closed were given places that there are not.
            self._places, self._is_closed = asyncio.Semaphore(self.max_size), False

    def _missing(self) -> int:
        # Who holds a place has one, or opens it.
        return self.min_size - len(self._idle) - self._held

    async def _open_missing(self) -> None:
        await self._enter()
        try:
            self._refuse_closed()
            # Who had the place before may have left one.
            if self._missing() >= 0:
                self._idle.append(await self._kept(await self._open()))
        finally:
            self._leave()

    async def close(self, timeout: float = 5.0) -> None:
        """Close the connections that wait, and those in use when they are given back, or after `timeout` seconds.

        Who waits for one gets `ConnectionPoolClosed`. Closing it twice is allowed.
        """
        require_numbers("close()", timeout=timeout)
        self._is_closed = True
        # Nobody gets a connection now, so that they need no place.
        for _ in range(self._waiting):
            self._places.release()
        await self._close_idle()
        if not self._used:
            return
        self._returned.clear()
        waiting = asyncio.create_task(self._returned.wait())
        try:
            await asyncio.wait([waiting], timeout=timeout)
        finally:
            await end_within(waiting, LAST)
            await self._cut_off()

    async def _close_idle(self) -> None:
        await self._close_all([self._idle.pop() for _ in range(len(self._idle))])

    async def _cut_off(self) -> None:
        if self._used:
            emit("pool.cut_off", pool=self.name, connections=len(self._used))
        await self._close_all([self._used.popitem()[1] for _ in range(len(self._used))])

    async def _close_all(self, pooled: list[Pooled[T]]) -> None:
        """At the same time: one that hangs keeps none of the others open."""
        self._closed += len(pooled)
        self._open_ids.difference_update(id(one.connection) for one in pooled)
        if self.close_func is None or not pooled:
            return
        closing = [asyncio.create_task(done(partial(self.close_func, one.connection))) for one in pooled]
        try:
            await asyncio.wait(closing, timeout=_CLOSING)
        except asyncio.CancelledError:  # whoever waits has no more time; half closed they would be open
            await asyncio.wait(closing, timeout=LAST / 2)
            raise
        finally:
            await self._end_closing(closing)

    async def _end_closing(self, closing: "list[asyncio.Task[Any]]") -> None:
        """What fails or hangs is of no use any more either way; the log says so."""
        late = [task for task in closing if not task.done()]
        errors = [error for task in closing if task not in late and (error := _error_of(task))]
        hung = [f"it took too long{waiting(task.get_coro())}; it is left to the server" for task in late]
        for text in [*map(repr, errors), *hung]:
            emit("pool.close_failed", pool=self.name, error=text)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=LAST / 2)

    async def __aenter__(self) -> "ConnectionPool[T]":
        await self.start()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self.close()

    # ── how it is ──

    def get_metrics(self) -> dict[str, Any]:
        """Its figures; `uptime` in seconds since it was made."""
        return {
            "name": self.name,
            "total_connections": len(self._idle) + len(self._used),
            "in_use_connections": len(self._used),
            "idle_connections": len(self._idle),
            "waiting": self._waiting,
            "max_size": self.max_size,
            "min_size": self.min_size,
            "created_connections": self._created,
            "closed_connections": self._closed,
            "connection_errors": self._errors,
            "failures_in_a_row": self._in_a_row,
            "validation_failures": self._invalid,
            "uptime": round(clock.monotonic() - self._began, 3),
        }

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def _state(self) -> str:
        return f"{len(self._used)} of {self.max_size} are in use, {self._waiting} wait"

    def _late(self, seconds: float) -> str:
        return f"The pool {self.name!r} had no connection within {seconds:g} s: {self._state()}."

    def __repr__(self) -> str:
        return f"ConnectionPool({self.name!r}, {self._state()})"

    # ── what is wrong ──

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise Misconfigured(
                f"The pool {self.name!r} is used in another event loop than before, to which its connections belong: "
                "make a pool for each."
            )

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise ConnectionPoolClosed(f"The pool {self.name!r} is closed; make another one.")

    def _refuse_pools(self, connection: T) -> None:
        kind = type(connection)
        home = kind.__module__.partition(".")[0]
        if any(home == owner and hasattr(kind, verb) for owner, verb in _POOLS):
            raise Misconfigured(
                f"The pool {self.name!r} was given a {kind.__name__}, which has a pool itself: use that, and set its "
                "size there, as by UNO_DB_POOL_SIZE."
            )

    def _refuse_known(self, connection: T) -> None:
        if id(connection) in self._open_ids:
            raise Misconfigured(
                f"The factory of the pool {self.name!r} gave a {type(connection).__name__} which it had given before, "
                "and which is still open: each call has to open another connection."
            )
