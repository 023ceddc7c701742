"""Everything, one after another; writes the tables into README.md."""

import argparse
import asyncio
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import aio, auth, bulk, bus, http, memory, modules, resilience, rest, startup
from benchmarks.measure import Section, as_json, machine, rendered

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
# Rounds of each: the shorter a round, the more of them.
ALL = (
    (bus.measure, 9),
    (modules.measure, 5),
    (resilience.measure, 15),
    (aio.measure, 15),
    (http.measure, 5),
    (rest.measure, 5),
    (bulk.measure, 5),
    (startup.measure, 5),
    (auth.measure, 7),
    (memory.measure, 3),
)


async def _measure() -> list[Section]:
    sections = []
    for measure, rounds in ALL:
        section = await measure(rounds)
        print(rendered([section]), end="\n\n", flush=True)
        sections.append(section)
    return sections


def _write(sections: list[Section]) -> None:
    before, _, rest = README.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    ran = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}"
    README.write_text(f"{before}{BEGIN}\n{ran}\n\n{rendered(sections)}\n{END}{after}")


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    sections = asyncio.run(_measure())
    _write(sections)
    if given.json:
        given.json.write_text(as_json(sections))


if __name__ == "__main__":
    _main()
