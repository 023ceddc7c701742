"""uno's own tables have a numbered schema; an application refuses to run on another number."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, inspect, text

from uno.data import capture
from uno.data.database import Database
from uno.errors import Misconfigured

if TYPE_CHECKING:
    from uno.data.migrations.driving import Migrations

HEAD = "0002"
CREATE = "uno db create PACKAGE:APP"
# Two processes that start at once must not both create the schema.
_LOCK = text("SELECT pg_advisory_xact_lock(7305808869231650816)")


async def current(database: Database) -> str | None:
    """The number of the schema that the database has, None where it has none."""
    async with database.transaction() as transaction:
        return await transaction.connection.run_sync(_number)


def _number(connection: Any) -> str | None:
    if not inspect(connection).has_table("uno_schema"):
        return None
    return connection.execute(text("SELECT version_num FROM uno_schema")).scalar()  # type: ignore[no-any-return]


async def create(database: Database, tables: Sequence[MetaData] = (), migrations: "Migrations | None" = None) -> None:
    """Bring uno's tables to this version and create the application's `tables` that are missing.

    Where there are `migrations`, they make the application's tables.
    """
    migrated = migrations is not None and migrations.exist
    async with database.transaction() as transaction:
        if database.backend == "postgresql":
            await transaction.execute(_LOCK)
        found = await transaction.connection.run_sync(_number)
        _refuse_newer(found)
        if found != HEAD:
            await transaction.connection.run_sync(_upgrade)
        for metadata in () if migrated else tables:
            await transaction.connection.run_sync(metadata.create_all)
            await transaction.connection.run_sync(capture.renew, metadata.sorted_tables)
    if migrations is not None and migrated:
        await _migrate(database, tables, migrations)
    database.forget_tables()


async def _migrate(database: Database, tables: Sequence[MetaData], migrations: "Migrations") -> None:
    if not (await migrations.state()).is_latest:
        await migrations.upgrade()
    async with database.transaction() as transaction:
        for metadata in tables:
            await transaction.connection.run_sync(capture.renew, metadata.sorted_tables)


def _upgrade(connection: Any) -> None:
    from alembic import command  # half a second of imports that only this needs
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "revisions"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _refuse_newer(found: str | None) -> None:
    if found is not None and found > HEAD:
        raise Misconfigured(f"The database has uno's schema {found}, newer than this version's {HEAD}; upgrade uno.")


async def require(database: Database, tables: Sequence[MetaData] = (), migrations: "Migrations | None" = None) -> None:
    """Raise `Misconfigured`, naming the command, unless the database is up to date.

    It has to have this version's schema, all `migrations` and all `tables`.
    """
    found = await current(database)
    if found is None:
        raise Misconfigured(f"The database has none of uno's tables; create them with: {CREATE}")
    if found < HEAD:
        raise Misconfigured(f"The database has uno's schema {found}, this version needs {HEAD}; run: {CREATE}")
    _refuse_newer(found)
    if migrations is not None:
        await migrations.require()
    missing = await _missing(database, tables)
    if missing:
        names = ", ".join(missing)
        raise Misconfigured(f"The database has no table {names}; create what is missing with: {CREATE}")
    outdated = await _outdated(database, tables)
    if outdated:
        names = ", ".join(outdated)
        raise Misconfigured(f"The triggers that audit {names} are missing, or not those of its class; run: {CREATE}")


async def _outdated(database: Database, tables: Sequence[MetaData]) -> list[str]:
    wanted = [table for metadata in tables for table in metadata.sorted_tables]
    if not capture.captured(wanted):
        return []
    async with database.transaction() as transaction:
        found = await transaction.connection.run_sync(capture.outdated, wanted)
    return [table.fullname for table in found]


async def _missing(database: Database, tables: Sequence[MetaData]) -> list[str]:
    wanted = [table for metadata in tables for table in metadata.sorted_tables]

    def look(connection: Any) -> list[str]:
        there = inspect(connection)
        return [table.fullname for table in wanted if not there.has_table(table.name, schema=table.schema)]

    async with database.transaction() as transaction:
        return await transaction.connection.run_sync(look)
