"""What lies where in the folder of one embedded server, and who may use the folder.

start.lock     held while deciding whether to start or stop
users.lock     shared by every process that uses the server
hold.lock      held by the process of `uno db start`
watch.lock     held by the watchdog
server.lock    inherited by PostgreSQL and all its processes: free means that none is left
data/          PostgreSQL's own; belongs to the user the server runs as
run/           the Unix socket, where the path is short enough
password       of the user `uno`
postgresql.log
"""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from uno.data.embedded.account import Account, name_of
from uno.data.embedded.binaries import MAJOR
from uno.data.embedded.files import linked, make
from uno.errors import Misconfigured, Unavailable

LOCKS = ("start", "users", "hold", "watch", "server")
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
ELSEWHERE = "choose another folder, for example by UNO_DATA_DIR"


@dataclass(frozen=True)
class Folder:
    """The paths of one embedded server."""

    path: Path

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def log(self) -> Path:
        return self.path / "postgresql.log"

    @property
    def password(self) -> Path:
        return self.path / "password"

    @property
    def is_ours(self) -> bool:
        return self.lock("start").exists()

    def lock(self, name: str) -> Path:
        return self.path / f"{name}.lock"

    def make_locks(self) -> None:
        """The watchdog opens them later, perhaps with fewer rights."""
        for name in LOCKS:
            make(self.lock(name))


def data_home() -> Path:
    """Where uno keeps data: UNO_DATA_DIR, else the place the operating system has for it."""
    if given := os.environ.get("UNO_DATA_DIR"):
        return Path(given).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/uno")  # the server's user cannot enter root's home
    try:
        home = Path.home()
    except RuntimeError as error:
        raise Misconfigured("There is no home folder to keep data in: set UNO_DATA_DIR.") from error
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "uno"
    given = os.environ.get("XDG_DATA_HOME", "")
    return (Path(given) if os.path.isabs(given) else home / ".local" / "share") / "uno"


def default_folder() -> Path:
    """The folder of the server that is used where none is named."""
    return data_home() / f"postgresql-{MAJOR}"


def program_caches(folder: Folder) -> Iterator[Path]:
    """Where copies of PostgreSQL's programs may lie: one place for all folders, else this folder."""
    yield data_home() / "programs"
    yield folder.path / "programs"


def chosen(folder: Path | None) -> Folder:
    """The paths for `folder`, or for the default."""
    return Folder((folder or default_folder()).expanduser().absolute())


def command(verb: str, folder: Path) -> str:
    """`uno db VERB` for this folder, as somebody would type it."""
    with suppress(Misconfigured):  # who has no home may still name a folder
        if folder == chosen(None).path:
            return f"uno db {verb}"
    return f"uno db {verb} --data-dir {quote(str(folder))}"


def claim(folder: Folder, account: Account) -> None:
    """Make the folder ours: new or empty, or ours already; nothing above it is changed."""
    demoted = account.uid is not None
    _make(folder.path, 0o755 if demoted else 0o700)
    require_own(folder)
    if folder.is_ours:
        return
    _require_empty(folder)
    # Root's server passes through to `data`, and sees nothing else.
    os.chmod(folder.path, 0o711 if demoted else stat.S_IMODE(os.stat(folder.path).st_mode) & ~OTHERS_WRITE)
    _require_empty(folder)  # nobody has put a file there before the others were shut out
    make(folder.lock("start"))


def require_own(folder: Folder) -> None:
    """Raise `Misconfigured` for a folder that somebody else made or may write to, with what may be planted in it."""
    path = folder.path
    if not os.path.lexists(path):
        return
    _require_owner(path, os.lstat(path))  # also that of a link to the folder
    found = os.stat(path)
    _require_owner(path, found)
    start = folder.lock("start")
    if not os.path.lexists(start):
        return
    if found.st_mode & OTHERS_WRITE:
        raise Misconfigured(f"Other users may write to {path}: run `chmod go-w {path}`, or {ELSEWHERE}.")
    for entry in (start, folder.data, folder.run):
        if entry.is_symlink():
            raise linked(entry)
    _require_owner(start, os.lstat(start))


def _require_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        owner, ours = name_of(found.st_uid), name_of(os.geteuid())
        raise Misconfigured(f"{path} belongs to {owner}, not to {ours}: run this as {owner}, or {ELSEWHERE}.")


def _require_empty(folder: Folder) -> None:
    # Another process may claim it at the same moment, so look again before refusing.
    if os.listdir(folder.path) and not folder.is_ours:
        raise Misconfigured(f"{folder.path} is not empty and is not uno's: {ELSEWHERE}.")


def _make(path: Path, mode: int) -> None:
    missing = [parent for parent in (path, *path.parents) if not parent.exists()]
    for parent in reversed(missing):
        try:
            parent.mkdir(mode)
        except FileExistsError:
            continue
        os.chmod(parent, mode)  # whatever the umask


def require_entry(folder: Folder, account: Account) -> None:
    """Raise `Unavailable`, naming the obstacle, unless the server's user can enter the folder."""
    if account.uid is None or account.can("-x", folder.path):
        return
    blocked = next(p for p in (*reversed(folder.path.parents), folder.path) if not account.can("-x", p))
    raise Unavailable(
        f"PostgreSQL must not run as root, and the user {account.name} it runs as cannot enter {blocked}: {ELSEWHERE}."
    )


def bytes_in(path: Path) -> int:
    """The size of all files below `path`; those that vanish meanwhile do not count."""
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total
