"""SIGINT and SIGTERM: the first one asks, the second one does not wait."""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds after the grace period: for closing what is open, and until the process is ended in any case.
CLOSING, ENDING = 1.25, 2.0
# Whether there is nothing else for the process to do, once it was told to stop.
_is_program = False


@contextmanager
def told_to_stop(tell: Callable[[str], Any], grace: Callable[[], float]) -> Iterator[None]:
    """Inside the block the first SIGINT or SIGTERM calls `tell("SIGTERM")` in the running event loop; the next one ends
    the process at once, with the exit code 128 + its number.

    `grace()` is how many seconds what was begun has for finishing, when the first one comes. Two seconds after them the
    process is ended in any case, also after the block: with 1, and the stacks of its threads. A task that does not hear
    that it is cancelled, or blocks its thread or the event loop, would keep it for ever.

    Handlers are set, not left to the system: for the process with the number 1 that would ignore them. In another
    thread than the main one, where Python takes no signals, it does nothing.
    """
    with taking_signals(Asked(asyncio.get_running_loop(), tell, grace)):
        yield


@contextmanager
def taking_signals(asked: "Asked") -> Iterator[None]:
    """Inside the block `asked` handles SIGINT and SIGTERM; not in another thread than the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, asked) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is one that was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class Asked:
    """The handler of a signal."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[str], Any], grace: Callable[[], float]) -> None:
        self._loop = loop
        self._tell = tell
        self._grace = grace
        self.number: int | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self.number is not None and self.is_second(number):
            leave(number)
        if self.number is None:
            # To its descriptor: what stands for standard error may have none.
            faulthandler.dump_traceback_later(min(self._grace() + ENDING, threading.TIMEOUT_MAX), exit=True, file=2)
        self.number = number
        # In no context: this has interrupted somebody who has nothing to do with it.
        self._loop.call_soon_threadsafe(self._tell, signal.Signals(number).name, context=Context())

    def is_second(self, number: int) -> bool:
        """Whether it is somebody who does not want to wait."""
        return True


def leave(number: int) -> NoReturn:
    """End the process now. What was not committed is rolled back, and what was taken from a queue comes again."""
    # Not through the buffer of a file object: this may have interrupted somebody who writes to it.
    os.write(2, b"uno: told a second time, so it ends at once\n")
    os._exit(128 + number)


def go_on() -> None:
    """What was told to stop has, and the process may have other things to do."""
    if not _is_program and threading.current_thread() is threading.main_thread():
        faulthandler.cancel_dump_traceback_later()


def end_when_told() -> None:
    """For a whole program, before there is an event loop: SIGTERM ends it as SIGINT does, also with the number 1."""
    global _is_program
    _is_program = True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
