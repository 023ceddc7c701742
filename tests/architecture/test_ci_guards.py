"""The guards of `tests/conftest.py` fire."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"

LEFT_OUT = """
import pytest

def test_passes(): pass

def test_skips(): pytest.skip("too slow")

@pytest.mark.skip(reason="later")
def test_is_marked(): pass

@pytest.mark.xfail(reason="broken")
def test_is_expected_to_fail(): assert False
"""


def run_pytest(folder: Path, *arguments: str, ci: bool) -> tuple[int, str]:
    shutil.copy(CONFTEST, folder)
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | ({"CI": "true"} if ci else {})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_in_ci_a_test_left_out_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_left_out.py").write_text(LEFT_OUT)
    code, output = run_pytest(tmp_path, ci=True)
    assert code == 1
    assert "2 failed, 1 passed, 1 error in" in output
    assert "in CI no test is skipped or expected to fail" in output


def test_at_home_a_test_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "test_left_out.py").write_text(LEFT_OUT)
    code, output = run_pytest(tmp_path, ci=False)
    assert code == 0
    assert "1 passed, 2 skipped, 1 xfailed" in output


def test_in_ci_a_file_left_out_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_whole_file.py").write_text("import pytest\npytest.skip('not here', allow_module_level=True)\n")
    code, output = run_pytest(tmp_path, ci=True)
    assert code == 2
    assert "in CI no test is skipped" in output


def test_in_ci_deselecting_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_left_out.py").write_text(LEFT_OUT)
    code, output = run_pytest(tmp_path, "-k", "passes", ci=True)
    assert code == 4
    assert "In CI no test is deselected" in output
