"""What the demo holds in memory when nobody asks it anything, and what a stream of a million rows adds."""

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

from benchmarks import streaming
from benchmarks.measure import Line, Rounds, Section, database_folder, free_port, in_turns, main
from uno.data import embedded

START_SECONDS = 120.0
IDLE_SECONDS = 5.0
ROWS = 1_000_000
# What issue 4 allows above idle.
STREAM_MIB = 50.0
MIB = 2**20


@contextmanager
def demo(folder: Path) -> Iterator[psutil.Process]:
    """`uno demo` on a folder of its own, ready to answer."""
    port = free_port()
    command = [sys.executable, "-m", "uno.cli", "demo", "--port", str(port), "--data-dir", str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/health/ready", child)
        yield psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


def _wait(url: str, child: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_SECONDS
    while child.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:  # nobody listens, or nobody answers yet
            time.sleep(0.1)
    raise RuntimeError("The demo does not start.")


def resident(processes: Iterable[psutil.Process]) -> float:
    """MiB, what processes share counted once (PSS; RSS where the system does not tell)."""
    infos = [process.memory_full_info() for process in processes]
    return sum(getattr(info, "pss", info.rss) for info in infos) / MIB


def unshared(processes: Iterable[psutil.Process]) -> float:
    """MiB as `top` shows them, added up."""
    return sum(process.memory_info().rss for process in processes) / MIB


def database(folder: Path) -> list[psutil.Process]:
    pid = embedded.status(folder).pid
    if pid is None:
        raise RuntimeError("The demo has no database.")
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def watchdogs(folder: Path) -> list[psutil.Process]:
    """The process that stops the database when its last user is gone."""
    found = psutil.process_iter(["cmdline"])
    return [one for one in found if "-IS" in (line := one.info["cmdline"] or []) and str(folder) in " ".join(line)]


def measured() -> dict[str, float]:
    with database_folder() as folder, demo(folder) as server:
        time.sleep(IDLE_SECONDS)
        found = {"server": [server], "database": database(folder), "watchdog": watchdogs(folder)}
        pss = {name: resident(processes) for name, processes in found.items()}
        return pss | {f"{name} rss": unshared(processes) for name, processes in found.items()}


def once(figures: Rounds) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        found = await asyncio.to_thread(measured)
        for name, one in found.items():
            figures.setdefault(name, []).append(one)
        return found["server"]

    return run


async def streams() -> list[Line]:
    """A line for each backend and plan; the process reads every row and keeps none."""
    lines = []
    with database_folder() as folder, embedded.acquire(folder) as lease, tempfile.TemporaryDirectory() as files:
        for backend, url in (("PostgreSQL", lease.server.url), ("SQLite", f"sqlite:///{files}/streamed.db")):
            await streaming.fill(url, ROWS)
            for commit in ("auto", "session"):
                found = await _streamed(url, commit)
                what = f"a stream of {ROWS:,} rows, {backend}, {'fast' if commit == 'auto' else 'session'} plan"
                lines.append(Line(what, found["grown"], "MiB", limit=STREAM_MIB, note=f"above {found['idle']:.0f} MiB"))
    return lines


async def _streamed(url: str, commit: str) -> dict[str, float]:
    command = (sys.executable, "-m", "benchmarks.streaming", url, str(ROWS), commit)
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError("The stream was not read.")
    found: dict[str, float] = json.loads(printed)
    return found


async def measure(rounds: int) -> Section:
    figures: Rounds = {}
    await in_turns(rounds, {"demo": once(figures)})
    names = {
        "server": "uno demo: server and worker, one process",
        "database": "its PostgreSQL, all processes",
        "watchdog": "its watchdog",
    }
    lines = [
        Line(text, median(figures[name]), "MiB", note=f"RSS {median(figures[f'{name} rss']):.0f} MiB")
        for name, text in names.items()
    ]
    lines += await streams()
    return Section(f"memory: the demo, idle for {IDLE_SECONDS:.0f} s, and what a stream adds", lines)


if __name__ == "__main__":
    main(measure, rounds=3)
