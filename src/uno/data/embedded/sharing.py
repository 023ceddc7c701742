"""One server for all its users: who starts it, who uses it, who stops it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from uno.data.embedded.account import Account, account_for, bare_environment
from uno.data.embedded.binaries import MAJOR, runnable
from uno.data.embedded.cluster import Cluster
from uno.data.embedded.files import read
from uno.data.embedded.folder import (
    ELSEWHERE,
    Folder,
    bytes_in,
    chosen,
    claim,
    command,
    program_caches,
    require_entry,
    require_own,
)
from uno.data.embedded.locks import exclusive, is_free, require_locks, take
from uno.data.embedded.server import EmbeddedServer, Postmaster, is_durable, postmaster_in
from uno.errors import Misconfigured, Unavailable

Progress = Callable[[str], None]

START_SECONDS = 180.0
STOP_SECONDS = 90.0


class Lease:
    """The right to use a server; it runs as long as somebody in any process has one.

    Children made by `fork` share their parent's lease.
    """

    def __init__(self, server: EmbeddedServer, lock: int, *, fsync: bool) -> None:
        self.server = server
        self._lock: int | None = lock
        self._fsync = fsync
        self._died = False

    def revive(self) -> EmbeddedServer:
        """Start a server again that died, on the same folder; what runs then, which may listen elsewhere.

        It changes nothing while the server runs. Raises `Unavailable` for one that was stopped on purpose.
        """
        place = Folder(self.server.folder)
        with _telling(place):
            require_own(place)
            with _deciding(place):
                if self._lock is not None and self._may_run(place):
                    self.server = _served(place, account_for(place.data), _silent, fsync=self._fsync)
                    self._died = False
        return self.server

    def _may_run(self, place: Folder) -> bool:
        # A server that is stopped removes its pid file, one that dies cannot; to start it again removes it as well.
        self._died = self._died or (place.data / "postmaster.pid").exists()
        if not self._died and is_free(place.lock("server")):
            how = command("start", place.path)
            raise Unavailable(f"The PostgreSQL server in {place.path} was stopped: start it with `{how}`.")
        return True

    def release(self) -> None:
        """Give it back; the server stops a moment after its last user. May be called again."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@dataclass(frozen=True)
class Status:
    """What is known of a folder's server. `size` is in bytes; `kept` means by `uno db start`."""

    folder: Path
    running: bool
    pid: int | None
    port: int | None
    in_use: bool
    kept: bool
    size: int
    version: str | None


def acquire(folder: Path | None = None, *, progress: Progress | None = None, fsync: bool = True) -> Lease:
    """Use the server in `folder`; it is made and started if need be, which takes about a second.

    `progress` gets a short sentence before each step that takes time. `fsync=False` is for tests:
    a power cut may then destroy the data. Raises `Unavailable` or `Misconfigured`, in one sentence.
    """
    require_locks()
    place = chosen(folder)
    with _telling(place):
        require_own(place)
        account = account_for(place.data)
        claim(place, account)
        with _deciding(place):
            return _join(place, account, progress or _silent, fsync=fsync)


async def acquire_async(folder: Path | None = None, *, progress: Progress | None = None, fsync: bool = True) -> Lease:
    """`acquire` in a thread, where `progress` is called as well."""
    work = asyncio.ensure_future(asyncio.to_thread(acquire, folder, progress=progress, fsync=fsync))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_give_back)
        await asyncio.wait([work])
        raise


def start(folder: Path | None = None, *, progress: Progress | None = None, fsync: bool = True) -> EmbeddedServer:
    """Use the server and keep it running, until `stop`, in the name of a process in the background."""
    with acquire(folder, progress=progress, fsync=fsync) as lease:
        place = chosen(folder)
        with _telling(place):
            # Not at once: the watchdog and `status` try this lock for a moment.
            lock = take(place.lock("hold"), within=0.5)
            if lock is not None:
                _background("holder.py", str(lock), lock=lock)
        return lease.server


def stop(folder: Path | None = None, *, force: bool = False) -> bool:
    """Stop the server, with the process that keeps it; whether it was running.

    Raises `Unavailable` while others use it, unless `force`: they lose their connections.
    """
    require_locks()
    place = chosen(folder)
    with _telling(place):
        if not place.is_ours:
            return False
        with _deciding(place):
            return _stop(place, force=force)


def status(folder: Path | None = None) -> Status:
    """Look at a folder without changing anything."""
    require_locks()
    place = chosen(folder)
    with _telling(place):
        ours = place.is_ours
        running = ours and not is_free(place.lock("server"))
        server = postmaster_in(place.data) if running else None
        version = place.data / "PG_VERSION"
        return Status(
            folder=place.path,
            running=running,
            pid=server.pid if server else None,
            port=server.port if server else None,
            in_use=ours and not is_free(place.lock("users")),
            kept=ours and not is_free(place.lock("hold")),
            size=bytes_in(place.path) if ours else 0,
            version=version.read_text().strip() if ours and version.exists() else None,
        )


@contextmanager
def _telling(place: Folder) -> Iterator[None]:
    """What the operating system refuses becomes one sentence."""
    try:
        yield
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        raise Unavailable(
            f"Embedded PostgreSQL cannot use {place.path}: {error.strerror}{about}; {ELSEWHERE}."
        ) from error
    except subprocess.TimeoutExpired as error:
        program = Path(error.cmd[0]).name
        raise Unavailable(f"In {place.path}, {program} did not end within {error.timeout:.0f} seconds.") from error


