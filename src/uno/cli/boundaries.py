"""`uno check`: whether the modules of an application keep to themselves."""

import os
from dataclasses import asdict
from typing import Any

import typer

from uno.cli.output import AsJson, emit, say
from uno.cli.reference import Reference, load
from uno.redact import one_line


def check(app: Reference, json: AsJson = False) -> None:
    """Check that modules use only each other's messages, and nobody else's tables. Exit code 1 where they do not."""
    from uno.app.boundaries import crossings

    modules = load(app).app.modules
    found = crossings(modules)
    if json:
        emit([asdict(one) for one in found])
    elif found:
        for one in found:
            say(one_line(_relative(one)))
    else:
        say(f"{_counted(len(modules))} and no crossed boundary.")
    if found:
        raise typer.Exit(1)


def _relative(text: Any) -> str:
    return str(text).removeprefix(os.getcwd() + os.sep)


def _counted(number: int) -> str:
    return f"{number} module{'' if number == 1 else 's'}"
