"""Finding marked objects in packages that are named, and nowhere else."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from uno.di.lifetime import MARK, Value
from uno.errors import Misconfigured, Problem


def discover(package: ModuleType | str, *more: ModuleType | str, marks: Iterable[str] = (MARK,)) -> tuple[object, ...]:
    """Every object in the packages and all their submodules that carries one of the `marks`.

    Each is found once, in the module that defines it, ordered by module and then by its place in it.
    Submodules are imported (but `__main__`), nothing else happens. Raises `Misconfigured` with every
    module that cannot be imported.
    """
    modules: dict[str, ModuleType] = {}
    problems: list[Problem] = []
    for name in (package, *more):
        modules |= {m.__name__: m for m in _modules(name if isinstance(name, str) else name.__name__, problems)}
    if problems:
        raise Misconfigured("\n".join(map(str, problems)), problems)
    wanted = frozenset(marks)
    found = (o for _, module in sorted(modules.items()) for o in vars(module).values() if _is_here(o, module, wanted))
    return tuple({id(o): o for o in found}.values())


def _modules(name: str, problems: list[Problem]) -> Iterator[ModuleType]:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever the module raises: the caller sees it, with those of the other modules
        problems.append(_broken(name, error))
        return
    yield module
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if found.name != "__main__":
            yield from _modules(f"{name}.{found.name}", problems)


def _broken(name: str, error: Exception) -> Problem:
    message = f"It cannot be imported, {type(error).__name__}: {error}. Run `python -c 'import {name}'` to see where."
    return Problem("broken module", name, message)


def _is_here(found: Any, module: ModuleType, marks: frozenset[str]) -> bool:
    if isinstance(found, Value):
        return MARK in marks and found.module == module.__name__
    carried = getattr(found, "__dict__", {})
    return getattr(found, "__module__", None) == module.__name__ and not marks.isdisjoint(carried)