def _deciding(place: Folder) -> AbstractContextManager[int]:
    sentence = (
        f"Another process has been starting or stopping PostgreSQL in {place.path} for {START_SECONDS:.0f} seconds."
    )
    return exclusive(place.lock("start"), within=START_SECONDS, sentence=sentence)


def _join(place: Folder, account: Account, progress: Progress, *, fsync: bool) -> Lease:
    place.make_locks()
    users = take(place.lock("users"), shared=True, within=STOP_SECONDS)  # a watchdog that stops the server has it
    if users is None:
        raise Unavailable(f"The PostgreSQL server in {place.path} has been stopping for {STOP_SECONDS:.0f} seconds.")
    try:
        server = _served(place, account, progress, fsync=fsync)
    except BaseException:
        os.close(users)
        raise
    return Lease(server, users, fsync=fsync)


def _served(place: Folder, account: Account, progress: Progress, *, fsync: bool) -> EmbeddedServer:
    # First the watchdog: were we killed while the server starts, it would stop it.
    watch = take(place.lock("watch"))
    if watch is not None:
        _background("watchdog.py", "watch", str(place.path), str(watch), lock=watch)
    running = _running(place, account, progress, fsync=fsync)
    return EmbeddedServer(place.path, running.port, running.pid, Path(running.socket_dir), read(place.password))


def _running(place: Folder, account: Account, progress: Progress, *, fsync: bool) -> Postmaster:
    """The server that answers, started if none is left; one that is starting or dying is waited for."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        server_lock = take(place.lock("server"))
        if server_lock is not None:
            try:
                _boot(place, account, progress, server_lock, fsync=fsync)
            finally:
                os.close(server_lock)  # the server has its own
        found = postmaster_in(place.data)
        if found and found.is_ready():
            _require_durable(place, fsync=fsync)
            return found
        time.sleep(0.02)
    raise Unavailable(f"The PostgreSQL server in {place.path} neither answers nor ends; see {place.log}.")


def _boot(place: Folder, account: Account, progress: Progress, server_lock: int, *, fsync: bool) -> None:
    require_entry(place, account)
    cluster = Cluster(place, runnable(account, program_caches(place)), account)
    if not cluster.exists():
        progress(f"Initialising PostgreSQL {MAJOR} in {place.path}")
        cluster.initialise(fsync=fsync)
    progress(f"Starting PostgreSQL {MAJOR} in {place.path}")
    cluster.launch(server_lock, fsync=fsync)


def _require_durable(place: Folder, *, fsync: bool) -> None:
    if fsync and not is_durable(place.data):
        raise Misconfigured(
            f"The PostgreSQL server in {place.path} was started without fsync, for tests: stop it first."
        )


def _stop(place: Folder, *, force: bool) -> bool:
    if is_free(place.lock("hold")) and is_free(place.lock("server")):
        return False
    require_own(place)  # what is stopped is read from its files
    users = _without_users(place, force=force)
    try:
        _dismiss_holder(place)
        if is_free(place.lock("server")):
            return False
        _run_script("watchdog.py", "stop", str(place.path))
        return True
    finally:
        if users is not None:
            os.close(users)


def _without_users(place: Folder, *, force: bool) -> int | None:
    """The lock that keeps users away; None where they are ignored."""
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if (alone := take(place.lock("users"))) is not None:
            return alone
        together = take(place.lock("users"), shared=True)  # not to be had while a watchdog stops the server
        if together is not None:
            os.close(together)
            if force:
                return None
            raise Unavailable(f"The PostgreSQL server in {place.path} is in use: stop its users first, or use force.")
        time.sleep(0.02)
    raise Unavailable(f"The PostgreSQL server in {place.path} has been stopping for {STOP_SECONDS:.0f} seconds.")


def _dismiss_holder(place: Folder) -> None:
    path = place.lock("hold")
    if is_free(path):
        return
    # The lock is held, so the pid in its file is that of a living holder.
    if pid := path.read_text():
        os.kill(int(pid), signal.SIGTERM)
    lock = take(path, within=10.0)
    if lock is None:
        raise Unavailable(f"Process {pid}, which keeps PostgreSQL in {place.path} running, does not end.")
    os.close(lock)


def _background(script: str, *arguments: str, lock: int) -> None:
    """Run a script that detaches itself and takes over our `lock`."""
    try:
        _run_script(script, *arguments, keep=[lock])
    finally:
        os.close(lock)


def _run_script(script: str, *arguments: str, keep: Sequence[int] = ()) -> None:
    done = subprocess.run(
        [sys.executable, "-IS", str(Path(__file__).with_name(script)), *arguments],
        cwd="/",
        env=bare_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # no pipes: what runs in the background would keep them open
        stderr=subprocess.DEVNULL,
        pass_fds=tuple(keep),
        start_new_session=True,
        timeout=STOP_SECONDS,
    )
    if done.returncode != 0:
        raise Unavailable(f"{script} of embedded PostgreSQL ended with status {done.returncode}.")


def _silent(sentence: str) -> None:
    return None


def _give_back(work: "asyncio.Future[Lease]") -> None:
    if not work.cancelled() and work.exception() is None:
        work.result().release()
