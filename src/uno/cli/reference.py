"""`package.module:attribute` → the application."""

import importlib
import inspect
import os
import sys
import traceback
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uno.errors import Misconfigured, UnoError

if TYPE_CHECKING:
    from uno.app import App


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
    found = _attribute(_import(module), attribute, reference)
    made = _made(found, reference) if _is_factory(found) else found
    if isinstance(made, App):
        return Loaded(made)
    app = getattr(made, "uno", None)
    if isinstance(app, App):
        return Loaded(app, made)
    kind = type(made).__name__
    raise Misconfigured(f"{reference} is no App but {_article(kind)} {kind}; point to what App(...) gave you.")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except UnoError:
        raise
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise Misconfigured(f"There is no module {error.name!r} here; {os.getcwd()} was searched, too.") from error
        raise Misconfigured(f"The module {name} cannot be imported: {_described(error)}") from error
    except (Exception, SystemExit) as error:  # whatever its author's code raises; the user of the command sees it
        raise Misconfigured(f"The module {name} cannot be imported: {_described(error)}") from error


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
    try:
        return factory()
    except UnoError:
        raise
    except (Exception, SystemExit) as error:  # as in _import
        raise Misconfigured(f"{reference} raised an error: {_described(error)}") from error


def _described(error: BaseException) -> str:
    """The error and the place of the last line of it that is not the import system's."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})"
    return f"{type(error).__name__}: {error}{place}"


def _article(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"
