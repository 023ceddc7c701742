"""`AsyncLock`: one task at a time, in an event loop or for all processes that share a database."""

import asyncio
from functools import partial
from types import TracebackType
from typing import Literal, Self, get_args

from uno import clock, sync
from uno.aio.database_lock import HasLocks, Place, place_of
from uno.aio.holds import Entered, Family, Hold, Lock, Owner
from uno.aio.lines import Waiter, check_seconds, task_of
from uno.aio.named import Named
from uno.aio.shield import to_the_end
from uno.errors import Misconfigured, OutcomeUnknown, TimedOut, Unavailable

Scope = Literal["process", "database"]
_SCOPES = get_args(Scope)


class LockLost(OutcomeUnknown):
    """The connection or transaction that held it is gone, so that others may have it: what it guarded was interrupted.

    Or had come to its end, and what it has written by then is stored: a retry does not do it again.
    """


class AsyncLock(Named[Family]):
    """`async with AsyncLock("mail"):` is entered by one task at a time.

    All locks of one name in one event loop are one lock; without a name each is its own. The task that has it may
    enter it again, and has it until it has left as often. If it ends before that, the lock is free. `timeout` is how
    many seconds `async with` waits before it raises `TimedOut`, None for ever; nobody waits past the deadline.

    With `scope="database"` it is one lock for all processes that use the same PostgreSQL database, an advisory lock
    of a transaction. In a unit of work of that database it is of its transaction, and held until that ends, or is
    rolled back to a savepoint before it: a block that goes on after that ends with `LockLost`. Otherwise it has a
    connection of its own while it is held, or waited for in the database; `database` says of which. If that
    connection is lost, the block is interrupted, and ends with `LockLost`, an `OutcomeUnknown`.
    """

    __slots__ = ("_entered", "database", "scope", "timeout")

    kind = "AsyncLock"

    def __init__(
        self,
        name: str | None = None,
        *,
        scope: Scope = "process",
        database: HasLocks | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(name)
        if scope not in _SCOPES:
            raise Misconfigured(f'The scope of an AsyncLock is "process" or "database", not {scope!r}.')
        if scope == "database" and name is None:
            raise Misconfigured('A lock with scope="database" needs a name, by which other processes know it.')
        if isinstance(database, str):
            raise Misconfigured(
                "The database of an AsyncLock is a uno.data.Database, not a str: AsyncLock(…, database=Database(url))."
            )
        if database is not None and scope != "database":
            raise Misconfigured('A lock in a database has scope="database": AsyncLock(name, scope="database", …).')
        check_seconds("an AsyncLock", timeout)
        self.scope = scope
        self.database = database
        self.timeout = timeout
        self._entered: Entered[Hold] = Entered()
        self._find_early()

    def _make(self) -> Family:
        return Family(self.scope, self.shown)

    def _settings(self) -> str:
        return self.scope

    async def acquire(self, timeout: float | None = None) -> bool:
        """Wait until this task has the lock, for up to `timeout` seconds; give it back with `release()`.

        Raises `TimedOut`, and in a database what databases raise.
        """
        check_seconds("acquire()", timeout)
        await self._acquire(timeout)
        return True

    async def _acquire(self, seconds: float | None) -> Hold:
        family, task = self._shared, task_of(self.shown)
        place = None if self.scope == "process" else place_of(self.database)
        lock = family.own if place is None else family.of(place.key)
        found = lock.hold_of(task)
        if found is not None:
            if found.is_lost:
                raise self._lost(found)
            found.depth += 1
            return found
        found = Hold(lock, family, task)
        if place is None:
            await lock.wait(seconds)
        else:
            await self._take(place, lock, found, seconds)
        lock.taken(found)
        if found.is_lost:
            await to_the_end(found.give_back())
            raise Unavailable(f"{self.shown} was lost with its connection to the database as it was taken.")
        return found

    async def _take(self, place: Place, lock: Lock, hold: Hold, seconds: float | None) -> None:
        """Take it in the database, where only one task of each process waits."""
        end = None if seconds is None else clock.monotonic() + seconds
        hold.is_local = not place.joins
        if hold.is_local:
            await lock.wait(seconds)
        left = None if end is None else max(0.0, end - clock.monotonic())
        take = partial(place.take, str(self.name), left, hold.lose if hold.is_local else hold.expire)
        try:
            hold.held = await lock.line.wait(take, None, lock.late)
        except BaseException as error:
            if hold.is_local:
                lock.inner.release()
            if type(error) is TimedOut and not isinstance(error.__cause__, asyncio.CancelledError):
                raise TimedOut(f"{lock.late(seconds)} {error}") from error
            raise

    def release(self) -> None:
        """Give it back, once for each `acquire()`. In a database it is free a moment later; where it has ended with its
        unit of work, nothing is left to do.

        Raises `Misconfigured` where this task does not have it, `LockLost` where it has lost it.
        """
        runner = sync.holder()
        hold = next((hold for lock in self._locks if (hold := lock.hold_of(runner)) is not None), None)
        if hold is None:
            if any(runner in lock.expired for lock in self._locks):
                return
            raise Misconfigured(
                f"{self.shown} is not held by this task: call `acquire()` before, in the same task. (On Python "
                "3.11 asyncio.wait_for() acquires in another one; write `acquire(timeout=…)`.)"
            )
        if hold.leave():
            hold.end_soon()
        if hold.is_lost:
            raise self._lost(hold)

    async def __aenter__(self) -> Self:
        hold = await self._acquire(self.timeout)
        if hold.held is not None:
            hold.enter_block()
        self._entered.add(hold)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hold = self._entered.ended(error)
        lost = hold.held is not None and hold.leave_block(error)
        if hold.leave():
            if hold.held is None:
                hold.end()
            else:
                await to_the_end(hold.give_back())
        if lost:
            raise self._lost(hold) from error

    def _lost(self, hold: Hold) -> LockLost:
        how = "was lost with its connection to the database" if hold.is_local else "has ended with its transaction"
        where = "" if hold.is_local else " (Its block is to end inside of the unit of work, and not to commit that.)"
        return LockLost(
            f"{self.shown} {how}, so that others may have had it. What it guarded may be done, in part or in all: "
            f"look before it is done again.{where}"
        )

    @property
    def _locks(self) -> list[Lock]:
        """Those that this one may be: without a `database`, in each that is used."""
        locks = self._shared.locks
        found = list(locks.values()) if self.database is None else [locks.get(self.database)]
        return [lock for lock in found if lock is not None]

    def locked(self) -> bool:
        """Whether a task of this event loop has it."""
        return self.owner_info is not None

    @property
    def owner_info(self) -> Owner | None:
        """Which task of this event loop has it, since how many seconds, and how often it has entered it."""
        return next((lock.owner for lock in self._locks if lock.owner is not None), None)

    @property
    def waiting(self) -> tuple[Waiter, ...]:
        """The tasks of this event loop that wait for it, the first in front, and since how many seconds."""
        return tuple(waiter for lock in self._locks for waiter in lock.line.waiters)
