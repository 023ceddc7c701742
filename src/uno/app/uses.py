"""What the code of a file uses of other Python modules, as far as its text says it."""

import ast
import sys
from collections.abc import Iterator, Set
from importlib import import_module
from importlib.util import resolve_name
from types import ModuleType
from typing import Any, NamedTuple

from uno.app.sql_names import called, literal

_IMPORTS = ("import_module", "__import__")


class Use(NamedTuple):
    """In `line`: the thing `value` of the Python module `source`; a whole module is a thing of itself."""

    line: int
    source: str
    value: Any


def uses(tree: ast.AST, file: ModuleType, packages: Set[str]) -> Iterator[Use]:
    """Imports, `import_module("a.b")`, and `b.c.d` where `b` was imported from one of the top-level `packages`."""
    bound: dict[str, str] = {}
    chains: list[ast.Attribute] = []
    inner: set[ast.expr] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= _names(node, file, packages)
            yield from (Use(node.lineno, *found) for found in _imported(node, file))
        elif isinstance(node, ast.Call) and (name := _named_module(node, file)):
            yield Use(node.lineno, name, _load(name))
        elif isinstance(node, ast.Attribute):
            chains.append(node)
            inner.add(node.value)
    # A name may be imported below the function that uses it, so not before all imports are known.
    for chain in chains:
        if chain not in inner and (found := _reached(chain, bound, file)) is not None:
            yield Use(chain.lineno, *found)


def _names(node: ast.Import | ast.ImportFrom, file: ModuleType, packages: Set[str]) -> dict[str, str]:
    """The Python modules that an import gives a name."""
    if isinstance(node, ast.Import):
        found = {a.asname or _top(a.name): a.name if a.asname else _top(a.name) for a in node.names}
    else:
        source = _source(node, file)
        there = vars(sys.modules.get(source, file))
        # Beside a Python module of its name a package may have something else, which comes first.
        names = [a for a in node.names if isinstance(there.get(a.name, file), ModuleType)]
        found = {a.asname or a.name: f"{source}.{a.name}" for a in names}
    return {name: module for name, module in found.items() if _top(module) in packages}


def _top(name: str) -> str:
    return name.partition(".")[0]


def _named_module(node: ast.Call, file: ModuleType) -> str | None:
    """What `import_module("a.b")` imports."""
    name = literal(node.args[0]) if called(node.func) in _IMPORTS and node.args else None
    if name is None or not name.startswith("."):
        return name
    package = literal(node.args[1]) if len(node.args) > 1 else None
    try:
        return resolve_name(name, package or file.__package__)
    except ImportError:  # it goes beyond the top: nobody's
        return None


def _reached(chain: ast.Attribute, bound: dict[str, str], file: ModuleType) -> tuple[str, Any] | None:
    """Where `b.c.d` leads: through modules to the first thing that is none."""
    names: list[str] = []
    node: ast.expr = chain
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    start = bound.get(node.id) if isinstance(node, ast.Name) else None
    if isinstance(node, ast.Call):
        start = _named_module(node, file)
    found = sys.modules.get(start or "")
    for name in reversed(names):
        if found is None:
            return None
        value = vars(found).get(name, sys.modules.get(f"{found.__name__}.{name}"))
        if not isinstance(value, ModuleType):
            return found.__name__, value
        found = value
    return None if found is None else (found.__name__, found)


def _imported(node: ast.Import | ast.ImportFrom, file: ModuleType) -> Iterator[tuple[str, Any]]:
    """The Python module of each imported thing, and the thing; whole modules as themselves."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, _load(alias.name)) for alias in node.names)
        return
    source = _source(node, file)
    for alias in node.names:
        below = f"{source}.{alias.name}"
        inner = _load(below) if below in sys.modules or not hasattr(_load(source), alias.name) else None
        if isinstance(inner, ModuleType):
            yield below, inner
        elif alias.name == "*":
            yield source, _load(source)
        else:
            yield source, getattr(_load(source), alias.name, None)


def _source(node: ast.ImportFrom, file: ModuleType) -> str:
    if not node.level:
        return node.module or ""
    package = (file.__package__ or "").split(".")
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _load(name: str) -> Any:
    try:
        return sys.modules.get(name) or import_module(name)
    except ImportError:  # one that is made at run time, or for other platforms: nobody's here
        return None
