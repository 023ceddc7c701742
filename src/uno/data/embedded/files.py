"""Opening files in a folder without being led out of it by a link that somebody put there."""

import errno
import os
from pathlib import Path

from uno.errors import Misconfigured


def private(path: str | Path, flags: int) -> int:
    """An opener: a new file is its owner's only; `Misconfigured` for a symbolic link."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):
            raise linked(path) from error
        raise


def make(path: Path) -> None:
    """An empty file, unless there is one."""
    os.close(private(path, os.O_WRONLY | os.O_CREAT))


def read(path: Path) -> str:
    with open(path, opener=private) as file:
        return file.read()


def linked(path: str | Path) -> Misconfigured:
    return Misconfigured(f"{path} is a symbolic link, which embedded PostgreSQL does not follow: remove it.")
