"""Every page of the documentation is played: its code runs and prints what the page shows."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from uno.data import Database, schema
from uno.testing.postgres import DatabaseFarm

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]
SERVER = "$ python -u -m http.server --bind 127.0.0.1 $UNO_API_PORT &\nServing HTTP on"
Play = Callable[..., Awaitable[subprocess.CompletedProcess[bytes]]]


async def _prepare(url: str) -> None:
    async with Database(url) as database:
        await schema.create(database)


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        await farm.template("docs", _prepare)
        yield farm


def _environment() -> dict[str, str]:
    """That of these tests without what is said to uno or pytest."""
    ours = re.compile(r"PYTEST_|UNO_(?!TEST_)")
    told = {name: value for name, value in os.environ.items() if not ours.match(name)}
    return {**told, "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture
async def play(farm: DatabaseFarm) -> AsyncIterator[Play]:
    """`await play(page)` plays it over a database of its own, which has uno's tables."""
    url = await farm.create("docs")

    async def playing(page: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        told = {**_environment(), "UNO_DB_URL": url, **environment}
        command = [sys.executable, "-W", "error", str(HERE / "play.py"), page]
        return await anyio.run_process(command, cwd=ROOT, env=told, check=False, stderr=subprocess.STDOUT)

    yield playing
    await farm.drop(url)


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., str]:
    """`page("python", "1 / 0")` is the path of a page with these fences."""

    def make(*fences: str) -> str:
        pairs = zip(fences[::2], fences[1::2], strict=True)
        made = tmp_path / "page.md"
        made.write_text("# A page\n\n" + "\n".join(f"```{info}\n{text}\n```\n" for info, text in pairs))
        return str(made)

    return make


@pytest.mark.parametrize("name", PAGES)
async def test_the_code_of_a_page_runs_as_it_is_shown(name: str, play: Play) -> None:
    played = await play(name)
    assert played.returncode == 0, played.stdout.decode()


@pytest.mark.parametrize(
    ("fences", "line", "reason"),
    [
        (["python", "x = 1", "python", "y = 2\nx / 0"], 9, "ZeroDivisionError"),
        (["python", "x = 1\nassert await some(x)"], 5, "NameError"),
        (["python", "def f(:"], 4, "invalid syntax"),
        (["python", "print('ab')", "output", "a b c"], 8, "but the page shows"),
        (["console", "$ true\n$ false"], 5, "'false' exits 1"),
        (["console", "$ false  # exits 2"], 4, "exits 1 and prints"),
        (["console", "$ echo one\ntwo"], 4, "but the page shows"),
        (["console", "$ echo started &\nready"], 4, "prints\nstarted"),
        (["python file=shop.py", "def f(:", "console", "$ python -c 'import shop'"], 8, "SyntaxError"),
    ],
)
async def test_a_page_that_is_wrong_fails_with_its_line(
    fences: list[str], line: int, reason: str, play: Play, page: Callable[..., str]
) -> None:
    name = page(*fences)
    played = await play(name)
    assert played.returncode == 1
    assert f"{name}:{line}: " in played.stdout.decode()
    assert reason in played.stdout.decode()


async def test_a_page_with_a_fence_that_nobody_would_run_fails(play: Play, tmp_path: Path) -> None:
    hidden = tmp_path / "page.md"
    hidden.write_text("1. Then:\n\n   ```python\n   1 / 0\n   ```\n")
    played = await play(str(hidden))
    assert played.returncode == 1
    assert b":3: this fence is indented or not closed" in played.stdout


async def test_files_servers_and_output_of_a_page_come_together(play: Play, page: Callable[..., str]) -> None:
    name = page(
        "python file=web/app.py",
        "PORT = '127.0.0.1:8000'.split(':')[1]\nprint('at', PORT)",
        "console",
        f"$ python -c 'import web.app'\nat ...\n{SERVER}",
        "console",
        "$ curl -s http://127.0.0.1:8000/web/app.py \\\n  | head -1\nPORT = ...",
        "python",
        "import asyncio\nawait asyncio.sleep(0)\nprint('some',\n  'words')",
        "output",
        "some ... words",
    )
    played = await play(name)
    assert played.returncode == 0, played.stdout.decode()


async def test_pages_are_played_without_curl_too(play: Play, page: Callable[..., str], tmp_path: Path) -> None:
    for program in ("bash", "env", "sh"):
        (tmp_path / program).symlink_to(f"/bin/{program}" if program != "env" else "/usr/bin/env")
    name = page(
        "console",
        "$ echo '{}' > data.json\n"
        f"{SERVER}\n"
        "$ curl -si http://127.0.0.1:8000/data.json\nHTTP/... 200 ... application/json ... {}\n"
        "$ curl -s -X DELETE -H 'X-Why: not' --json '{}' http://127.0.0.1:8000/\n...Unsupported method...",
    )
    played = await play(name, PATH=str(tmp_path))
    assert played.returncode == 0, played.stdout.decode()


def _anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_the_links_of_a_page_lead_somewhere(name: str) -> None:
    page = ROOT / name
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        found = page.parent / target if target else page
        assert found.exists(), f"{name} links to {link}"
        assert not anchor or anchor in _anchors(found), f"{name} links to {link}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


async def test_tables_in_the_documentation_are_those_of_the_code() -> None:
    checked = await anyio.run_process(
        [sys.executable, str(HERE / "generate.py"), "--check"],
        cwd=ROOT,
        env=_environment(),
        check=False,
        stderr=subprocess.STDOUT,
    )
    assert checked.returncode == 0, checked.stdout.decode()
