"""Making a database cluster and starting a server on it. The caller holds `start.lock`."""

import os
import re
import secrets
import shlex
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from uno import clock
from uno.data.embedded.account import Account
from uno.data.embedded.binaries import MAJOR
from uno.data.embedded.files import linked, private, read
from uno.data.embedded.folder import Folder
from uno.data.embedded.server import USER, postmaster_in
from uno.errors import Misconfigured, Unavailable

# Written to postgresql.conf, where they can be changed; port and socket are decided at every start.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
CARELESS = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
SOCKET_PATH_BYTES = 103  # sun_path is 104 bytes on macOS, 108 on Linux, with the closing zero
LOG_BYTES = 10_000_000
FULL_BYTES = 65_536
PORT_ATTEMPTS = 5
LEFTOVER_SECONDS = 10.0


@dataclass(frozen=True)
class Cluster:
    """A folder, the programs to run on it and the user to run them as."""

    folder: Folder
    programs: Path
    account: Account

    def exists(self) -> bool:
        """Whether there is data; `Misconfigured` if it is of another PostgreSQL."""
        try:
            major = (self.folder.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return False
        if major != str(MAJOR):
            raise Misconfigured(f"{self.folder.path} holds data of PostgreSQL {major}, this is PostgreSQL {MAJOR}.")
        return True

    def initialise(self, *, fsync: bool) -> None:
        """Make the data folder, whole or not at all."""
        path = self.folder.path
        for leftover in path.glob("data.new-*"):  # of a process that was killed
            _remove(leftover)
        for secret in path.glob("password-*"):
            secret.unlink()
        draft = self.account.own(Path(tempfile.mkdtemp(prefix="data.new-", dir=path)))
        try:
            self._initdb(draft, fsync=fsync)
            os.rename(draft, self.folder.data)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _initdb(self, draft: Path, *, fsync: bool) -> None:
        secret = self.account.own(self._password_for_initdb())
        command: list[str | Path] = [self.programs / "bin" / "initdb", "--username", USER, "--pwfile", secret]
        command += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        command += ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--no-instructions"]
        command += [f"--set={name}={value}" for name, value in SETTINGS.items()]
        command += [] if fsync else ["--no-sync"]
        try:
            done = self.account.run(command, variables={"PGDATA": str(draft)})
        finally:
            secret.unlink()
        if done.returncode != 0:
            raise Unavailable(
                f"PostgreSQL cannot be initialised in {self.folder.path}: {reason(done.stdout, done.returncode)}."
            )

    def _password_for_initdb(self) -> Path:
        """A copy of the password for the server's user, who cannot read ours; made only once."""
        if not self.folder.password.exists():
            _write(self.folder.password, secrets.token_urlsafe(24))
        handle, name = tempfile.mkstemp(prefix="password-", dir=self.folder.path)
        with os.fdopen(handle, "w") as file:
            file.write(read(self.folder.password))
        return Path(name)

    def launch(self, server_lock: int, *, fsync: bool, port: int | None = None) -> None:
        """Start the server, which inherits `server_lock`, and wait until it accepts connections.

        Without a `port` it is the last one again, if that is free; one that is taken is replaced.
        """
        self._clear_remains()
        self._shorten_log()
        problem = self._start(port or free_port(self._last_port()), server_lock, fsync=fsync)
        for _ in range(PORT_ATTEMPTS):
            if problem is None or "Address already in use" not in problem:
                break
            problem = self._start(free_port(), server_lock, fsync=fsync)
        if problem is None:
            return
        raise Unavailable(f"PostgreSQL does not start in {self.folder.path}: {problem}; its log is {self.folder.log}.")

    def _clear_remains(self) -> None:
        """Remove the lock files of a dead server; `Unavailable` if it lives."""
        before = postmaster_in(self.folder.data)
        if before and before.answers():
            raise Unavailable(
                f"A PostgreSQL that uno did not start (process {before.pid}) runs in {self.folder.path}: stop it first."
            )
        # PostgreSQL does it too, but not where the pid now is another process's or a zombie's.
        for remains in (self.folder.data / "postmaster.pid", *self.folder.run.glob(".s.PGSQL.*")):
            remains.unlink(missing_ok=True)

    def _last_port(self) -> int:
        opts = self.folder.data / "postmaster.opts"
        found = re.search(r'"port=(\d+)"', opts.read_text()) if opts.exists() else None
        return int(found[1]) if found else 0

    def _start(self, port: int, server_lock: int, *, fsync: bool) -> str | None:
        """Why the server did not start; None if it did."""
        socket_dir = socket_dir_for(self.folder, self.account)
        options = [f"port={port}", f'unix_socket_directories="{socket_dir}"', *(() if fsync else CARELESS)]
        command = " ".join(f"-c {shlex.quote(option)}" for option in options)
        with open(self.folder.log, "ab", opener=private) as log:
            before = log.tell()
            done = self.account.run(
                [self.programs / "bin" / "pg_ctl", "start", "--silent", "--wait", "--timeout=110", "-o", command],
                variables={"PGDATA": str(self.folder.data)},
                output=log,  # not a pipe: the server keeps it open
                keep=[server_lock],
            )
        if done.returncode == 0:
            return None
        if socket_dir != self.folder.run:
            shutil.rmtree(socket_dir, ignore_errors=True)
        output = self.folder.log.read_bytes()[before:]
        full = not output and shutil.disk_usage(self.folder.path).free < FULL_BYTES  # then the log is lost as well
        return "No space left on device" if full else reason(output, done.returncode)

    def _shorten_log(self) -> None:
        if self.folder.log.exists() and self.folder.log.stat().st_size > LOG_BYTES:
            os.replace(self.folder.log, self.folder.log.with_suffix(".log.1"))


def _remove(draft: Path) -> None:
    """Its initdb may have outlived who started it, and goes on writing for a moment."""
    deadline = clock.monotonic() + LEFTOVER_SECONDS
    while draft.exists() and clock.monotonic() < deadline:
        shutil.rmtree(draft, ignore_errors=True)
        time.sleep(0.01)


def socket_dir_for(folder: Folder, account: Account) -> Path:
    """A private folder for the Unix socket whose path is short enough: in ours, else a temporary one."""
    own = folder.run
    # A comma or a quote would be punctuation in the setting.
    if fits_socket(own) and not set(str(own)) & set(",\"'"):
        own.mkdir(mode=0o700, exist_ok=True)
        if own.is_symlink():
            raise linked(own)
        return account.own(own)
    runtime = os.environ.get("XDG_RUNTIME_DIR", "") if account.uid is None else ""
    places = [runtime, tempfile.gettempdir(), "/tmp"]  # noqa: S108 (mkdtemp makes a private folder in it)
    for place in filter(os.path.isdir, places):
        if fits_socket(Path(place, "uno-12345678")):
            return account.own(Path(tempfile.mkdtemp(prefix="uno-", dir=place)))
    raise Unavailable(f"There is no folder with a path short enough for the socket of {folder.path}.")


def fits_socket(folder: Path) -> bool:
    """Whether a socket in `folder` has a path the operating system accepts."""
    return len(os.fsencode(folder / ".s.PGSQL.65535")) <= SOCKET_PATH_BYTES


def free_port(wanted: int = 0) -> int:
    """A port of the loopback address nobody listens on now: `wanted`, else any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            if not wanted:
                raise
            return free_port()
        return int(probe.getsockname()[1])


def reason(output: bytes, status: int) -> str:
    """The line of a program's output that says why it failed, without its ornaments."""
    text = output.decode(errors="replace")
    # Advice follows the causes, so the first line is told, but a full disk is always the cause.
    lines = [line for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "No space left" in line or "Address already in use" in line]
    telling += [line for line in lines if re.search(r"FATAL:|PANIC:|error:|could not", line)]
    line = (telling or lines[-1:] or [f"it ended with status {status}"])[0]
    return re.sub(r"^.*?(FATAL|PANIC|ERROR|LOG|WARNING|error):\s+", "", line).strip().rstrip(".")


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)  # of a process that was killed
    with open(draft, "x", opener=private) as file:
        file.write(text)
    os.replace(draft, path)
