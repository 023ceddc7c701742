"""`package.module:attribute` leads to an application, or one sentence says why not."""

from pathlib import Path
from typing import Any

import pytest
import typer

from uno.cli.reference import load, well_formed
from uno.errors import Misconfigured

APP = "from uno.app import App\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module into the working directory; every test has its own, by its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name, text: (tmp_path / f"{name}.py").write_text(text)


def refused(reference: str) -> str:
    with pytest.raises(Misconfigured) as raised:
        load(reference)
    return str(raised.value)


def test_an_app_is_found(write: Any) -> None:
    write("ref_plain", APP + "app = App()\nclass inside:\n    app = app\n")
    found = load("ref_plain:app")
    assert found.api is None
    assert load("ref_plain:inside.app").app is found.app


def test_a_function_without_arguments_makes_it(write: Any) -> None:
    write("ref_made", APP + "def app(name='x'): return App()\ndef other(name): return App()\ndef bad(): return 1 / 0\n")
    assert load("ref_made:app").app.modules == ()
    told = refused("ref_made:other")
    assert told == "ref_made:other cannot be called without arguments: missing a required argument: 'name'."
    assert refused("ref_made:bad").startswith("ref_made:bad raised an error: ZeroDivisionError: division by zero (")


def test_what_asgi_made_of_it_leads_to_both(write: Any) -> None:
    write("ref_api", APP + "from uno.api import asgi\napi = asgi(App())\n")
    found = load("ref_api:api")
    assert found.api.uno is found.app


def test_a_missing_part_of_a_package_is_named_and_a_missing_import_inside_is_another_matter(write: Any) -> None:
    write("ref_needs", "import ref_missing")
    assert refused("ref_nowhere.shop:app").startswith("There is no module 'ref_nowhere' here; ")
    assert refused("ref_needs:app").startswith(
        "The module ref_needs cannot be imported: ModuleNotFoundError: No module named 'ref_missing' ("
    )


def test_what_the_code_raises_is_one_line_without_secrets(write: Any) -> None:
    evil = 'raise ValueError("postgresql://u:s3cret@h/d\\n\\x1b[31mforged\\u202e")'
    write("ref_evil", evil)
    write("ref_evil_made", f"def app(): {evil}")
    for told in (refused("ref_evil:app"), refused("ref_evil_made:app")):
        assert "ValueError: postgresql://u:***@h/d\\n\\x1b[31mforged\\u202e (" in told
        assert told.isprintable()


def test_what_raises_when_it_is_looked_at_is_told_in_a_sentence(write: Any) -> None:
    write("ref_touchy", "class A:\n    def __getattr__(self, name): raise RuntimeError(f'no {name}')\napp = A()\n")
    assert refused("ref_touchy:app").startswith("ref_touchy:app raised an error: RuntimeError: no uno (")
    assert refused("ref_touchy:app.more").startswith("ref_touchy:app.more raised an error: RuntimeError: no more (")
    write("ref_mute", "class Mute(Exception):\n    def __str__(self): raise KeyError\nraise Mute")
    assert "Mute: (its text raises KeyError) (" in refused("ref_mute:app")


def test_an_error_of_the_tree_passes_unchanged(write: Any) -> None:
    write("ref_wrong", "from uno.errors import Misconfigured\nraise Misconfigured('Just so.')")
    assert refused("ref_wrong:app") == "Just so."


@pytest.mark.parametrize("value", ["shop:app", "my.shop:app", "shop:inside.app"])
def test_a_reference_has_a_module_and_an_attribute(value: str) -> None:
    assert well_formed(value) == value


@pytest.mark.parametrize("value", ["", "shop", ":app", "shop:", "a b:c", "shop:app:more", "../shop:app", "shop:app()"])
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(typer.BadParameter, match="package.module:attribute"):
        well_formed(value)
