"""Single flight: what many ask for at the same time is loaded once.

A flight is a task of its own, in a context of its own (`context.detached`): whoever waits may give up, and nobody
else notices; what it loads is no part of the unit of work of who asked first.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Hashable, Iterable
from contextvars import ContextVar
from itertools import count
from types import TracebackType
from typing import Any

from uno import context
from uno.aio.lines import limited
from uno.aio.outcomes import for_one, twin
from uno.aio.verbs import LAST, waiting
from uno.errors import Misconfigured, OutcomeUnknown
from uno.resilience import deadline
from uno.resilience.commits import of_cancelled

Loop = asyncio.AbstractEventLoop
# What is made of the outcome of a flight when it lands: a value, or an error.
Landed = Callable[["Flight", Any, BaseException | None], None]
_numbers = count(1)
# The flights that this code is part of.
_aboard: ContextVar[tuple["Flight", ...]] = ContextVar("uno.aio.flights", default=())


class Flight:
    """One load under way. `dropped`: what it brings may be outdated, and is for those who wait only."""

    __slots__ = ("_error", "_over", "_trace", "_value", "dropped", "key", "needs", "number", "tags", "task")

    def __init__(self, key: Hashable, tags: tuple[str, ...] | None) -> None:
        self.key = key
        # None: known once the value is.
        self.tags = tags
        self.number = next(_numbers)
        self.dropped = False
        # The flights that its load waits for.
        self.needs: list[Flight] = []
        self.task: asyncio.Task[Any] | None = None
        self._over = asyncio.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        self._trace: TracebackType | None = None

    def give(self, value: Any, error: BaseException | None = None) -> None:
        """What those who wait get."""
        self._value, self._error = value, error
        self._trace = None if error is None else error.__traceback__

    def land(self) -> None:
        self._over.set()

    async def over(self) -> None:
        """Until it has landed. Raises `Misconfigured` where it waits for who asks, `TimedOut` at their deadline."""
        around = _aboard.get()
        if not around:
            return await self._landing()
        asking = around[-1]
        if self._waits_for(asking):
            raise self._circle(asking)
        asking.needs.append(self)
        try:
            await self._landing()
        finally:
            asking.needs.remove(self)

    def _waits_for(self, other: "Flight") -> bool:
        """Whether it cannot land before the other has; who would make a circle of that is refused."""
        found = [self]
        for one in found:
            if one is other:
                return True
            found += [needed for needed in one.needs if needed not in found]
        return False

    def _circle(self, asking: "Flight") -> Misconfigured:
        way = "" if asking is self else f", by way of {asking.key!r}"
        return Misconfigured(
            f"What loads {self.key!r} asks the same cache for it{way}, and would wait for itself: call the function "
            "that loads it instead."
        )

    async def _landing(self) -> None:
        if deadline.ambient() is None:
            await self._over.wait()
        else:
            await limited(self._over.wait, self._late)

    def _late(self) -> str:
        return f"What is loaded for {self.key!r} was not there before the deadline; it is loaded on."

    async def outcome(self) -> Any:
        """What it brings. Raises what the loader raised."""
        await self.over()
        return self.result()

    def result(self) -> Any:
        """The same, once it has landed."""
        if self._error is not None:
            # Where it has no twin many raise the same: its trace must not grow with each of them.
            raise twin(self._error).with_traceback(self._trace)
        return for_one(self._value)


class Flights:
    """The flights of a cache, by event loop and key: a task cannot be waited for from another loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._by_loop: dict[Loop, dict[Hashable, Flight]] = {}
        # Those that are outdated, and still have to end.
        self._dropped: set[Flight] = set()
        # Any thread may drop a flight, also while it lands in its own.
        self._lock = threading.RLock()

    def of(self, key: Hashable) -> Flight | None:
        """The flight of this key that may be joined."""
        own = self._by_loop.get(asyncio.get_running_loop())
        return None if own is None else own.get(key)

    def begin(
        self, key: Hashable, tags: tuple[str, ...] | None, load: Callable[[], Coroutine[Any, Any, Any]], landed: Landed
    ) -> Flight:
        """Start `load()`; `landed` says what becomes of its outcome."""
        loop = asyncio.get_running_loop()
        flight, variables = Flight(key, tags), context.detached()
        variables.run(_aboard.set, (*_aboard.get(), flight))
        task = flight.task = loop.create_task(load(), name=f"load {self._name}", context=variables)
        if loop not in self._by_loop:
            self._forget_closed()
        self._by_loop.setdefault(loop, {})[key] = flight
        task.add_done_callback(lambda ended: self._land(loop, flight, ended, landed))
        return flight

    # A callback, not the end of the coroutine: a task that is cancelled before its first step runs none of it.
    def _land(self, loop: Loop, flight: Flight, task: "asyncio.Task[Any]", landed: Landed) -> None:
        try:
            if task.cancelled():
                landed(flight, None, of_cancelled(task, f"Loading for the cache {self._name} was cancelled."))
            elif (error := task.exception()) is not None:
                landed(flight, None, error)
            else:
                landed(flight, task.result(), None)
        except BaseException as error:  # those who wait see it
            flight.give(None, error)
        finally:
            # First: who waits must not hang whatever becomes of the rest.
            flight.land()
            self._forget(loop, flight)

    def _forget(self, loop: Loop, flight: Flight) -> None:
        with self._lock:
            own = self._by_loop.get(loop, {})
            if own.get(flight.key) is flight:
                own.pop(flight.key, None)
                if not own:
                    self._by_loop.pop(loop, None)
            self._dropped.discard(flight)

    def _forget_closed(self) -> None:
        """Loops that were closed before their tasks had ended."""
        with self._lock:
            for loop in [one for one in list(self._by_loop) if one.is_closed()]:
                self._by_loop.pop(loop, None)
            self._dropped = {one for one in self._dropped if one.task is None or not one.task.get_loop().is_closed()}

    async def afresh(self, key: Hashable) -> Flight | None:
        """The flight of this key that began after this call; None where there is none, and those before are over."""
        asked = next(_numbers)
        while (flight := self.of(key)) is not None and flight.number < asked:
            await flight.over()
        return flight

    def drop(self, outdated: Callable[[Flight], bool]) -> None:
        """Nobody joins these flights any more, and what they bring is not kept."""
        for own in list(self._by_loop.values()):
            for flight in filter(outdated, list(own.values())):
                self._drop(own, flight.key)

    def drop_keys(self, keys: Iterable[Hashable]) -> None:
        """The same for those of these keys, without looking at others."""
        for own in list(self._by_loop.values()):
            for key in keys:
                self._drop(own, key)

    def _drop(self, own: dict[Hashable, Flight], key: Hashable) -> None:
        with self._lock:
            flight = own.pop(key, None)
            if flight is not None:
                flight.dropped = True
                self._dropped.add(flight)

    def __len__(self) -> int:
        return len(self._dropped) + sum(map(len, self._by_loop.values()))

    async def aclose(self) -> None:
        """Cancel the flights of this loop, and wait for their end; not for one that does not hear it."""
        loop = asyncio.get_running_loop()
        flying = {one.task: one for one in (*self._by_loop.get(loop, {}).values(), *self._dropped)}
        tasks = [task for task in flying if task is not None and task.get_loop() is loop]
        for task in tasks:
            task.cancel()
        if tasks:
            _, deaf = await asyncio.wait(tasks, timeout=LAST)
            for task in deaf:
                self._leave_behind(loop, flying[task], task)

    def _leave_behind(self, loop: Loop, flight: Flight, task: "asyncio.Task[Any]") -> None:
        flight.dropped = True
        where = waiting(task.get_coro())
        flight.give(None, OutcomeUnknown(f"Loading for the cache {self._name} was cancelled and does not end{where}."))
        flight.land()
        self._forget(loop, flight)
