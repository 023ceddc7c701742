"""`uno db`: the embedded server, and the tables of an application."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uno.cli.databases import of_app, of_settings, report_progress, shown
from uno.cli.loop import run_async
from uno.cli.output import AsJson, Progress, emit, say, table
from uno.cli.reference import load, well_formed
from uno.errors import Unavailable

if TYPE_CHECKING:
    from uno.app import App
    from uno.data import Database
    from uno.data.embedded import Status

db = typer.Typer(no_args_is_help=True, help="The embedded PostgreSQL, and the tables of an application.")
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="FOLDER", help="Where its data are.", show_default=False)
]
# The database of an embedded server that applications use.
DATABASE = "uno"


@db.command()
def create(
    app: Annotated[
        str | None,
        typer.Argument(
            metavar="[PACKAGE:APP]", callback=well_formed, help="Its tables are created, too.", show_default=False
        ),
    ] = None,
) -> None:
    """Create or upgrade uno's tables, and create an application's own that are missing."""
    loaded = None if app is None else load(app).app
    database = of_settings() if loaded is None else of_app(loaded, str(app))
    with Progress() as progress:
        report_progress(database, progress)
        run_async(_create(database, loaded))
    say(f"The tables are there: {shown(database)}")


async def _create(database: "Database", app: "App | None") -> None:
    from uno.data import schema
    from uno.data.naming import naming

    with naming(database):
        async with database:
            await (schema.create(database) if app is None else app.create_schema())


@db.command()
def start(data_dir: DataDir = None, json: AsJson = False) -> None:
    """Start it and keep it running until `uno db stop`."""
    from uno.data import embedded

    with Progress() as progress:
        server = embedded.start(data_dir, progress=progress)
        run_async(embedded.ensure_database(server, DATABASE))
    if json:
        emit({"folder": server.folder, "port": server.port, "pid": server.pid, "database": DATABASE})
    else:
        say(f"PostgreSQL runs on 127.0.0.1:{server.port} with its data in {server.folder}.")
        say(f"Its URL, with the password: {embedded.command('url', server.folder)}")


@db.command()
def stop(
    data_dir: DataDir = None,
    force: Annotated[bool, typer.Option("--force", help="Even while it is used.")] = False,
) -> None:
    """Stop it."""
    from uno.data import embedded

    say("PostgreSQL is stopped." if embedded.stop(data_dir, force=force) else "PostgreSQL was not running.")


@db.command()
def status(data_dir: DataDir = None, json: AsJson = False) -> None:
    """Say whether it runs, where, and how big it is."""
    from uno.data import embedded

    found = embedded.status(data_dir)
    if json:
        emit(asdict(found))
        return
    table([], status_rows(found))


@db.command()
def url(data_dir: DataDir = None) -> None:
    """Print its URL with the password, for other programs."""
    from uno.data import embedded

    found = embedded.status(data_dir)
    if not found.running:
        start = embedded.command("start", found.folder)
        raise Unavailable(f"PostgreSQL in {found.folder} is not running; start it with: {start}")
    with embedded.acquire(data_dir) as lease:
        print(lease.server.url_for(DATABASE))


def status_rows(found: "Status") -> list[tuple[str, object]]:
    """What is known of an embedded server, for people."""
    users = "kept by uno db start" if found.kept else "in use" if found.in_use else "nobody uses it"
    return [
        ("folder", found.folder),
        ("running", f"yes, {users}" if found.running else "no"),
        ("port", found.port),
        ("pid", found.pid),
        ("size", f"{found.size / 1e6:,.1f} MB"),
        ("version", f"PostgreSQL {found.version}" if found.version else "not initialised"),
    ]
