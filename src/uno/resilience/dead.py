"""The dead letters in memory: what could not be handled, to be looked at and tried again.

In an application with a database the durable one is `uno.queue.DeadLetters`.
"""

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from inspect import isawaitable
from itertools import count, islice
from types import CoroutineType
from typing import Any, overload

from uno import clock
from uno.errors import Misconfigured
from uno.resilience.arguments import COROUTINE, not_a_function, require_counts, require_function
from uno.resilience.shapes import Guard, finish
from uno.result import Failure
from uno.sync import is_async
from uno.telemetry.logs import get_logger
from uno.telemetry.signals import emit

log = get_logger("uno.dead_letter")


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """One event that failed: with which error, when (UTC), after how many attempts, in which module."""

    event: Any
    error: Exception
    timestamp: datetime
    attempts: int = 1
    module_name: str = ""


class DeadLetterQueue(Guard):
    """Keeps the last `max_size` failed events; the oldest give way, and are counted in `dropped`.

    `on_add(entry)` is told of each. Around a call or a message it keeps what failed, and the failure
    goes on. Thread-safe. An empty queue is false: ask `is not None`.
    """

    def __init__(
        self,
        max_size: int = 1000,
        on_add: Callable[[DeadLetterEntry], object] | None = None,
        *,
        name: str | None = None,
    ) -> None:
        require_counts("a DeadLetterQueue", max_size=max_size)
        require_function("a DeadLetterQueue", "on_add", on_add)
        if max_size < 1:
            raise Misconfigured("The max_size of a DeadLetterQueue is 1 or more.")
        self.max_size = max_size
        self.on_add = on_add
        self.name = name or "unnamed"
        self.dropped = 0
        self._lock = threading.Lock()
        self._numbers = count()
        self._entries: OrderedDict[int, DeadLetterEntry] = OrderedDict()
        # What is being tried again, by the identity of its event.
        self._trials: dict[int, _Trial] = {}

    def add(self, event: Any, error: Exception, module_name: str = "", attempts: int = 1) -> DeadLetterEntry:
        """Keep `event`. While it is reprocessed, this tells that it failed again, and adds nothing twice."""
        entry = DeadLetterEntry(event, error, clock.now(), attempts, module_name)
        with self._lock:
            trial = self._trials.get(id(event))
            # Another event may be the same object, as equal texts often are: it fails with its own work only.
            if trial is not None and trial in _trying.get():
                trial.failed = entry
                return entry
        self._keep(entry)
        return entry

    @property
    def entries(self) -> list[DeadLetterEntry]:
        """All of them, the oldest first; a copy."""
        with self._lock:
            return list(self._entries.values())

    def pop(self) -> DeadLetterEntry | None:
        """Take out the oldest; None where there is none."""
        with self._lock:
            return self._entries.popitem(last=False)[1] if self._entries else None

    def clear(self) -> int:
        """Forget all, and say how many they were."""
        with self._lock:
            found = len(self._entries)
            self._entries.clear()
            return found

    def __len__(self) -> int:
        return len(self._entries)

    def _keep(self, entry: DeadLetterEntry) -> None:
        self._put(next(self._numbers), entry)
        self._tell(entry)

    def _put(self, number: int, entry: DeadLetterEntry, *, last: bool = True) -> None:
        with self._lock:
            self._entries[number] = entry
            self._entries.move_to_end(number, last)
            full = len(self._entries) > self.max_size
            if full:
                self._entries.popitem(last=False)
                self.dropped += 1
        if full:
            emit("dead_letter.dropped", queue=self.name, dropped=self.dropped)

    def _tell(self, entry: DeadLetterEntry) -> None:
        if self.on_add is not None:
            try:
                self.on_add(entry)
            except Exception:  # the entry is kept all the same; the log shows the listener's error
                log.exception("on_add failed")

    # ── around a call ──

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives; where that fails, its first argument is kept as the event."""
        if type(f) is COROUTINE:
            raise not_a_function(f)
        try:
            found = f(*args, **kwargs)
            if type(found) is CoroutineType or isawaitable(found):
                found = await found
        except Exception as error:  # kept for the owner of the queue, and raised again
            self.add(_event(args, kwargs), error)
            raise
        if type(found) is Failure:
            self.add(_event(args, kwargs), found.error)
        return found

    # ── trying again ──

    @overload
    def reprocess(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, handler: Callable[[Any], Awaitable[object]], max_entries: int | None = None
    ) -> Awaitable[tuple[int, int]]: ...

    @overload
    def reprocess(self, handler: Callable[[Any], object], max_entries: int | None = None) -> tuple[int, int]: ...

    def reprocess(
        self, handler: Callable[[Any], object], max_entries: int | None = None
    ) -> tuple[int, int] | Awaitable[tuple[int, int]]:
        """Give each event that is here now to `handler`, once; how many succeeded and how many failed.

        To be awaited where `handler` is async. A failed one goes back with its attempts added up: it
        failed when `handler` raises, gives a `Failure`, adds it to this queue, or gives the event
        itself unhandled. `Misconfigured` comes from a wrong program and not from the event: it is
        raised, and the entry stays as it was.
        """
        trials = self.reprocess_async(handler, max_entries)
        return trials if is_async(handler) else finish(trials, handler)

    async def reprocess_async(
        self, handler: Callable[[Any], object], max_entries: int | None = None
    ) -> tuple[int, int]:
        """The same, to be awaited, whatever `handler` is."""
        with self._lock:
            numbers = list(islice(self._entries, max_entries))
        outcomes = [await self._try(number, handler) for number in numbers]
        return outcomes.count(True), outcomes.count(False)

    async def _try(self, number: int, handler: Callable[[Any], object]) -> bool | None:
        """Whether it succeeded; None where somebody else took the entry meanwhile."""
        trial = self._start(number)
        if trial is None:
            return None
        token = _trying.set((*_trying.get(), trial))
        try:
            _renew(trial.entry.event)
            found = handler(trial.entry.event)
            if isawaitable(found):
                found = await found
            failed = trial.failed or self._unhandled(trial.entry, found)
        except Misconfigured:
            self._undo(trial, number)
            raise
        except Exception as error:  # kept with the entry, where its owner looks for it
            failed = trial.failed or replace(trial.entry, error=error, attempts=1)
        except BaseException:  # cancelled
            self._undo(trial, number)
            raise
        finally:
            _trying.reset(token)
        self._end(trial)
        if failed is not None:
            self._keep(_once_more(trial.entry, failed))
        return failed is None

    def _start(self, number: int) -> "_Trial | None":
        with self._lock:
            entry = self._entries.get(number)
            if entry is None or id(entry.event) in self._trials:
                return None
            del self._entries[number]
            trial = self._trials[id(entry.event)] = _Trial(entry)
            return trial

    def _end(self, trial: "_Trial") -> None:
        with self._lock:
            del self._trials[id(trial.entry.event)]

    def _undo(self, trial: "_Trial", number: int) -> None:
        """As if it had not been tried: in front, for what was there before it has been tried."""
        self._end(trial)
        self._put(number, trial.entry, last=False)

    def _unhandled(self, entry: DeadLetterEntry, found: object) -> DeadLetterEntry | None:
        if isinstance(found, Failure):
            return replace(entry, error=found.error, attempts=1)
        # What a host gives back: the event, which no module has handled.
        if found is entry.event and getattr(found, "handled", True) is False:
            return replace(entry, attempts=1)
        return None


class _Trial:
    """An entry that is being tried again, and its new failure."""

    __slots__ = ("entry", "failed")

    def __init__(self, entry: DeadLetterEntry) -> None:
        self.entry = entry
        self.failed: DeadLetterEntry | None = None


# What this code works on; a queue may be tried again inside a trial of another.
_trying: ContextVar[tuple[_Trial, ...]] = ContextVar("uno.resilience.dead", default=())


def _once_more(entry: DeadLetterEntry, failed: DeadLetterEntry) -> DeadLetterEntry:
    return replace(
        entry,
        error=failed.error,
        timestamp=clock.now(),
        attempts=entry.attempts + failed.attempts,
        module_name=failed.module_name or entry.module_name,
    )


def _renew(event: Any) -> None:
    """As it was before it was handled, where it is an event of a module host."""
    if getattr(event, "handled", None) is not None and hasattr(event, "output"):
        event.handled = False
        event.output = None


def _event(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if len(args) == 1 and not kwargs else (args, kwargs)
