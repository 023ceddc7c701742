"""Module boundaries: of another module one uses its messages, and nothing else.

A module lives in the files its parts are defined in: in their common package, unless another
module lives there too. What no module lives in is free for all. A message brings along the types
of its fields and of its result.
"""

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

from uno.app.app import App
from uno.app.asked import asked_beside
from uno.app.entities import entities
from uno.app.sql_names import tables_in
from uno.app.uses import uses
from uno.data.aggregates import storable
from uno.messages import Message, result_type
from uno.modules import EventInput, EventOutput, Module, input_type, output_type
from uno.modules.chain import declared
from uno.modules.event import is_event

_ASK = "use a message of it instead, or move what both need to a file of its own."
_DISPATCH = "dispatch a message of that module instead."
_QUERY = "ask for the data with a query of that module."


@dataclass(frozen=True, slots=True)
class Crossing:
    """A place where `module` uses what belongs to `other`."""

    file: str
    line: int
    module: str
    other: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.module} {self.what} of {self.other}; {self.fix}"


def crossings(modules: Sequence[Module]) -> list[Crossing]:
    """Every place where one of these modules goes beyond its boundary, by file and line."""
    homes = _homes(modules)
    tables = _tables(modules)
    found = [*_shared_models(modules), *_handed_over(modules, homes)]
    for name, files in homes.items():
        for file in files:
            found += _of_file(file, name, homes, tables)
    return sorted(set(found), key=lambda one: (one.file, one.line, one.what))


# ── who lives where ──


def _homes(modules: Sequence[Module]) -> dict[str, list[ModuleType]]:
    """The Python modules in which each module lives."""
    defined = {module.name: _defined_in(module) for module in modules}
    # A file in which two are defined, as small applications have it, separates nobody.
    counted = Counter(one for own in defined.values() for one in own)
    shared = {one for one, number in counted.items() if number > 1}
    return {name: _files(own - shared, defined, name) for name, own in defined.items()}


def _defined_in(module: Module) -> set[str]:
    parts = [*module.handlers, *module.models, *module.providers, *(e for e, _ in declared(module))]
    names = {getattr(part, "__module__", "") for part in parts}
    if type(module) is not Module:
        names.add(type(module).__module__)
    return {name for name in names if name in sys.modules and not name.startswith("uno.modules")}


def _files(own: set[str], defined: Mapping[str, set[str]], name: str) -> list[ModuleType]:
    others = {one for other, names in defined.items() if other != name for one in names}
    package = _package_of(own)
    whole = package and not any(_inside(one, package) for one in others)
    loaded = [one for one in sorted(sys.modules) if _inside(one, package)] if whole else sorted(own)
    found = [sys.modules[one] for one in loaded]
    # Where the application is put together, all modules are named.
    return [one for one in found if getattr(one, "__file__", None) and not _makes_app(one)]


def _makes_app(file: ModuleType) -> bool:
    """Whether `App(...)` stands in it, by whatever name it has there; to have the name, or an App, is not enough."""
    path = Path(str(file.__file__))
    calls = (node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)) if path.suffix == ".py" else ()
    return any(_is_app(call.func, file) for call in calls)


def _is_app(name: ast.expr, file: ModuleType) -> bool:
    if isinstance(name, ast.Attribute) and name.attr != "App":
        return False
    value = _value(name, file)
    return isinstance(value, type) and issubclass(value, App)


def _value(name: ast.expr, file: ModuleType) -> Any:
    """What `App` or `uno.App` is in this file."""
    if isinstance(name, ast.Attribute):
        holder = _value(name.value, file)
        return getattr(holder, name.attr, None) if isinstance(holder, ModuleType) else None
    # What a function imports is no name of the file.
    return vars(file).get(name.id, App if name.id == "App" else None) if isinstance(name, ast.Name) else None


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _package_of(names: set[str]) -> str:
    """The package around all of them; of a single file the one it is in, unless that is the whole application."""
    common = _common_package(names)
    parent = common.rpartition(".")[0]
    return parent if common in names and "." in parent and not hasattr(sys.modules[common], "__path__") else common


def _common_package(names: set[str]) -> str:
    if not names:
        return ""
    split = [name.split(".") for name in sorted(names)]
    common = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)


def _inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _owner(name: str, homes: Mapping[str, list[ModuleType]]) -> str | None:
    return next((owner for owner, files in homes.items() if any(file.__name__ == name for file in files)), None)


def _packages(homes: Mapping[str, list[ModuleType]]) -> set[str]:
    """The top-level packages in which modules live."""
    return {file.__name__.partition(".")[0] for files in homes.values() for file in files}


# ── what a file uses ──


