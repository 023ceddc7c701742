"""How everything here is measured: in turns, in rounds, compared pair by pair.

One round runs every variant once. A figure is the median of its rounds, a ratio the median of the
ratios within each round, so that a machine which slows down meanwhile slows both sides. Nothing is
asserted: a missed limit is a word in the table, not an exit status.
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

from uno.data import embedded

Rounds = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. `limit` is what the figure has to keep: at most, or `at_least`."""

    what: str
    figure: float
    unit: str = "×"
    limit: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.limit is None:
            return ""
        kept = self.figure >= self.limit if self.at_least else self.figure <= self.limit
        return "PASS" if kept else "limit missed"

    def cells(self) -> list[str]:
        limit = "" if self.limit is None else f"{'≥' if self.at_least else '≤'} {shown(self.limit, self.unit)}"
        return [self.what, shown(self.figure, self.unit), limit, self.verdict, self.note]


@dataclass(frozen=True, slots=True)
class Section:
    """The lines of one benchmark, under its title."""

    title: str
    lines: Sequence[Line]


def shown(figure: float, unit: str) -> str:
    digits = 0 if not unit else 2 if abs(figure) < 10 else 1 if abs(figure) < 100 else 0
    return f"{figure:,.{digits}f} {unit}".strip()


async def in_turns(rounds: int, variants: Mapping[str, Callable[[], Awaitable[float]]]) -> Rounds:
    """Every variant once a round; each round begins with another one, so that none is always first."""
    figures: Rounds = {name: [] for name in variants}
    names = list(variants)
    for number in range(rounds):
        at = number % len(names)
        for name in (*names[at:], *names[:at]):
            figures[name].append(await variants[name]())
    return figures


def ratio(figures: Rounds, one: str, other: str) -> float:
    """The median of `one` / `other`, round by round."""
    return median(a / b for a, b in zip(figures[one], figures[other], strict=True))


@contextmanager
def database_folder() -> Iterator[Path]:
    """A folder for an embedded server, which has stopped before the folder is removed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            yield folder
        finally:
            embedded.stop(folder, force=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def repeated(times: int, loop: Callable[[int], Awaitable[Any]]) -> Callable[[], Awaitable[float]]:
    """A variant: microseconds of this thread's CPU time for one of `times` passes of `loop(times)`."""

    async def run() -> float:
        started = thread_time()
        await loop(times)
        return (thread_time() - started) / times * 1e6

    return run


def table(lines: Iterable[Line]) -> str:
    """A Markdown table."""
    rows = [["what", "figure", "limit", "", "note"], *(line.cells() for line in lines)]
    widths = [max(len(row[n]) for row in rows) for n in range(5)]
    padded = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    padded.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(padded)


def rendered(sections: Iterable[Section]) -> str:
    return "\n\n".join(f"### {section.title}\n\n{table(section.lines)}" for section in sections)


def machine() -> str:
    """What it ran on, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}"
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {name}, Python {platform.python_version()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "processor unknown"


def as_json(sections: Iterable[Section]) -> str:
    found = [{"title": s.title, "lines": [asdict(x) | {"verdict": x.verdict} for x in s.lines]} for s in sections]
    return json.dumps({"machine": machine(), "sections": found}, indent=2, ensure_ascii=False)


def main(measure: Callable[[int], Awaitable[Section]], rounds: int) -> None:
    """The command line of one benchmark: `--rounds N`, `--json`."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    section = asyncio.run(_run(measure, given.rounds))
    print(as_json([section]) if given.json else f"{machine()}\n\n{rendered([section])}")


async def _run(measure: Callable[[int], Awaitable[Section]], rounds: int) -> Section:
    return await measure(rounds)
