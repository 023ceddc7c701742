"""The front door is the house: its map and its names are what stands behind it."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import uno

HOUSE = Path(uno.__file__).parent
ROOMS = sorted({path.parent.name for path in HOUSE.glob("*/*.py")})


def imported_for_type_checkers() -> dict[str, str]:
    """`{name: module}` of the `if TYPE_CHECKING:` block of `uno/__init__.py`."""
    tree = ast.parse(Path(uno.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {str(name.asname): str(node.module) for node in imports for name in node.names}


def test_the_map_shows_every_file_and_room_and_nothing_else() -> None:
    shown = re.findall(r"^ *(\w+(?:\.py|/)) ", uno.__doc__ or "", re.MULTILINE)
    there = [path.name for path in HOUSE.glob("*.py")] + [f"{room}/" for room in ROOMS]
    assert sorted(shown) == sorted(there)


def test_every_name_of_the_front_door_resolves() -> None:
    names = [name for name in dir(uno) if not name.startswith("_")]
    assert names
    assert [name for name in names if not hasattr(uno, name)] == []


def test_type_checkers_see_the_names_that_are_there() -> None:
    seen = imported_for_type_checkers()
    assert seen == {name: module for module, names in uno._HOMES.items() for name in names}
    assert {name: getattr(uno, name) for name in seen} == {n: getattr(import_module(m), n) for n, m in seen.items()}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'uno' has no attribute 'Nonsense'"):
        _ = uno.Nonsense  # type: ignore[attr-defined]


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_a_room_promises_resolves(room: str) -> None:
    module = import_module(f"uno.{room}")
    assert [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)] == []


# Not "opentelemetry": FastAPI needs that itself.
EXTRAS = ["cashews", "joserfc", "limits", "opentelemetry.sdk", "prometheus_client", "redis"]
LAZY_ROOMS = {
    "aio": ["SharedCache"],
    "api": ["JWTAuthProvider"],
    "resilience": ["SharedRateLimiter"],
    "security": ["JWTAuthProvider"],
    "telemetry": ["MessageCollector", "OpenTelemetryExporter", "exposition"],
}


@pytest.mark.parametrize("room", LAZY_ROOMS)
def test_where_extras_are_missing_a_room_gives_the_other_names(room: str) -> None:
    program = f"""
import inspect, sys
sys.modules.update(dict.fromkeys({EXTRAS}))
import uno.{room} as room
found = {{}}
exec("from uno.{room} import *", found)
assert {{name for name, _ in inspect.getmembers(room)}} == set(room.__all__) == found.keys() - {{"__builtins__"}}
print(*room.__all__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    there = import_module(f"uno.{room}").__all__
    assert done.stdout.split() == [name for name in there if name not in LAZY_ROOMS[room]], done.stderr


def test_a_module_that_is_a_name_of_a_room_is_there_at_once() -> None:
    alone = "import sys, uno.data; assert uno.data.hooks is sys.modules['uno.data.hooks']"
    subprocess.run([sys.executable, "-c", alone], check=True)


def test_a_star_import_brings_the_names_of_the_front_door_and_nothing_else() -> None:
    brought: dict[str, object] = {}
    exec("from uno import *", brought)  # it may stand at the top of a file only
    assert sorted(brought.keys() - {"__builtins__"}) == sorted(imported_for_type_checkers())
