"""The blocking guard: a call that keeps the event loop from everything else is reported with its line.

A thread asks the loop to answer, again and again. Where no answer comes it looks which call the loop's thread is in,
until one is found that has been there for too long. A machine under load accuses nobody: waiting for a
processor does not count, where the operating system tells of it (Linux: /proc/self/task/…/schedstat). Nor do
collections of garbage, which come over any line.
"""

import asyncio
import gc
import os
import resource
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FrameType, TracebackType
from typing import Any, Self

from uno.aio.births import described
from uno.errors import Misconfigured
from uno.resilience.arguments import require_function, require_numbers
from uno.telemetry.logs import get_logger
from uno.telemetry.signals import emit

log = get_logger("uno.loop")
# How often within the limit the loop is asked, and how many calls are remembered.
_PARTS, _REMEMBERED = 10, 100
# The functions of event loops; what they call is the program.
_HANDLE = ("asyncio.events", "_run")
_LOOPS = {
    _HANDLE,
    ("asyncio.base_events", "_run_once"),
    ("asyncio.base_events", "run_forever"),
    ("asyncio.base_events", "run_until_complete"),
    ("asyncio.runners", "run"),
    ("uvloop", "run"),
}
_LIBRARIES = (*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")), "<")


@dataclass(frozen=True, slots=True)
class BlockingCall:
    """A call that kept the loop for `seconds`, at least, in `task`; places are `path:line in function`.

    `place` is the innermost line outside the standard library and installed packages; `stack` has all, the
    outermost first. A function in C that the loop calls itself has no line: `place` is its name, `stack` is empty.
    """

    seconds: float
    place: str
    task: str | None
    stack: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.place} kept the event loop for {self.seconds * 1000:.0f} ms"


