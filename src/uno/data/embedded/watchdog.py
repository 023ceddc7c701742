"""Stops the server after its last user. A program of its own, run by its path with `python -IS`.

    watchdog.py watch FOLDER FD   in the background, holding `watch.lock` by the inherited FD
    watchdog.py stop FOLDER       now

It imports nothing of uno: it lives as long as the server and should be small.
"""

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress

PATIENCE = 60.0  # seconds for a checkpoint; then the server is stopped hard and recovers at its next start


def watch(folder: str, watch_lock: int) -> None:
    hold, users, server = (_open(folder, name) for name in ("hold", "users", "server"))
    if os.fork():
        os._exit(0)  # nobody has to wait for us
    while True:
        fcntl.flock(hold, fcntl.LOCK_SH)  # waits while `uno db start` keeps the server
        fcntl.flock(hold, fcntl.LOCK_UN)
        fcntl.flock(users, fcntl.LOCK_EX)
        if _obtained(hold):
            break
        fcntl.flock(users, fcntl.LOCK_UN)
    stop(folder, server)
    for lock in (server, hold, watch_lock):  # before `users`: whoever gets in next must find no server and no watchdog
        os.close(lock)


def stop(folder: str, server: int) -> None:
    """Until `server.lock` is free: a server that is just starting appears only after a while."""
    data = os.path.join(folder, "data")
    _become_owner_of(data)
    told = set()
    socket_dir = ""
    deadline = time.monotonic() + PATIENCE
    while not _obtained(server):
        pid, place = _postmaster(data)
        how = signal.SIGINT if time.monotonic() < deadline else signal.SIGQUIT
        if pid and (pid, how) not in told:
            _signal(pid, how)
            told.add((pid, how))
        socket_dir = place or socket_dir
        time.sleep(0.01)
    if socket_dir and os.path.dirname(socket_dir) != folder:
        _remove(socket_dir)


def _become_owner_of(data: str) -> None:
    """Without root's rights, what the server's user writes into its files cannot do harm."""
    if os.geteuid() != 0 or not os.path.exists(data):
        return
    owner = os.stat(data)
    os.setgroups([])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)


def _postmaster(data: str) -> tuple[int, str]:
    try:
        with open(os.path.join(data, "postmaster.pid")) as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return 0, ""
    return int(lines[0]) if lines else 0, lines[4] if len(lines) > 4 else ""


def _signal(pid: int, how: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, how)


def _remove(socket_dir: str) -> None:
    with suppress(OSError):  # a server that was killed leaves its socket there
        os.rmdir(socket_dir)


def _open(folder: str, name: str) -> int:
    return os.open(os.path.join(folder, f"{name}.lock"), os.O_RDWR | os.O_NOFOLLOW)


def _obtained(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        watch(sys.argv[2], int(sys.argv[3]))
    else:
        stop(sys.argv[2], _open(sys.argv[2], "server"))
