"""Plays a page of the documentation: runs its code in order, in a folder of its own.

    python tests/docs/play.py docs/bus.md

The first words of a fence say what happens to it:

    ```python             runs. All blocks of a page are one module and share an event loop: `await` works at the top
    ```output             is what the Python blocks before it printed
    ```console            lines with `$ ` run in bash; below each is what it prints, if that is of interest
    ```python file=x.py   is written to that file of the page's folder; so is any other language with file=
    anything else         is only shown

Output is compared without its white space; `...` stands for anything. A command may end with
`# exits 1`. One that ends with `&` runs until the page ends, and what is shown below it is waited for.
127.0.0.1:8000 becomes a port that is free. The page's own mistakes are told as `page:line: reason`.
"""

import ast
import asyncio
import inspect
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from uno.data import embedded

SECONDS = 60.0
ADDRESS = "127.0.0.1:8000"
STAND_INS = Path(__file__).with_name("bin")
FENCE = re.compile(r"^(`{3,})([^`\n]*)\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
LOOSE_FENCE = re.compile(r"^[ \t]*`{3,}", re.MULTILINE)


class Wrong(Exception):
    """What is wrong with a page, and in which line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(frozen=True)
class Block:
    """A fence; `line` is that of its first line of content."""

    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.split()[0] if self.info.split() else ""

    @property
    def file(self) -> str | None:
        return next((word.removeprefix("file=") for word in self.info.split() if word.startswith("file=")), None)


@dataclass(frozen=True)
class Command:
    """A line of a console, with what is shown below it."""

    line: int
    text: str
    shown: str

    @property
    def stays(self) -> bool:
        return self.text.endswith("&")

    @property
    def exit_code(self) -> int:
        said = re.search(r"#\s*exits (\d+)$", self.text)
        return int(said[1]) if said else 0


def blocks(page: str) -> list[Block]:
    """The fences of a page. Raises `Wrong` where one would go unnoticed."""
    found = list(FENCE.finditer(page))
    for loose in LOOSE_FENCE.finditer(page):
        if not any(fence.start() <= loose.start() < fence.end() for fence in found):
            raise Wrong(_line(page, loose.start()), "this fence is indented or not closed, so nobody would run it")
    return [Block(_line(page, fence.start()) + 1, fence[2].strip(), fence[3]) for fence in found]


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console, one that ends with a backslash together with the next line."""
    lines = block.text.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        last = start
        while lines[last].endswith("\\"):
            last += 1
        text = "\n".join([lines[start].removeprefix("$ "), *lines[start + 1 : last + 1]])
        yield Command(block.line + start, text, "\n".join(lines[last + 1 : end]))


def looks_like(shown: str, printed: str, *, whole: bool = True) -> bool:
    """Whether `printed` is what is `shown`, or for `whole=False` has it somewhere."""
    parts = re.split(r"\.\.\.|…", re.sub(r"\s", "", shown))
    find = re.fullmatch if whole else re.search
    return find(".*".join(map(re.escape, parts)), re.sub(r"\s", "", printed), re.DOTALL) is not None


def _line(page: str, offset: int) -> int:
    return page.count("\n", 0, offset) + 1


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Player:
    """Plays the blocks of one page."""

    def __init__(self, name: str, folder: Path, runner: asyncio.Runner) -> None:
        self._name = name
        self._folder = folder
        self._runner = runner
        self._address = f"127.0.0.1:{_free_port()}"
        self._module = ModuleType("__main__")
        self._printed = io.StringIO()
        self._background: list[subprocess.Popen[bytes]] = []

    def play(self, block: Block) -> None:
        text = block.text.replace(ADDRESS, self._address)
        if block.file is not None:
            target = self._folder / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        elif block.language == "python":
            self._run_python(block, text)
        elif block.language == "output":
            self._compare(block.line, text)
        elif block.language == "console":
            for command in commands(Block(block.line, block.info, text)):
                (self._stay if command.stays else self._run)(command)

    def close(self) -> None:
        for process in self._background:
            process.terminate()
        for process in self._background:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()

    def _run_python(self, block: Block, text: str) -> None:
        sys.modules["__main__"] = self._module
        try:
            source = "\n" * (block.line - 1) + text
            code = compile(source, self._name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            with redirect_stdout(self._printed):
                made = eval(code, self._module.__dict__)
                if inspect.iscoroutine(made):
                    self._runner.run(made)
        except SyntaxError as error:
            raise Wrong(error.lineno or block.line, str(error)) from None
        except BaseException as error:
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == self._name]
            raise Wrong((lines and lines[-1]) or block.line, traceback.format_exc()) from None

    def _compare(self, line: int, shown: str) -> None:
        printed = self._printed.getvalue()
        self._printed.seek(0)
        self._printed.truncate()
        _require(line, "the code above", shown, printed)

    def _run(self, command: Command) -> None:
        made = subprocess.run(
            ["bash", "-c", command.text],
            env=self._environment(),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
        )
        printed, both = made.stdout.decode(), (made.stdout + made.stderr).decode()
        if made.returncode != command.exit_code:
            raise Wrong(command.line, f"{command.text!r} exits {made.returncode} and prints:\n{both}")
        # Progress goes to standard error and is not shown; errors are.
        if command.shown.strip() and not looks_like(command.shown, printed):
            _require(command.line, repr(command.text), command.shown, both)

    def _stay(self, command: Command) -> None:
        """Start a command and wait until it has printed what is shown."""
        log = self._folder / f".background-{len(self._background)}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command.text.removesuffix('&')}"],
                env=self._environment(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._background.append(process)
        deadline = time.monotonic() + SECONDS
        while not looks_like(command.shown, log.read_text(), whole=False):
            if process.poll() is not None or time.monotonic() > deadline:
                _require(command.line, repr(command.text), command.shown, log.read_text())
            time.sleep(0.02)

    def _environment(self) -> dict[str, str]:
        # What only stands in for a missing program comes last.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), str(STAND_INS)])
        return {**os.environ, "PATH": path, "UNO_API_PORT": self._address.rpartition(":")[2]}


def _require(line: int, what: str, shown: str, printed: str) -> None:
    if not looks_like(shown, printed):
        raise Wrong(line, f"{what} prints\n{printed}\nbut the page shows\n{shown}")


def play(page: Path) -> str | None:
    """What is wrong with the page, if anything."""
    name = str(page)
    text = page.read_text()
    folder = Path(tempfile.mkdtemp(prefix="uno-docs-"))
    folder.chmod(0o755)  # a PostgreSQL of root's runs as somebody else, who passes through here
    os.environ |= {"UNO_DATA_DIR": str(folder / ".data"), "NO_COLOR": "1", "COLUMNS": "120"}
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        with asyncio.Runner() as runner:
            player = Player(name, folder, runner)
            try:
                for block in blocks(text):
                    player.play(block)
            finally:
                player.close()
    except Wrong as wrong:
        return f"{name}:{wrong.line}: {wrong}"
    finally:
        os.chdir("/")
        _clear(folder)
    return None


def _clear(folder: Path) -> None:
    for lock in folder.rglob("start.lock"):
        embedded.stop(lock.parent, force=True)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for given in sys.argv[1:]:
        if found := play(Path(given)):
            sys.exit(found)