class BlockingGuard:
    """Reports calls that block the running loop for more than `limit` seconds: `with BlockingGuard() as guard:`.

    Each is logged (`loop.blocked`), in `found`, and given to `on_block`, in the guard's thread. For development and
    tests: the loop is woken ten times within `limit`.
    """

    def __init__(self, limit: float = 0.05, *, on_block: Callable[[BlockingCall], object] | None = None) -> None:
        require_numbers("a BlockingGuard", limit=limit)
        require_function("a BlockingGuard", "on_block", on_block)
        if not limit > 0:
            raise Misconfigured(f"limit of a BlockingGuard is above 0 seconds, not {limit!r}.")
        self.limit = limit
        self.found: deque[BlockingCall] = deque(maxlen=_REMEMBERED)
        self._on_block = on_block
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        loop = asyncio._get_running_loop()
        if loop is None:
            raise Misconfigured("There is no event loop here to guard; enter the BlockingGuard in an async function.")
        if self._thread is not None:
            raise Misconfigured("This BlockingGuard is in use already; make another one.")
        watched = _Watched(loop)
        self._thread = threading.Thread(target=self._watch, args=(watched,), name="uno.blocking", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    async def settled(self) -> None:
        """Until a call that has just ended is reported."""
        await asyncio.sleep(2 * self.limit / _PARTS)

    # ── in the thread ──

    def _watch(self, watched: "_Watched") -> None:
        step = self.limit / _PARTS
        with watched:
            while not self._held(watched, partial(self._stop.wait, step)):
                answered = threading.Event()
                try:
                    if not self._held(watched, partial(_ask, watched.loop, answered, step)):
                        self._observe(watched, answered, step)
                except RuntimeError:  # the loop was closed
                    return

    def _held(self, watched: "_Watched", wait: Callable[[], bool]) -> bool:
        """What `wait()` gives; reports a call that computes and lets no other thread run, as some in C do.

        It is just ending then. This thread was asking for its turn meanwhile, each time for an instant,
        which it was not where only the machine was busy.
        """
        computed, asked = watched.computed(), _asked()
        found = wait()
        computed = watched.computed() - computed
        held = computed >= self.limit and (_asked() - asked) * sys.getswitchinterval() >= self.limit / 2
        if held and watched.call() is not None:
            self._report(computed, watched.snapshot())
        return found

    def _observe(self, watched: "_Watched", answered: threading.Event, step: float) -> None:
        """Look again and again, until the loop answers; each call is reported once, when it has ended."""
        call, before = watched.call(), watched.could()
        seconds, seen = 0.0, None
        while not answered.wait(step) and not self._stop.is_set():
            now, could = watched.call(), watched.could()
            if now is not call:
                self._report(seconds + min(could - before, 0.0), seen)
                call, seconds, seen = now, 0.0, None
            else:
                # Where this thread came late, so may have the other: it takes more than one look.
                seconds += min(could - before, self.limit / 2)
                if call is not None and seen is None and seconds >= self.limit:
                    seen = watched.snapshot()
            before = could
        self._report(seconds + min(watched.could() - before, 0.0), seen)

    def _report(self, seconds: float, seen: "_Snapshot | None") -> None:
        # How long a thread waited for a processor is told when it has got one: then it may have been no long call.
        if seen is None or seconds < self.limit:
            return
        call = BlockingCall(seconds, *seen)
        self.found.append(call)
        emit("loop.blocked", seconds=round(call.seconds, 3), place=call.place, task=call.task)
        if self._on_block is not None:
            try:
                self._on_block(call)
            except Exception:  # the guard goes on; the log shows the listener's error
                log.exception("on_block failed")


_Snapshot = tuple[str, str | None, tuple[str, ...]]


def _ask(loop: asyncio.AbstractEventLoop, answered: threading.Event, seconds: float) -> bool:
    """Whether the loop answers in time."""
    loop.call_soon_threadsafe(answered.set)
    return answered.wait(seconds)


def _asked() -> int:
    """How often this thread has gone to sleep: also each time it asked in vain for the interpreter."""
    which = getattr(resource, "RUSAGE_THREAD", None)
    return 0 if which is None else resource.getrusage(which).ru_nvcsw


class _Collections:
    """For how long garbage has been collected, by the watched thread and by all."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        self._since: tuple[int, float] | None = None
        self._own = self._all = 0.0

    def told(self, phase: str, _info: dict[str, int]) -> None:
        """Called by the interpreter, before and after, in the thread that collects."""
        if phase == "start":
            self._since = threading.get_ident(), time.monotonic()
        elif self._since is not None:
            self._own, self._all = self.seconds(own=True), self.seconds()
            self._since = None

    def seconds(self, *, own: bool = False) -> float:
        """Until now: what is called at its end may let other threads run."""
        since = self._since
        going_on = 0.0 if since is None or (own and since[0] != self._thread) else time.monotonic() - since[1]
        return (self._own if own else self._all) + going_on


class _Watched:
    """The loop that runs in the current thread, and the thread, as they are seen from others."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._thread = threading.get_ident()
        self._path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        clock_of = getattr(time, "pthread_getcpuclockid", None)
        self._clock = None if clock_of is None else clock_of(self._thread)
        self._file: int | None = None
        self._collections = _Collections(self._thread)

    def __enter__(self) -> None:
        gc.callbacks.append(self._collections.told)
        with suppress(OSError):  # not on Linux
            self._file = os.open(self._path, os.O_RDONLY)

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._collections.told)
        if self._file is not None:
            os.close(self._file)

    def computed(self) -> float:
        """Seconds the thread has been computing; 0 where the operating system does not tell."""
        try:
            computed = 0.0 if self._clock is None else time.clock_gettime(self._clock)
        except OSError:  # the thread has ended
            computed = 0.0
        return computed - self._collections.seconds(own=True)

    def could(self) -> float:
        """Seconds in which the thread could have gone on: not those it waited for a processor, or for garbage."""
        try:
            told = b"" if self._file is None else os.pread(self._file, 100, 0)
        except OSError:  # the thread has ended
            told = b""
        waited = int(told.split()[1]) / 1e9 if told else 0.0
        return time.monotonic() - waited - self._collections.seconds()

    def call(self) -> FrameType | None:
        """What the loop is calling: one frame for one call; None where it waits or works for itself."""
        frames = self._frames()
        if all(_module(frame).partition(".")[0] in ("asyncio", "selectors") for frame in frames):
            frame = self._innermost()
            return frame if _in_c(frame) else None
        return frames[0]

    def _innermost(self) -> FrameType | None:
        return sys._current_frames().get(self._thread)

    def _frames(self) -> list[FrameType]:
        """Those of the program, the outermost first."""
        found: list[FrameType] = []
        for frame in _outwards(self._innermost()):
            if _name(frame) in _LOOPS:
                return found[::-1]
            found.append(frame)
        return []

    def snapshot(self) -> _Snapshot:
        """Where it is now: the place, the task, the stack."""
        frames = self._frames()
        own = [frame for frame in frames if _is_own(frame.f_code.co_filename)] or frames
        stack = tuple(described(frame.f_code, frame.f_lineno) for frame in frames)
        in_c = _in_c(self._innermost()) or "a call that has just ended"
        place = described(own[-1].f_code, own[-1].f_lineno) if own else in_c
        task: asyncio.Task[Any] | None = asyncio.current_task(self.loop)
        return place, None if task is None else task.get_name(), stack


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _name(frame: FrameType) -> tuple[str, str]:
    return _module(frame), frame.f_code.co_name


def _in_c(frame: FrameType | None) -> str | None:
    """The name of the function in C, without a frame of its own, which the loop calls here; None where it calls none.

    Around the step of a task, which is in C as well, it may be here only because another thread has its turn.
    """
    if frame is None or _name(frame) != _HANDLE:
        return None
    callback = getattr(frame.f_locals.get("self"), "_callback", None)
    while isinstance(callback, partial):
        callback = callback.func
    if not isinstance(callback, BuiltinFunctionType) or isinstance(callback.__self__, asyncio.Future):
        return None
    return ".".join(filter(None, (callback.__module__, callback.__qualname__)))


def _is_own(path: str) -> bool:
    return "site-packages" not in path and not path.startswith(_LIBRARIES)
