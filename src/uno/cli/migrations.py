"""`uno db revision`, `upgrade`, `downgrade`, `history`, `diff`, `check`: tables as they change."""

from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from uno.cli.databases import of_app, report_progress
from uno.cli.loop import run_async
from uno.cli.output import AsJson, Progress, emit, say, table
from uno.cli.reference import MIGRATIONS, Reference, load
from uno.errors import Misconfigured

if TYPE_CHECKING:
    from uno.app import App
    from uno.data.migrations.comparing import Difference
    from uno.data.migrations.driving import Migrations, State

T = TypeVar("T")
# Without a name of its own: its commands are those of `uno db`.
migrations = typer.Typer()
UP_TO_DATE = "The database has all migrations."


@migrations.command()
def revision(
    app: Reference,
    message: Annotated[str, typer.Option("--message", "-m", help="What it is for.", show_default=False)],
    empty: Annotated[bool, typer.Option("--empty", help="To be filled by hand.")] = False,
    json: AsJson = False,
) -> None:
    """Write the migration that makes the database what the models say."""
    path = _ask(app, lambda found: found.revise(message, empty=empty))
    if json:
        emit({"path": path})
    elif path is None:
        say("Nothing differs, so no migration was written; --empty writes one to be filled by hand.")
    else:
        say(f"Written, to be read before it is run: {_relative(path)}")


@migrations.command()
def upgrade(
    app: Reference,
    revision: Annotated[
        str, typer.Argument(metavar="[REVISION]", help="Up to which one.", show_default=False)
    ] = "head",
    json: AsJson = False,
) -> None:
    """Bring uno's tables to this version, then run the migrations that the database does not have."""
    _tell_steps(_ask(app, lambda found: _upgrade(found, revision)), "Applied", UP_TO_DATE, json)


@migrations.command(context_settings={"ignore_unknown_options": True})
def downgrade(
    app: Reference,
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="To be at; -1 undoes one, base all.")],
    json: AsJson = False,
) -> None:
    """Undo migrations."""
    done = _ask(app, lambda found: found.downgrade(revision))
    _tell_steps(done, "Undone", "The database is there already.", json)


@migrations.command()
def history(app: Reference, json: AsJson = False) -> None:
    """List the migrations, the newest first, and which of them the database has."""
    steps = _ask(app, lambda found: found.history())
    if json:
        emit([asdict(one) for one in steps])
    elif steps:
        rows = [(s.revision, s.down_revision, "applied" if s.applied else "", s.message, s.path.name) for s in steps]
        table(["REVISION", "AFTER", "STATE", "MESSAGE", "FILE"], rows)
    else:
        say("There are no migrations.")


@migrations.command()
def diff(app: Reference, json: AsJson = False) -> None:
    """Print what the database lacks to be as the models say."""
    found = _ask(app, lambda found: found.differences())
    if json:
        emit([_entry(one) for one in found])
    else:
        _print(found)


@migrations.command("check")
def check_(app: Reference, json: AsJson = False) -> None:
    """Check that the database has all migrations and is as the models say. Exit code 1 where it is not."""
    problem, state, found = _ask(app, _check)
    if json:
        revisions = {} if state is None else asdict(state)
        emit({"problem": problem, **revisions, "differences": [_entry(one) for one in found]})
    elif problem is None:
        _print(found)
    if problem is not None and not json:
        raise Misconfigured(problem)
    if problem is not None or found:
        raise typer.Exit(1)


async def _upgrade(migrations: "Migrations", revision: str) -> list[str]:
    from uno.data import schema

    await schema.create(migrations.database)
    return await migrations.upgrade(revision)


async def _check(migrations: "Migrations") -> "tuple[str | None, State | None, list[Difference]]":
    from uno.data import schema
    from uno.data.migrations.folder import is_made

    made = is_made(migrations.folder)
    state = await migrations.state() if made else None
    try:
        await schema.require(migrations.database, migrations=migrations if made else None)
    except Misconfigured as error:
        return str(error), state, []
    return None, state, await migrations.differences()


def _ask(reference: str, question: "Callable[[Migrations], Coroutine[Any, Any, T]]") -> T:
    """The answer of the migrations of an application, over its open database."""
    app = load(reference).app
    database = of_app(app, reference)
    folder = _folder(app)

    async def ask() -> T:
        from uno.data.migrations.driving import Migrations
        from uno.data.naming import naming

        with naming(database):
            async with database:
                progress.stop()
                return await question(Migrations(database, folder, app.tables(), application=reference))

    with Progress() as progress:
        report_progress(database, progress)
        return run_async(ask())


def _folder(app: "App") -> Path:
    """That of the application, or the usual one, if it is not taken by somebody else."""
    if app.migrations is not None:
        return app.migrations
    from uno.data.migrations.folder import application_of, is_made

    usual = Path(MIGRATIONS)
    if is_made(usual):
        owner = application_of(usual) or "an application that uno does not know"
        raise Misconfigured(f"{usual} here has the migrations of {owner}; name another folder: App(…, migrations=…).")
    return usual


def _tell_steps(revisions: list[str], done: str, nothing: str, json: bool) -> None:
    if json:
        emit(revisions)
    elif not revisions:
        say(nothing)
    for one in [] if json else revisions:
        say(f"{done} {one}")


def _print(found: "list[Difference]") -> None:
    for one in found:
        say(str(one))
    if not found:
        say("Nothing differs.")


def _entry(one: "Difference") -> dict[str, str]:
    return {**asdict(one), "text": str(one)}


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
