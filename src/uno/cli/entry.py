"""The tree of commands; errors become one sentence and an exit code."""

import os
import sys
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from uno import __version__
from uno.cli.boundaries import check
from uno.cli.db import db
from uno.cli.dead import dead
from uno.cli.demo import demo
from uno.cli.doctor import doctor
from uno.cli.migrations import migrations
from uno.cli.modules import graph, modules
from uno.cli.serving import run, worker
from uno.cli.showing import messages, routes
from uno.cli.tasks import resources, tasks
from uno.errors import UnoError
from uno.redact import one_line, redact


class _Commands(TyperGroup):
    """Says in one sentence what uno refuses; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UnoError as error:
            if ctx.params["traceback"]:
                raise
            print(f"uno: {_printable(str(error))}", file=sys.stderr)
            raise typer.Exit(1) from None


def _printable(text: str) -> str:
    """Its lines without secrets, and without what steers a terminal."""
    return "\n".join(map(one_line, redact(text).split("\n")))


def _version(wanted: bool) -> None:
    if wanted:
        print(f"uno {__version__}")
        raise typer.Exit


def _uno(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", envvar="UNO_DEBUG", help="Show where an error comes from.")
    ] = False,
) -> None:
    """Applications on PostgreSQL and FastAPI: serve them, run their queue, look inside."""
    if any(name.startswith("PYMODULES_") for name in os.environ):
        from uno.compat import adopt_environment

        adopt_environment(lambda sentence: print(f"uno: {sentence}", file=sys.stderr))


_cli = typer.Typer(cls=_Commands, callback=_uno, no_args_is_help=True, context_settings={"max_content_width": 100})
for _command in (demo, run, worker, routes, messages, modules, graph, check, doctor, tasks, resources):
    _cli.command()(_command)
db.add_typer(migrations)
_cli.add_typer(db, name="db")
_cli.add_typer(dead, name="dead")


def main() -> None:
    """The console script `uno`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ✓ still gets the sentence
    # Not `_cli()`, which would draw the traceback of a bug instead of leaving it to Python.
    typer.main.get_command(_cli)(prog_name="uno")
