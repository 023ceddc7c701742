"""The guard of `tests/time_limit.py` fires, and what comes after it passes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HANGING = """
import asyncio
import threading
import time

import pytest

pytestmark = pytest.mark.time_limit(0.5)


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
async def in_the_background(anyio_backend):
    ends = asyncio.Event()
    task = asyncio.create_task(ends.wait())
    yield task
    ends.set()
    assert await task


@pytest.fixture(scope="session")
def ends_never():
    yield
    threading.Event().wait()


@pytest.fixture
async def begins_never():
    await asyncio.Event().wait()


def test_is_blocked():
    threading.Event().wait()


async def test_blocks_its_loop():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(int))
        time.sleep(60)


async def test_waits():
    await asyncio.Event().wait()


async def swallowing():
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()


async def test_waits_for_a_task_that_swallows():
    async with asyncio.TaskGroup() as group:
        group.create_task(swallowing())


async def test_swallows_and_passes():
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        pass


async def test_is_never_begun(begins_never):
    pass


async def test_after_them(in_the_background):
    await asyncio.sleep(0)
    assert not in_the_background.done()
    assert not asyncio.current_task().cancelling()


def test_has_a_fixture_that_ends_never(ends_never):
    pass
"""

GOING_ON = """
import threading

import pytest


@pytest.mark.time_limit(0.2)
def test_goes_on():
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            pass
"""


def run_pytest(folder: Path, content: str, *arguments: str) -> tuple[int, str]:
    (folder / "pytest.ini").write_text("[pytest]\nanyio_mode = auto\n")
    (folder / "test_them.py").write_text(content)
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    plugins = ["-p", "anyio", "-p", "xdist", "-p", "tests.time_limit", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--tb=short", *plugins, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("processes", ["0", "1"])
def test_what_hangs_fails_by_name_and_what_follows_passes(tmp_path: Path, processes: str) -> None:
    code, output = run_pytest(tmp_path, HANGING, "-n", processes)
    assert code == 1
    assert "5 failed, 2 passed, 2 errors in" in output, output
    assert "test_them.py::test_waits: its call took more than 0.5 s" in output
    assert "test_them.py::test_is_never_begun: its setup took more than 0.5 s" in output
    assert "test_them.py::test_has_a_fixture_that_ends_never: its teardown took more than 0.5 s" in output
    assert "in test_waits\n    await asyncio.Event().wait()" in output


def test_what_nothing_ends_ends_the_process(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, GOING_ON, "-n", "0")
    assert code == 1
    assert "test_them.py::test_goes_on: its call took more than 0.2 s, and goes on" in output
