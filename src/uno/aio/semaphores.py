"""`AsyncSemaphore`: some tasks at a time."""

import asyncio
from functools import partial
from types import TracebackType
from typing import Any, Self

from uno import clock, sync
from uno.aio.holds import Entered, Owner
from uno.aio.lines import Line, Waiter, check_seconds, task_of
from uno.aio.named import Named, Shared
from uno.errors import Misconfigured
from uno.resilience.arguments import require_counts
from uno.telemetry.signals import emit


class _Permit:
    """A task has one of them."""

    __slots__ = ("__weakref__", "_permits", "is_over", "owner", "since")

    def __init__(self, permits: "_Permits", owner: asyncio.Task[Any]) -> None:
        self._permits = permits
        self.owner = owner
        self.since = clock.monotonic()
        self.is_over = False

    def hand_over(self, owner: asyncio.Task[Any]) -> None:
        """It is of this task from now on, whose caller does not wait for it any more."""
        if not self.is_over:
            self._permits.forget(self)
            self.owner = owner
            self._permits.note(self)


class _Permits(Shared):
    """The semaphore itself, in one event loop."""

    __slots__ = ("inner", "line", "shown", "taken", "value")

    def __init__(self, value: int, shown: str) -> None:
        super().__init__(value)
        self.shown = shown
        self.value = value
        self.inner = asyncio.Semaphore(value)
        self.line = Line()
        self.taken: dict[asyncio.Task[Any], list[_Permit]] = {}

    @property
    def count(self) -> int:
        return sum(map(len, self.taken.values()))

    async def take(self, owner: asyncio.Task[Any], seconds: float | None) -> _Permit:
        if self.line or self.inner.locked():
            await self.line.wait(self.inner.acquire, seconds, partial(self._late, seconds))
        else:
            await self.inner.acquire()
        permit = _Permit(self, owner)
        self.note(permit)
        sync.keep(permit)
        return permit

    def note(self, permit: _Permit) -> None:
        """Its owner has it."""
        theirs = self.taken.get(permit.owner)
        if theirs is None:
            theirs = self.taken[permit.owner] = []
            permit.owner.add_done_callback(self._owner_ended)
        theirs.append(permit)

    def forget(self, permit: _Permit) -> None:
        """Its owner does not have it any more."""
        theirs = self.taken[permit.owner]
        theirs.remove(permit)
        if not theirs:
            del self.taken[permit.owner]
            permit.owner.remove_done_callback(self._owner_ended)

    def give_back(self, permit: _Permit) -> None:
        if permit.is_over:
            return
        permit.is_over = True
        self.forget(permit)
        self.inner.release()

    def _owner_ended(self, owner: asyncio.Task[Any]) -> None:
        permits = list(self.taken.get(owner, ()))
        if permits:
            emit("lock.abandoned", lock=self.shown, owner=owner.get_name())
        for permit in permits:
            self.give_back(permit)

    def _late(self, seconds: float | None) -> str:
        within = "before the deadline" if seconds is None else f"within {seconds:g} s"
        others = len(self.line) - 1
        more = f", and {others} more wait" if others > 0 else ""
        return f"{self.shown} had no place {within}; {self.count} of {self.value} are taken{more}."


class AsyncSemaphore(Named[_Permits]):
    """`async with AsyncSemaphore(5, "mail"):` is entered by five tasks at a time, first come, first served.

    All semaphores of one name in one event loop are one, and have one `value`; without a name each is its own. What a
    task has is its own to give back, and is free if the task ends before that. `timeout` is how many seconds
    `async with` waits before it raises `TimedOut`, None for ever; nobody waits past the deadline.
    """

    __slots__ = ("_entered", "timeout", "value")

    kind = "AsyncSemaphore"

    def __init__(self, value: int = 1, name: str | None = None, *, timeout: float | None = None) -> None:
        super().__init__(name)
        require_counts("an AsyncSemaphore", value=value)
        if value < 1:
            raise Misconfigured(f"The value of an AsyncSemaphore is 1 or more, not {value!r}.")
        check_seconds("an AsyncSemaphore", timeout)
        self.value = int(value)
        self.timeout = timeout
        self._entered: Entered[_Permit] = Entered()
        self._find_early()

    def _make(self) -> _Permits:
        return _Permits(self.value, self.shown)

    def _settings(self) -> int:
        return self.value

    async def acquire(self, timeout: float | None = None) -> bool:
        """Wait for a place, for up to `timeout` seconds; give it back with `release()`. Raises `TimedOut`."""
        check_seconds("acquire()", timeout)
        await self._shared.take(task_of(self.shown), timeout)
        return True

    def release(self) -> None:
        """Give a place back. Raises `Misconfigured` where this task has none."""
        permits = self._shared
        theirs: Any = permits.taken.get(sync.holder())  # type: ignore[call-overload]
        if not theirs:
            raise Misconfigured(
                f"This task has no place of {self.shown} to give back: call `acquire()` before, in the same task. (On "
                "Python 3.11 asyncio.wait_for() acquires in another one; write `acquire(timeout=…)`.)"
            )
        permits.give_back(theirs[-1])

    async def __aenter__(self) -> Self:
        self._entered.add(await self._shared.take(task_of(self.shown), self.timeout))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shared.give_back(self._entered.ended(error))

    def locked(self) -> bool:
        """Whether one would have to wait."""
        return self._shared.inner.locked()

    @property
    def owners(self) -> tuple[Owner, ...]:
        """The tasks that have places, since how many seconds, and how many."""
        now = clock.monotonic()
        taken = self._shared.taken
        return tuple(Owner(task.get_name(), now - theirs[0].since, len(theirs)) for task, theirs in taken.items())

    @property
    def waiting(self) -> tuple[Waiter, ...]:
        """The tasks that wait, the first in front, and since how many seconds."""
        return self._shared.line.waiters
