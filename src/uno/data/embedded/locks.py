"""Locks on files, shared or exclusive; the kernel drops them however their owner ends.

A lock belongs to the open file, so a child that inherits the descriptor holds the lock as well.
Descriptors made here are not inherited unless a process is started with `pass_fds`.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uno.data.embedded.files import private
from uno.errors import Misconfigured, Unavailable

if sys.platform != "win32":
    import fcntl


def require_locks() -> None:
    """Raise `Misconfigured` where the operating system has no such locks."""
    if sys.platform == "win32":
        raise Misconfigured("Embedded PostgreSQL needs Linux or macOS: set UNO_DB_URL to a server of your own.")


def take(path: Path, *, shared: bool = False, within: float = 0.0) -> int | None:
    """The descriptor of a lock on `path`, or None if it is not free within so many seconds."""
    lock = private(path, os.O_RDWR | os.O_CREAT)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = time.monotonic() + within
    try:
        while not _obtained(lock, kind):
            if time.monotonic() >= deadline:
                os.close(lock)
                return None
            time.sleep(0.01)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _obtained(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_free(path: Path) -> bool:
    """Whether nobody holds a lock on `path`."""
    lock = take(path)
    if lock is not None:
        os.close(lock)
    return lock is not None


@contextmanager
def exclusive(path: Path, *, within: float, sentence: str) -> Iterator[int]:
    """Hold `path` for a block; `Unavailable(sentence)` if it is not free within so many seconds."""
    lock = take(path, within=within)
    if lock is None:
        raise Unavailable(sentence)
    try:
        yield lock
    finally:
        os.close(lock)
