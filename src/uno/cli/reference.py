"""`package.module:attribute` → the application."""

import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uno.errors import Misconfigured, UnoError
from uno.redact import described

if TYPE_CHECKING:
    from uno.app import App

# Where migrations are that nobody placed elsewhere.
MIGRATIONS = "migrations"


def well_formed(reference: str | None) -> str | None:
    if reference is None:
        return None
    module, _, attribute = reference.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise typer.BadParameter("write it as package.module:attribute")
    return reference


Reference = Annotated[
    str,
    typer.Argument(
        metavar="PACKAGE:APP",
        callback=well_formed,
        help="package.module:attribute, an App or a function without arguments that makes one.",
        show_default=False,
    ),
]
OptionalReference = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="PACKAGE:APP",
        callback=well_formed,
        help="The application whose database it is; without it UNO_DB_URL says.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a reference leads to; `api` is what `asgi()` made of the app, where it leads to that."""

    app: "App"
    api: Any | None = None


def load(reference: str) -> Loaded:
    """Import it. Raises `Misconfigured` with one sentence, or with the problems of the application."""
    from uno.app import App

    module, _, attribute = reference.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    imported = _import(module)
    with _telling(f"{reference} raised an error"):
        found = _attribute(imported, attribute, reference)
        made = _made(found, reference) if _is_factory(found) else found
        app = made if isinstance(made, App) else getattr(made, "uno", None)
    if isinstance(app, App):
        if app.migrations is None and _has_migrations_here(module):
            app.migrations = Path(MIGRATIONS)
        return Loaded(app, None if made is app else made)
    kind = type(made).__name__
    raise Misconfigured(f"{reference} is no App but {_article(kind)} {kind}; point to what App(...) gave you.")


def _has_migrations_here(module: str) -> bool:
    """Whether the folder was made for an application of this module; others may be at home here, too."""
    from uno.data.migrations.folder import application_of

    application = application_of(Path(MIGRATIONS))
    return application is not None and application.partition(":")[0] == module


@contextmanager
def _telling(sentence: str) -> Iterator[None]:
    """Whatever the author's code raises is told in one sentence, which ends with the error."""
    try:
        yield
    except UnoError:
        raise
    except (Exception, SystemExit) as error:  # the user of the command sees it
        raise Misconfigured(f"{sentence}: {described(error)}") from error


def _import(name: str) -> ModuleType:
    with _telling(f"The module {name} cannot be imported"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not error.name or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise Misconfigured(f"There is no module {error.name!r} here; {os.getcwd()} was searched, too.") from error


def _attribute(module: ModuleType, path: str, reference: str) -> Any:
    found: Any = module
    for name in path.split("."):
        if not hasattr(found, name):
            raise Misconfigured(f"{reference} is not there: {module.__name__} has no {path}.")
        found = getattr(found, name)
    return found


def _is_factory(found: Any) -> bool:
    return inspect.isroutine(found) or inspect.isclass(found)


def _made(factory: Any, reference: str) -> Any:
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise Misconfigured(f"{reference} cannot be called without arguments: {error}.") from error
    return factory()


def _article(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"
