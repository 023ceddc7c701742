"""An embedded server that is killed comes back by itself; folders that somebody else prepared are refused."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from uno.data import Database
from uno.data.embedded import acquire, start, status, stop
from uno.data.embedded.locks import exclusive
from uno.errors import Misconfigured, Unavailable, UnoError
from uno.settings import DatabaseSettings

SECONDS = 20.0
NOBODY = 65534


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder the server's user can enter, which pytest's own is not for root."""
    path = Path(tempfile.mkdtemp(prefix="uno-revival-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


async def works(database: Database) -> bool:
    try:
        return bool((await database.query(text("SELECT 42")))[0][0] == 42)
    except UnoError:
        return False


async def works_again(database: Database) -> None:
    deadline = time.monotonic() + SECONDS
    while not await works(database):
        assert time.monotonic() < deadline, "the server did not come back"
        await asyncio.sleep(0.05)


async def until_gone(folder: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while (await asyncio.to_thread(status, folder)).running:
        assert time.monotonic() < deadline, "the server did not end"
        await asyncio.sleep(0.01)


def kill(folder: Path) -> tuple[int, int]:
    """The pid and the port of the server that was."""
    found = status(folder)
    assert found.pid
    assert found.port
    os.kill(found.pid, signal.SIGKILL)
    return found.pid, found.port


async def test_a_killed_server_comes_back_at_the_same_port_while_a_database_is_open(place: Path) -> None:
    folder = place / "alone"
    async with Database(f"embedded:{folder}") as database:
        for _ in range(2):
            # Several connections wait in the pool, and all of them break.
            assert all(await asyncio.gather(*(works(database) for _ in range(3))))
            pid, port = kill(folder)
            await until_gone(folder)
            with pytest.raises(Unavailable):
                await database.ping()
            await works_again(database)
            after = status(folder)
            assert (after.pid != pid, after.port) == (True, port)
    await until_gone(folder)


async def test_a_killed_server_comes_back_elsewhere_when_its_port_is_taken(place: Path) -> None:
    folder = place / "alone"
    async with Database(f"embedded:{folder}", settings=DatabaseSettings(connect_timeout=0.5)) as database:
        assert await works(database)
        _, port = kill(folder)
        await until_gone(folder)
        with closing(socket.create_server(("127.0.0.1", port))):  # it accepts and says nothing
            await works_again(database)
            now = status(folder).port
            assert now not in (None, port)
            assert f":{now}/" in database.dsn
    await until_gone(folder)


async def test_a_server_whose_data_folder_was_deleted_is_unavailable(place: Path) -> None:
    folder = place / "deleted"
    async with Database(f"embedded:{folder}") as database:
        assert await works(database)
        pid = status(folder).pid
        assert pid
        shutil.rmtree(folder / "data", ignore_errors=True)  # the server writes meanwhile
        await database.engine.dispose()
        with pytest.raises(Unavailable, match="cannot read or write its files"):
            await database.ping()
        os.kill(pid, signal.SIGKILL)  # by itself it looks only once a minute
    await until_gone(folder)


async def test_two_databases_share_the_server_that_came_back(place: Path) -> None:
    url = f"embedded:{place / 'alone'}"
    async with Database(url) as one, Database(url) as other:
        assert await works(one)
        assert await works(other)
        kill(place / "alone")
        await asyncio.gather(works_again(one), works_again(other))
        assert one.dsn == other.dsn
    await until_gone(place / "alone")


async def test_a_server_that_was_stopped_on_purpose_stays_stopped_until_it_is_started(place: Path) -> None:
    folder = place / "alone"
    async with Database(f"embedded:{folder}") as database:
        assert await works(database)
        assert await asyncio.to_thread(stop, folder, force=True)
        with acquire(folder) as lease:
            await works_again(database)
            assert await asyncio.to_thread(stop, folder, force=True)
            with pytest.raises(Unavailable, match=f"was stopped: start it with `uno db start --data-dir {folder}`"):
                await asyncio.to_thread(lease.revive)
        assert not await works(database)
        assert not status(folder).running
        await asyncio.to_thread(start, folder)
        await works_again(database)
        assert await asyncio.to_thread(stop, folder, force=True)


# ── folders that somebody else prepared ──


@pytest.fixture
def prepared(place: Path) -> Iterator[Path]:
    """A folder that looks like uno's."""
    path = Path(tempfile.mkdtemp(prefix="prepared-", dir=place))
    path.chmod(0o711)
    (path / "start.lock").touch(mode=0o600)
    yield path
    if not (path / "start.lock").is_symlink():
        stop(path, force=True)
    shutil.rmtree(path)


def of_another_user(path: Path) -> Path:
    if os.geteuid() != 0:
        return Path("/")
    for entry in (path, *path.iterdir()):
        os.chown(entry, NOBODY, NOBODY, follow_symlinks=False)
    return path


def test_a_folder_of_another_user_is_refused_and_nothing_in_it_is_followed(prepared: Path, place: Path) -> None:
    victim = place / "victim"
    victim.write_text("precious")
    for name in ("password.new", "postgresql.log"):
        (prepared / name).symlink_to(victim)
    with pytest.raises(Misconfigured, match=r"belongs to \w+, not to .*: run this as \w+, or choose another folder"):
        acquire(of_another_user(prepared), fsync=False)
    assert victim.read_text() == "precious"


def test_an_empty_folder_of_another_user_is_refused_and_left_as_it_is(prepared: Path) -> None:
    (prepared / "start.lock").unlink()
    with pytest.raises(Misconfigured, match="belongs to"):
        acquire(of_another_user(prepared), fsync=False)
    assert prepared.stat().st_mode & 0o777 == 0o711
    assert list(prepared.iterdir()) == []


def test_a_link_or_a_lock_of_another_user_is_refused(prepared: Path) -> None:
    if os.geteuid() == 0:
        os.chown(prepared / "start.lock", NOBODY, NOBODY)
        with pytest.raises(Misconfigured, match="start.lock belongs to"):
            acquire(prepared, fsync=False)
        os.chown(prepared / "start.lock", 0, 0)
        link = prepared.with_name("link")
        link.symlink_to(prepared)
        os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
        with pytest.raises(Misconfigured, match="link belongs to"):
            acquire(link, fsync=False)


def test_the_process_that_a_folder_of_another_user_names_is_not_stopped(prepared: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as innocent:
        (prepared / "hold.lock").write_text(str(innocent.pid))
        with exclusive(prepared / "hold.lock", within=0, sentence=""):
            if of_another_user(prepared) == prepared:
                with pytest.raises(Misconfigured, match="belongs to"):
                    stop(prepared)
        assert innocent.poll() is None
        innocent.kill()


def test_a_folder_others_may_write_to_is_refused_unless_it_is_empty(prepared: Path) -> None:
    prepared.chmod(0o777)
    with pytest.raises(Misconfigured, match="Other users may write to .*: run `chmod go-w "):
        acquire(prepared, fsync=False)
    (prepared / "start.lock").unlink()
    with acquire(prepared, fsync=False):
        assert prepared.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("name", ["start.lock", "users.lock", "password", "postgresql.log", "run", "data"])
def test_a_link_in_the_folder_is_refused_and_not_followed(prepared: Path, place: Path, name: str) -> None:
    victim = place / f"victim-of-{name}"
    victim.mkdir() if name in ("run", "data") else victim.write_text("precious")
    before = victim.stat()
    (prepared / name).unlink(missing_ok=True)
    (prepared / name).symlink_to(victim)
    with pytest.raises(Misconfigured, match=f"{name} is a symbolic link, which .* does not follow: remove it"):
        acquire(prepared, fsync=False)
    after = victim.stat()
    assert (after.st_uid, after.st_mode, after.st_mtime_ns) == (before.st_uid, before.st_mode, before.st_mtime_ns)


def test_a_link_in_place_of_the_new_password_is_replaced(prepared: Path, place: Path) -> None:
    victim = place / "victim"
    victim.write_text("precious")
    (prepared / "password.new").symlink_to(victim)
    with acquire(prepared, fsync=False) as lease:
        assert (prepared / "password").read_text() == lease.server.password
    assert victim.read_text() == "precious"