def _of_file(
    file: ModuleType, name: str, homes: Mapping[str, list[ModuleType]], tables: Mapping[str, str]
) -> Iterator[Crossing]:
    path = Path(str(file.__file__))
    if path.suffix != ".py":
        return
    tree = _tree(path)
    for line, imported, value in uses(tree, file, _packages(homes)):
        owner = _owner(imported, homes)
        if owner not in (None, name) and not _allowed(value, imported):
            yield Crossing(str(path), line, name, str(owner), f"imports {_shown(imported, value)}", _ASK)
    for line, entity in entities(tree, file):
        owner = _owner(entity.__module__, homes)
        if owner not in (None, name):
            what = f"reads or writes {entity.__qualname__}"
            yield Crossing(str(path), line, name, str(owner), what, _DISPATCH)
    for node in ast.walk(tree):
        for table in tables_in(node):
            if tables.get(table, name) != name:
                what = f"touches the table {table}"
                yield Crossing(str(path), getattr(node, "lineno", 1), name, tables[table], what, _QUERY)


def _handed_over(modules: Sequence[Module], homes: Mapping[str, list[ModuleType]]) -> Iterator[Crossing]:
    """Aggregates of other modules that handlers ask for."""
    for module in modules:
        for handler in (*module.handlers, *(candidate.target for _, candidate in declared(module))):
            for entity in filter(storable, asked_beside(handler)):
                owner = _owner(entity.__module__, homes)
                if owner not in (None, module.name):
                    what = f"reads or writes {entity.__qualname__}"
                    yield Crossing(*_place(handler), module.name, str(owner), what, _DISPATCH)


def _place(handler: Any) -> tuple[str, int]:
    code = getattr(inspect.unwrap(getattr(handler, "handle", handler)), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else (handler.__module__, 1)


def _shown(imported: str, value: Any) -> str:
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return str(name) if name and isinstance(value, type) else f"{name or 'something'} from {imported}"


# ── what is a message ──


def _allowed(value: Any, imported: str) -> bool:
    if isinstance(value, ModuleType):
        return all(_is_message(one, value.__name__) for one in _own_names(value))
    return value is None or _is_message(value, imported)


def _own_names(module: ModuleType) -> Iterator[Any]:
    """What a Python module itself defines."""
    for name, value in vars(module).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__:
            yield value


def _is_message(value: Any, home: str) -> bool:
    if not isinstance(value, type):
        return False
    if issubclass(value, Message | EventInput | EventOutput) or is_event(value):
        return True
    # Defined in a package's file and imported from the package: look where its messages stand.
    places = {home, value.__module__}
    return any(value in _brought(one) for place in places for one in _messages_in(place))


def _messages_in(name: str) -> Iterator[type]:
    for value in vars(sys.modules.get(name, ModuleType(name))).values():
        if isinstance(value, type) and (issubclass(value, Message) or is_event(value)):
            yield value


def _brought(message: type, depth: int = 3) -> set[Any]:
    """The types that a message brings along."""
    own = {input_type(message), output_type(message)} if is_event(message) else {result_type(message)}
    found: set[Any] = set()
    waiting = [*own, *_hints(message)]
    for _ in range(depth):
        flat = {part for hint in waiting for part in _parts(hint)} - found
        found |= flat
        waiting = [hint for one in flat if is_dataclass(one) or hasattr(one, "model_fields") for hint in _hints(one)]
    return found


def _hints(cls: Any) -> list[Any]:
    try:
        return list(get_type_hints(cls).values())
    except (NameError, TypeError):  # an annotation for type checkers only names no type that exists here
        return [f.type for f in fields(cls)] if is_dataclass(cls) else []


def _parts(hint: Any) -> Iterator[Any]:
    arguments = get_args(hint)
    if not arguments and isinstance(hint, type):
        yield hint
    for argument in arguments:
        yield from _parts(argument)


# ── tables ──


def _tables(modules: Iterable[Module]) -> dict[str, str]:
    """The module of each table."""
    return {table: module.name for module in modules for model in module.all_models() for table in _table_of(model)}


def _table_of(model: type) -> list[str]:
    table = getattr(model, "__tablename__", None)
    return [table] if isinstance(table, str) else []


def _shared_models(modules: Sequence[Module]) -> Iterator[Crossing]:
    first: dict[type, str] = {}
    for module in modules:
        for model in module.all_models():
            owner = first.setdefault(model, module.name)
            if owner != module.name:
                file = str(getattr(sys.modules.get(model.__module__), "__file__", model.__module__))
                what, fix = f"lists the model {model.__qualname__}", "leave it to one of them."
                yield Crossing(file, 1, module.name, owner, what, fix)
