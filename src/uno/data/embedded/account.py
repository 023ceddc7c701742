"""The user the server runs as: PostgreSQL refuses root, so root lends it an unprivileged account."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from uno.errors import Unavailable

if sys.platform != "win32":
    import pwd

INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True)
class Account:
    """Runs programs as itself. `uid` and `gid` are None for the user of this process."""

    name: str = "this user"
    uid: int | None = None
    gid: int | None = None

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        variables: Mapping[str, str] | None = None,
        output: IO[bytes] | int = subprocess.PIPE,
        keep: Sequence[int] = (),
        seconds: float = 120.0,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, without our secrets, our directory, our terminal."""
        return subprocess.run(
            [os.fspath(part) for part in arguments],
            env={**bare_environment(), **(variables or {})},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(keep),
            start_new_session=True,
            timeout=seconds,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
        )

    def can(self, test: str, path: Path) -> bool:
        """Whether `test -r|-w|-x path` is true for this user."""
        return self.run(["/bin/sh", "-c", 'test "$0" "$1"', test, path]).returncode == 0

    def own(self, path: Path) -> Path:
        """Give `path`, which we made, to this user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        return path


def bare_environment() -> dict[str, str]:
    """What programs need; nothing of PG* or LC_*, and no secrets, which a server's user could read."""
    return {"LC_ALL": "C", **{key: os.environ[key] for key in INHERITED if key in os.environ}}


def account_for(data: Path) -> Account:
    """The owner of `data` if root starts the server (postgres or nobody if it is not there yet), else ourselves."""
    if os.geteuid() != 0:
        return Account()
    owner = data.stat().st_uid if data.exists() else 0
    for candidate in (owner, "postgres", "nobody"):
        entry = _entry(candidate) if candidate else None
        if entry and entry.pw_uid:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise Unavailable("PostgreSQL must not run as root, and there is neither a user postgres nor nobody to run it as.")


def name_of(uid: int) -> str:
    """The name of a user, who may have none."""
    entry = _entry(uid)
    return entry.pw_name if entry else f"user {uid}"


def _entry(candidate: int | str) -> "pwd.struct_passwd | None":
    try:
        return pwd.getpwuid(candidate) if isinstance(candidate, int) else pwd.getpwnam(candidate)
    except KeyError:
        return None
