"""discover(): the marked objects of named packages, each once, in a stable order."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from uno.di import ServiceProvider, discover
from uno.di.dependencies import name_of
from uno.errors import Misconfigured

FILES = {
    "__init__.py": """
        from found.zoo import Zebra  # found where it is defined, not here
        """,
    "__main__.py": "raise SystemExit('the program ran')",
    "base.py": """
        from uno.di import singleton, value

        class Settings: ...

        SETTINGS = value(Settings())

        @singleton
        class Beta: ...

        @singleton
        def alpha(beta: Beta) -> str: return "alpha"

        class Unmarked(Beta): ...

        again = alpha
        """,
    "zoo.py": """
        from found.base import SETTINGS, Beta, alpha
        from uno.di import transient

        @transient
        class Zebra:
            def __init__(self, beta: Beta) -> None: ...
        """,
    "inner/__init__.py": "",
    "inner/deep/__init__.py": "",
    "inner/deep/handlers.py": """
        from uno.di import singleton

        def handles(target):
            target.__uno_handler__ = "it"
            return target

        @handles
        async def on_order(order: int) -> None: ...

        @singleton
        @handles
        class OnPayment: ...
        """,
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "found"
    for name, text in FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield root
    for name in [m for m in sys.modules if m == "found" or m.startswith("found.")]:
        del sys.modules[name]


def names(found: tuple[object, ...]) -> list[str]:
    return [name_of(o if hasattr(o, "__qualname__") else type(o)) for o in found]


@pytest.mark.usefixtures("package")
def test_everything_marked_is_found_once_where_it_is_defined_in_a_stable_order() -> None:
    found = discover("found")
    assert names(found) == ["Value", "Beta", "alpha", "OnPayment", "Zebra"]
    assert discover("found") == found


@pytest.mark.usefixtures("package")
def test_a_package_can_be_given_as_a_module_and_as_several() -> None:
    module = importlib.import_module("found.inner")
    assert names(discover(module)) == ["OnPayment"]
    assert names(discover("found.zoo", module)) == ["OnPayment", "Zebra"]
    assert names(discover("found", "found.zoo", module)) == names(discover("found"))


@pytest.mark.usefixtures("package")
def test_other_marks_are_found_by_the_same_walk() -> None:
    assert names(discover("found", marks=["__uno_handler__"])) == ["on_order", "OnPayment"]
    assert names(discover("found", marks=["__uno_handler__", "__uno_provide__"])) == [
        *["Value", "Beta", "alpha", "on_order", "OnPayment", "Zebra"]
    ]


@pytest.mark.usefixtures("package")
async def test_what_is_found_can_be_provided() -> None:
    provider = ServiceProvider(discover("found"))
    assert provider.problems() == []
    assert provider.get_sync(str) == "alpha"


def test_every_module_that_cannot_be_imported_is_named_with_its_cause(package: Path) -> None:
    (package / "broken.py").write_text("1 / 0")
    (package / "inner" / "typo.py").write_text("def :")
    with pytest.raises(Misconfigured) as raised:
        discover("found")
    assert [(p.kind, p.where) for p in raised.value.problems] == [
        ("broken module", "found.broken"),
        ("broken module", "found.inner.typo"),
    ]
    assert "It cannot be imported, ZeroDivisionError: division by zero." in str(raised.value)
    assert "SyntaxError" in str(raised.value)


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(Misconfigured, match="broken module: nowhere_at_all\n.*ModuleNotFoundError"):
        discover("nowhere_at_all")
