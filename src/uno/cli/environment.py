"""What the `env.py` of a folder of migrations calls: by `uno db` with all it needs, by `alembic` with nothing."""

from pathlib import Path
from typing import Any

from alembic import context

from uno.cli.databases import of_app
from uno.cli.loop import run_async
from uno.cli.reference import load
from uno.data import Database
from uno.data.migrations.connection import changing
from uno.data.migrations.environment import configure
from uno.errors import Misconfigured


def run(**options: Any) -> None:
    """Let Alembic do what it was called for; `options` are those of its `context.configure`, over uno's own."""
    attributes = context.config.attributes
    if "tables" in attributes:
        configure(**options)
        return
    reference = context.config.get_main_option("uno_app")
    if reference is None:
        raise Misconfigured("alembic.ini does not say which application it is: uno_app = package.module:attribute.")
    app = load(reference).app
    attributes |= {"tables": app.tables(), "folder": Path(context.script.dir)}
    run_async(_run(of_app(app, reference), options))


async def _run(database: Database, options: dict[str, Any]) -> None:
    attributes = context.config.attributes

    def work(connection: Any) -> None:
        attributes["connection"] = connection
        configure(**options)

    async with database:
        if context.is_offline_mode():
            attributes["dialect"] = database.backend
            configure(**options)
        else:
            await changing(database, work)
