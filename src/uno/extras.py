"""What needs an extra: there where that is installed, and one sentence that says what to install where it is not."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from uno.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Extra:
    """The module `file` works where the `packages` of the extra `name` are installed; `purpose` needs them."""

    name: str
    purpose: str
    packages: tuple[str, ...]
    file: str

    @property
    def is_installed(self) -> bool:
        return all(_is_there(package) for package in self.packages)

    def load(self) -> Any:
        """The module. Raises `Misconfigured`, which says how to install what it needs."""
        if not self.is_installed:
            raise Misconfigured(f"{self.purpose}: run `python -m pip install 'uno[{self.name}]'`.")
        return import_module(self.file)


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # nor is the package that it is in
        return False


def front_door(
    room: str, names: Sequence[str], extras: Mapping[str, Extra]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """`__all__`, `__getattr__` and `__dir__` of a room, some of whose `names` are in files that need `extras`.

    Without the extra such a name is not one of the room's, so that `import *` and whoever looks at all of them get the
    others; who asks for it is told what to install.
    """
    there = [name for name in names if name not in extras or extras[name].is_installed]

    def load(name: str) -> Any:
        if name not in extras:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        found = vars(sys.modules[room])[name] = getattr(extras[name].load(), name)
        return found

    return there, load, lambda: sorted(there)
