"""What is behind a handle of a lock: the lock of one event loop, and the hold of the task that has it."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

from uno import clock, sync
from uno.aio.database_lock import Held
from uno.aio.lines import Line
from uno.aio.named import Shared
from uno.resilience.cancels import older
from uno.telemetry.signals import emit


@dataclass(frozen=True, slots=True)
class Owner:
    """The task of this name has held the lock for so many `seconds`, and entered it `depth` times."""

    task: str
    seconds: float
    depth: int


class Owned(Protocol):
    """What `async with` has entered."""

    owner: asyncio.Task[Any]
    is_over: bool


T = TypeVar("T", bound=Owned)


class Entered(Generic[T]):
    """What `async with` on one handle has entered, by the task that did, the innermost last."""

    __slots__ = ("_theirs",)

    def __init__(self) -> None:
        self._theirs: dict[Any, list[T]] = {}

    def add(self, one: T) -> None:
        self._theirs.setdefault(one.owner, []).append(one)

    def ended(self, error: BaseException | None) -> T:
        """The one whose block ends now, with `error`, taken off."""
        key = holder = sync.holder()
        theirs = self._theirs.get(holder)
        if theirs and theirs[-1].owner is holder and not isinstance(error, GeneratorExit):
            found = theirs.pop()
        else:
            key, found = self._elsewhere(holder, error)
            self._theirs[key].remove(found)
        if not self._theirs[key]:
            del self._theirs[key]
        return found

    def _elsewhere(self, holder: object, error: BaseException | None) -> tuple[object, T]:
        """What was handed over to it; that of a generator may be ended by another task, long after its own."""
        entered = [(key, one) for key, theirs in self._theirs.items() for one in theirs]
        mine = [pair for pair in entered if pair[1].owner is holder]
        over = [pair for pair in entered if pair[1].is_over]
        if isinstance(error, GeneratorExit):  # maybe inside of a block of its own, which goes on
            mine = over or mine
        return (mine or over or entered)[-1]


class Hold:
    """A task has the lock, or is about to."""

    __slots__ = (
        "__weakref__",
        "_blocks",
        "_family",
        "_told",
        "depth",
        "held",
        "is_local",
        "is_lost",
        "is_over",
        "lock",
        "owner",
        "since",
    )

    def __init__(self, lock: "Lock", family: "Family", owner: asyncio.Task[Any]) -> None:
        self.lock = lock
        # While it is held it is not forgotten, though nobody may have a handle.
        self._family = family
        self.owner = owner
        self.since = 0.0
        self.depth = 1
        self.is_over = False
        # Whether others of this event loop wait for it here.
        self.is_local = True
        # In the database, where it does not end with somebody else's transaction.
        self.held: Held | None = None
        self.is_lost = False
        # The tasks in whose `async with` it is, and how often each had been cancelled before.
        self._blocks: list[tuple[asyncio.Task[Any], int]] = []
        # The one that was cancelled when it was lost.
        self._told: asyncio.Task[Any] | None = None

    def lose(self) -> None:
        """It is not in the database any more: interrupt the innermost block."""
        if self.is_over or self.is_lost:
            return
        self.is_lost = True
        emit("lock.lost", lock=self.lock.shown, owner=self.owner.get_name())
        if self._blocks:
            self._told = self._blocks[-1][0]
            self._told.cancel()

    def expire(self) -> None:
        """It ends with its transaction: it is to be taken anew, and a block that goes on has it no more."""
        if not self.is_over:
            self.is_lost = True
            self.lock.expired.add(self.owner)
            self.end()

    def enter_block(self) -> None:
        task = asyncio.current_task()
        self._blocks.append((task or self.owner, 0 if task is None else older(task)))

    def leave_block(self, error: BaseException | None) -> bool:
        """Whether it was lost, and `error` is none, or the interruption that this made."""
        task, counted = self._blocks.pop()
        if not self.is_lost:
            return False
        if task is not self._told:
            return error is None
        self._told = None
        mine = task.uncancel() <= counted
        return error is None or (mine and isinstance(error, asyncio.CancelledError))

    def hand_over(self, owner: asyncio.Task[Any]) -> None:
        """It is of this task from now on, whose caller does not wait for it any more."""
        if not self.is_over and owner is not self.owner:
            self.owner.remove_done_callback(self.lock._owner_ended)
            self.owner = owner
            owner.add_done_callback(self.lock._owner_ended)

    def leave(self) -> bool:
        """Whether that was the last time."""
        self.depth -= 1
        return self.depth == 0 and not self.is_over

    def end(self) -> None:
        """The next one may have it."""
        self.is_over = True
        self.lock.left(self)

    async def give_back(self) -> None:
        """The same, first in the database."""
        self.is_over = True
        try:
            if self.held is not None:
                await self.held.release()
        finally:
            self.end()

    def end_soon(self) -> None:
        """The same where nobody can wait for it."""
        if self.held is None:
            self.end()
            return
        self.is_over = True
        task = asyncio.get_running_loop().create_task(self.give_back(), name=f"{self.lock.shown} is given back")
        self.lock.ending.add(task)
        task.add_done_callback(self.lock.ending.discard)


class Lock:
    """The lock itself, in one event loop."""

    __slots__ = ("ending", "expired", "hold", "inner", "line", "shown")

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.inner = asyncio.Lock()
        self.line = Line()
        self.hold: Hold | None = None
        # The tasks whose hold has ended with its transaction, until they take it anew.
        self.expired: WeakSet[asyncio.Task[Any]] = WeakSet()
        # What gives it back while nobody waits for that.
        self.ending: set[asyncio.Task[None]] = set()

    def hold_of(self, runner: object) -> Hold | None:
        """Its hold, unless that is about to be given back."""
        hold = self.hold
        return None if hold is None or hold.owner is not runner or hold.is_over else hold

    async def wait(self, seconds: float | None) -> None:
        """Until this task is the one of its event loop that may have it."""
        if self.line or self.inner.locked():
            await self.line.wait(self.inner.acquire, seconds, partial(self.late, seconds))
        else:
            await self.inner.acquire()

    def taken(self, hold: Hold) -> None:
        self.hold = hold
        if hold.held is not None:
            self.expired.discard(hold.owner)
        hold.since = clock.monotonic()
        sync.keep(hold)
        hold.owner.add_done_callback(self._owner_ended)

    def left(self, hold: Hold) -> None:
        hold.owner.remove_done_callback(self._owner_ended)
        if self.hold is hold:
            self.hold = None
        if hold.is_local:
            self.inner.release()

    def _owner_ended(self, owner: asyncio.Task[Any]) -> None:
        hold = self.hold
        if hold is not None and hold.owner is owner and not hold.is_over:
            emit("lock.abandoned", lock=self.shown, owner=owner.get_name())
            hold.end_soon()

    def late(self, seconds: float | None = None) -> str:
        """What is said to who has waited in vain."""
        within = "before the deadline" if seconds is None else f"within {seconds:g} s"
        who = self.owner
        by = "" if who is None else f"; the task {who.task} has held it for {who.seconds:.3g} s"
        others = len(self.line) - 1
        return f"{self.shown} was not free {within}{by}{f', and {others} more wait' if others > 0 else ''}."

    @property
    def owner(self) -> Owner | None:
        hold = self.hold
        if hold is None or hold.is_over or hold.owner.done():
            return None
        return Owner(hold.owner.get_name(), clock.monotonic() - hold.since, hold.depth)


class Family(Shared):
    """The locks of one name: the one of this event loop, or one for each database."""

    __slots__ = ("locks", "own", "shown")

    def __init__(self, settings: object, shown: str) -> None:
        super().__init__(settings)
        self.shown = shown
        self.locks: dict[object, Lock] = {}
        self.own = self.of(None) if settings == "process" else Lock(shown)

    def of(self, key: object) -> Lock:
        found = self.locks.get(key)
        if found is None:
            found = self.locks[key] = Lock(self.shown)
        return found
