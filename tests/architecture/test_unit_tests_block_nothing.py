"""The guard of `tests/unit/conftest.py` fires, and judges only what it should."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent

BLOCKING = """
import asyncio
import importlib
import time

import pytest

from uno.sync import drive


async def sleep():
    time.sleep(0.6)


def blocks():
    drive(sleep())


async def test_blocks():
    blocks()


async def test_waits():
    await asyncio.sleep(0.6)


@pytest.mark.may_block
async def test_may():
    blocks()


async def test_imports():
    importlib.import_module("slowly")


async def test_is_slow_itself():
    time.sleep(0.6)


def test_has_no_loop():
    blocks()
"""


def test_a_unit_test_that_blocks_its_loop_fails_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nanyio_mode = auto\npythonpath = .\n")
    (tmp_path / "slowly.py").write_text("import time\ntime.sleep(0.6)\n")
    shutil.copy(TESTS / "conftest.py", tmp_path)
    (tmp_path / "unit").mkdir()
    shutil.copy(TESTS / "unit" / "conftest.py", tmp_path / "unit")
    (tmp_path / "unit" / "test_blocking.py").write_text(BLOCKING)
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "anyio", "-p", "no:cacheprovider", "--strict-markers"]
    done = subprocess.run(
        [*command, "--import-mode=importlib"],
        cwd=tmp_path,
        env=environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    output = done.stdout + done.stderr
    assert "6 passed, 1 error in" in output, output
    assert "ERROR unit/test_blocking.py::test_blocks" in output
    assert "test_blocking.py:12 in sleep kept the event loop for" in output
