"""The size of things, and what no file may hold."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "docs", "benchmarks", ".ci")
TEXT = {".py", ".md", ".toml", ".txt", ".ini", ".cfg", ".sql", ".mako", ".json", ".yml", ".yaml", ".sh", ""}

# Written in pieces, or this file would hold them itself.
REGISTRIES = [
    ".".join(parts) for parts in (("pypi", "org"), ("files", "pythonhosted", "org"), ("registry", "npmjs", "org"))
]
MACHINE_PATH = re.compile(r"(?<![\w.~-])/" + r"(?:work|root|farm)/")


def texts() -> Iterator[tuple[Path, str]]:
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        files += (ROOT / folder).rglob("*")
    for path in files:
        if (
            path.is_file()
            and path.suffix in TEXT
            and not path.name.startswith(".git")
            and "__pycache__" not in path.parts
        ):
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def functions() -> dict[str, int]:
    """The length in lines of every function of uno."""
    lengths = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{path.name}:{node.lineno} {node.name}"] = (node.end_lineno or 0) - node.lineno + 1
    return lengths


def test_the_readme_fits_on_a_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_no_file_is_longer_than_500_lines() -> None:
    lengths = {path: text.count("\n") for path, text in texts() if path.suffix in (".py", ".md")}
    assert {path: lines for path, lines in lengths.items() if lines > 500} == {}


def test_functions_are_short() -> None:
    lengths = functions()
    long = {name: lines for name, lines in lengths.items() if lines >= 50}
    assert median(lengths.values()) <= 10
    assert len(long) <= 0.05 * len(lengths), long


def test_no_file_names_a_package_registry() -> None:
    assert [(path, host) for path, text in texts() for host in REGISTRIES if host in text] == []


def test_no_file_holds_a_path_of_the_machine_it_was_written_on() -> None:
    assert [(path, found.group()) for path, text in texts() if (found := MACHINE_PATH.search(text))] == []
