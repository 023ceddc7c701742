"""Importing costs what it must: each module alone works, and the front door brings nothing with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
GROUND = ("errors", "result", "ids", "clock", "context", "messages", "settings", "health")
GROUND_LIBRARIES = {
    "annotated_types", "dotenv", "pydantic", "pydantic_core", "pydantic_settings",
    "typing_extensions", "typing_inspection", "ulid",
}  # fmt: skip

# Libraries are loaded first, once: each fork then costs uno's own modules only.
IMPORT_EACH_ALONE = """
import os, sys, traceback
import alembic, asyncpg, dishka, fastapi, httpx2, pydantic_settings, rich, sqlalchemy.ext.asyncio
import structlog, typer, ulid, uvicorn
import joserfc.jwt, limits.aio, opentelemetry.exporter.otlp.proto.http.trace_exporter, opentelemetry.sdk.metrics
import cashews, prometheus_client

broken, running = [], {}

def wait():
    child, status = os.wait()
    name = running.pop(child)
    if status:
        broken.append(name)

for name in sys.argv[1:]:
    if len(running) == os.cpu_count():
        wait()
    if child := os.fork():
        running[child] = name
        continue
    try:
        __import__(name)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
while running:
    wait()
sys.exit(", ".join(broken) or None)
"""

NEW_LIBRARIES = """
import sys
before = set(sys.modules)
__import__(sys.argv[1])
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*(name for name in roots - sys.stdlib_module_names - {"uno"} if not name.startswith("_sysconfigdata")))
"""


def modules() -> list[str]:
    files = [path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py")]
    # Alembic runs the revisions as scripts; they are no modules.
    found = [f for f in files if f.stem != "__main__" and "revisions" not in f.parts]
    return sorted(".".join(f.parts).removesuffix(".__init__") for f in found)


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def libraries_loaded_by(module: str) -> set[str]:
    done = python(NEW_LIBRARIES, module)
    assert not done.returncode, done.stderr
    return set(done.stdout.split())


def test_every_module_can_be_imported_first() -> None:
    done = python(IMPORT_EACH_ALONE, *modules())
    assert not done.returncode, done.stderr


def test_no_file_shadows_a_folder() -> None:
    assert [path for path in SOURCE.rglob("*.py") if path.with_suffix("").is_dir()] == []


def test_importing_uno_loads_no_library() -> None:
    assert libraries_loaded_by("uno") == set()


@pytest.mark.parametrize("module", [*GROUND, "domain"])
def test_ground_and_domain_load_no_web_framework_no_orm_and_no_driver(module: str) -> None:
    assert libraries_loaded_by(f"uno.{module}") <= GROUND_LIBRARIES


def test_the_check_sees_a_library() -> None:
    assert "fastapi" in libraries_loaded_by("fastapi")
