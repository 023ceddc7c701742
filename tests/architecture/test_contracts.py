"""The import contracts of `pyproject.toml` hold, and break when they are broken."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(sys.argv[1], no_cache=True))
"""


def lint(source: Path) -> subprocess.CompletedProcess[str]:
    """Check the package `uno` in `source` against uno's contracts."""
    environment = os.environ | {"PYTHONPATH": str(source), "COLUMNS": "1000"}
    command = [sys.executable, "-c", LINT, str(ROOT / "pyproject.toml")]
    return subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)


def broken(output: str) -> list[str]:
    return re.findall(r"^(.*) BROKEN\b", output, re.MULTILINE)


def build(source: Path, files: dict[str, str]) -> Path:
    for name, text in {"__init__.py": "", "domain/__init__.py": "", "telemetry/__init__.py": "", **files}.items():
        path = source / "uno" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return source


def test_uno_keeps_its_contracts() -> None:
    done = lint(ROOT / "src")
    assert done.returncode == 0, done.stdout + done.stderr


STAIRS = "Imports only go down the stairs"
BROKEN = {
    "domain_uses_bus": ({"domain/entity.py": "import uno.bus", "bus/__init__.py": ""}, STAIRS),
    "errors_use_clock": ({"errors.py": "import uno.clock", "clock.py": ""}, STAIRS),
    "audit_knows_queue": ({"audit/log.py": "import uno.queue", "queue/__init__.py": ""}, STAIRS),
    "app_uses_api": ({"app/app.py": "import uno.api", "api/__init__.py": ""}, STAIRS),
    "unlisted_room": ({"attic/__init__.py": ""}, STAIRS),
    "app_uses_fastapi": ({"app/app.py": "import fastapi"}, "The web framework is known in api and testing only"),
    "bus_uses_sqlalchemy": (
        {"bus/bus.py": "from sqlalchemy.ext.asyncio import AsyncSession"},
        "SQLAlchemy is known in data and in tables, statements, postgres and sqlite files",
    ),
    "bus_uses_dishka": ({"bus/bus.py": "import dishka"}, "dishka is known in di only"),
    "domain_uses_asyncio": (
        {"domain/entity.py": "import asyncio"},
        "The domain knows no event loop and, of uno, only the ground",
    ),
}


@pytest.mark.parametrize(("files", "contract"), BROKEN.values(), ids=BROKEN.keys())
def test_a_wrong_import_breaks_its_contract(tmp_path: Path, files: dict[str, str], contract: str) -> None:
    done = lint(build(tmp_path, files))
    assert done.returncode == 1
    assert broken(done.stdout) == [contract]


def test_imports_at_home_keep_the_contracts(tmp_path: Path) -> None:
    right = {
        "api/router.py": "import fastapi, starlette.requests\nimport uno.app",
        "app/__init__.py": "import uno.audit, uno.queue",
        "audit/tables.py": "import sqlalchemy as sa\nimport uno.data",
        "queue/postgres.py": "from sqlalchemy import text",
        "data/database.py": "import sqlalchemy",
        "di/scope.py": "import dishka",
        "bus/bus.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import uno.app",
    }
    done = lint(build(tmp_path, right))
    assert done.returncode == 0, done.stdout + done.stderr
