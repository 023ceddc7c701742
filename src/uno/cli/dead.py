"""`uno dead`: deliveries that failed for the last time."""

from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import typer

from uno.cli.databases import of_app, of_settings, report_progress
from uno.cli.loop import run_async
from uno.cli.output import AsJson, Progress, emit, say, table
from uno.cli.reference import OptionalReference, load

if TYPE_CHECKING:
    from uno.queue import DeadLetters

T = TypeVar("T")
dead = typer.Typer(no_args_is_help=True, help="Deliveries that failed for the last time.")
Id = Annotated[UUID, typer.Argument(metavar="ID", show_default=False)]
# More than anybody has, should all be asked for.
ALL = 1_000_000


@dead.command("list")
def list_(
    app: OptionalReference = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the oldest.")] = 100,
    json: AsJson = False,
) -> None:
    """List them, oldest first."""
    letters = _ask(app, lambda dead: dead.list(limit))
    if json:
        emit([asdict(one) for one in letters])
    elif letters:
        rows = [(one.id, one.event, one.subscriber, one.failures, _first_line(one.error)) for one in letters]
        table(["ID", "EVENT", "SUBSCRIBER", "FAILED", "ERROR"], rows)
    else:
        say("There are no dead letters.")


@dead.command()
def show(id: Id, app: OptionalReference = None, json: AsJson = False) -> None:
    """Show one of them entirely."""
    letter = asdict(_ask(app, lambda dead: dead.get(id)))
    if json:
        emit(letter)
    else:
        table([], letter.items())


@dead.command()
def retry(
    ids: Annotated[list[UUID] | None, typer.Argument(metavar="ID…", show_default=False)] = None,
    all: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    app: OptionalReference = None,
) -> None:
    """Have them delivered again, with a fresh count of attempts."""
    if all == bool(ids):
        raise typer.BadParameter("give the ids, or --all")
    revived = _ask(app, lambda dead: _retry(dead, ids))
    say(f"{revived} will be delivered again.")


@dead.command()
def discard(
    ids: Annotated[list[UUID], typer.Argument(metavar="ID…", show_default=False)], app: OptionalReference = None
) -> None:
    """Delete them: they will never be delivered."""
    _ask(app, lambda dead: _each(dead.discard, ids))
    say(f"{len(ids)} discarded.")


async def _retry(dead: "DeadLetters", ids: list[UUID] | None) -> int:
    wanted = ids or [one.id for one in await dead.list(ALL)]
    await _each(dead.retry, wanted)
    return len(wanted)


async def _each(act: Callable[[UUID], Coroutine[Any, Any, None]], ids: list[UUID]) -> None:
    for id in ids:
        await act(id)


def _ask(reference: str | None, question: "Callable[[DeadLetters], Coroutine[Any, Any, T]]") -> T:
    """The answer of the dead letters of the application's database, or of the one of the settings."""
    database = of_settings() if reference is None else of_app(load(reference).app, reference)

    async def ask() -> T:
        from uno.data import schema
        from uno.data.naming import naming
        from uno.queue import DeadLetters

        with naming(database):
            async with database:
                progress.stop()
                await schema.require(database)
                return await question(DeadLetters(database))

    with Progress() as progress:
        report_progress(database, progress)
        return run_async(ask())


def _first_line(error: str | None) -> str:
    return (error or "").partition("\n")[0][:120]
