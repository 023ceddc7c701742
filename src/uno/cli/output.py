"""Tables and JSON on standard output; progress on standard error, where it disturbs no pipe."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

if TYPE_CHECKING:
    from rich.status import Status

AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


def say(text: str) -> None:
    """A line for people, at once, even where the output is not a terminal."""
    print(text, flush=True)


def emit(data: Any) -> None:
    """Data for programs."""
    print(json.dumps(data, indent=2, default=str), flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows for people: one line each, unless a terminal is too narrow. Without `columns` there is no header."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", show_header=bool(columns))
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_printable(cell), overflow="fold") for cell in row))
    Console(width=None if sys.stdout.isatty() else 1_000).print(drawn)


def _printable(cell: object) -> str:
    """Some cells were written by strangers, who must not steer the terminal."""
    text = "" if cell is None else str(cell)
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


class Progress:
    """Sentences about what takes time: beside a spinner on a terminal, else line by line.

    Called from any thread; leave it before something else is printed.
    """

    def __init__(self) -> None:
        self._status: Status | None = None

    def __call__(self, sentence: str) -> None:
        if not sys.stderr.isatty():
            print(f"{sentence} …", file=sys.stderr, flush=True)
        elif self._status is None:
            self._status = _spinner(sentence)
        else:
            self._status.update(sentence)

    def stop(self) -> None:
        """What was said is over. May be called again."""
        status, self._status = self._status, None
        if status is not None:
            status.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _spinner(sentence: str) -> "Status":
    from rich.console import Console
    from rich.markup import escape

    status = Console(stderr=True).status(escape(sentence))
    status.start()
    return status
