"""Which database a command works on, and how it is shown."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from uno.errors import Misconfigured

if TYPE_CHECKING:
    from uno.app import App
    from uno.data import Database


def of_app(app: "App", reference: str) -> "Database":
    """`Misconfigured` where the application has none, or nobody said which."""
    app.check_database()
    if app.database is None:
        raise Misconfigured(f"{reference} has no database.")
    return app.database


def of_settings() -> "Database":
    """The database of UNO_DB_URL; on a terminal the embedded one is the default, as for `uno run`."""
    from uno.app.wiring import default_url
    from uno.data import Database
    from uno.settings import load

    settings = load()
    url = settings.db.url or default_url(settings)
    if url is None:
        raise Misconfigured("Which database? Set UNO_DB_URL, or name the application.")
    return Database(url, settings=settings.db)


def folder_of(database: "Database") -> Path:
    """Where an embedded database keeps its data."""
    from uno.data.embedded import default_folder

    return database.folder or default_folder()


def report_progress(database: "Database", progress: Callable[[str], None]) -> None:
    """Let an embedded server say what takes time while it starts."""
    database.progress = progress


def shown(database: "Database") -> str:
    """For people: without user name and password."""
    return f"embedded PostgreSQL in {folder_of(database)}" if database.embedded else database.shown
