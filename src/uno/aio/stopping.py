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
# Seconds that the program has from the first signal to its end.
_limit: float | None = None


@contextmanager
def told_to_stop(tell: Callable[[str], Any]) -> Iterator[None]:
    """Inside the block the first SIGINT or SIGTERM calls `tell("SIGTERM")` in the running event loop; the next one ends
    the process at once, with the exit code 128 + its number.

    Handlers are set, not left to the system: for the process with the number 1 that would ignore them. In another
    thread than the main one, where Python takes no signals, it does nothing.
    """
    with taking_signals(Asked(asyncio.get_running_loop(), tell)):
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

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[str], Any]) -> None:
        self._loop = loop
        self._tell = tell
        self.number: int | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self.number is not None and self.is_second(number):
            leave(number)
        if self.number is None and _limit is not None:
            faulthandler.dump_traceback_later(_limit, exit=True)
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


def end_within(seconds: float) -> None:
    """For a whole program: so long after the first signal it ends in any case, with 1 and the stacks of its threads.

    A handler that does not hear that it is cancelled, or blocks its thread or the event loop, would keep it for ever.
    """
    global _limit
    _limit = seconds


def end_when_told() -> None:
    """Before there is an event loop: SIGTERM ends the program as SIGINT does, also where it has the number 1."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
