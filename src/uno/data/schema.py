"""uno's own tables have a numbered schema; an application refuses to run on another number."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import MetaData, Table, inspect, text
from sqlalchemy.engine.reflection import ObjectKind, ObjectScope

from uno.data import capture
from uno.data.database import Database, Plan
from uno.data.document import DocumentPlan
from uno.data.plan import MappedPlan
from uno.data.references import leading_out, require_referred
from uno.errors import Misconfigured

if TYPE_CHECKING:
    from uno.data.migrations.driving import Migrations

T = TypeVar("T")
HEAD = "0002"
CREATE = "uno db create PACKAGE:APP"
_MIGRATE = "write a migration: uno db revision PACKAGE:APP"
_BY_HAND = "uno db create makes whole tables only: add it yourself (uno db diff PACKAGE:APP), or take an empty database"
# Two processes that start at once must not both create the schema.
_LOCK = text("SELECT pg_advisory_xact_lock(7305808869231650816)")


async def current(database: Database) -> str | None:
    """The number of the schema that the database has, None where it has none."""
    return await _asked(database, _number)


async def _asked(database: Database, question: Callable[[Any], T]) -> T:
    """What a connection that only reads answers."""
    transaction = await database.begin(writing=False)
    try:
        return await transaction.connection.run_sync(question)
    finally:
        await transaction.close()


def _number(connection: Any) -> str | None:
    if not inspect(connection).has_table("uno_schema"):
        return None
    return connection.execute(text("SELECT version_num FROM uno_schema")).scalar()  # type: ignore[no-any-return]


async def create(database: Database, tables: Sequence[MetaData] = (), migrations: "Migrations | None" = None) -> None:
    """Bring uno's tables to this version and create the application's `tables` that are missing.

    Where there are `migrations`, they make the application's tables. Raises `Misconfigured` where a table that is
    there lacks columns, or one that others refer to is nowhere.
    """
    migrated = migrations is not None and migrations.exist
    async with database.transaction() as transaction:
        if database.backend == "postgresql":
            await transaction.execute(_LOCK)
        found = await transaction.connection.run_sync(_number)
        _refuse_newer(found)
        if found != HEAD:
            await transaction.connection.run_sync(_upgrade)
        if not migrated:
            await transaction.connection.run_sync(require_referred, tables)
        for metadata in () if migrated else tables:
            await transaction.connection.run_sync(metadata.create_all)
            await transaction.connection.run_sync(capture.renew, metadata.sorted_tables)
    if migrations is not None and migrated:
        await _migrate(database, tables, migrations)
    await _require_columns(database, [table for metadata in tables for table in metadata.sorted_tables], migrations)
    database.forget_tables()


async def _migrate(database: Database, tables: Sequence[MetaData], migrations: "Migrations") -> None:
    if not (await migrations.state()).is_latest:
        await migrations.upgrade()
    async with database.transaction() as transaction:
        await transaction.connection.run_sync(require_referred, tables)
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

    It has to have this version's schema, all `migrations`, and all `tables` with their columns.
    """
    await _require_own(database, CREATE)
    if migrations is not None:
        await migrations.require()
    wanted = [table for metadata in tables for table in metadata.sorted_tables]
    missing = await _missing(database, wanted)
    if missing:
        names = ", ".join(missing)
        raise Misconfigured(f"The database has no table {names}; create what is missing with: {CREATE}")
    if leading_out(tables):
        await _asked(database, lambda connection: require_referred(connection, tables))
    await _require_columns(database, wanted, migrations)
    outdated = await triggerless(database, tables)
    if outdated:
        names = ", ".join(outdated)
        raise Misconfigured(f"The triggers that audit {names} are missing, or not those of its class; run: {CREATE}")


async def require_stored(database: Database, plan: Plan, *, audit: bool) -> None:
    """Raise `Misconfigured`, naming what helps, unless all tables are there that objects of one class need.

    Those are its own, and uno's where there is to be an `audit`, or where documents are.
    """
    name = plan.label
    create = f"await App(Module(..., models=[{name}]), database=database).create_schema()"
    if audit or isinstance(plan, DocumentPlan):
        command = "uno db create (in the database of UNO_DB_URL)"
        otherwise = "" if isinstance(plan, DocumentPlan) else "; or do without them by audit=False"
        await _require_own(database, f"{command}, or {create}{otherwise}")
    if isinstance(plan, MappedPlan):
        missing = await _missing(database, [table for table in plan.mapper.tables if isinstance(table, Table)])
        if missing:
            what = ", ".join(missing)
            raise Misconfigured(f"The database has no table {what}; create it with your migrations, or: {create}")


async def _require_own(database: Database, remedy: str) -> None:
    """Raise `Misconfigured` unless uno's own tables are those of this version."""
    found = await current(database)
    if found is None:
        raise Misconfigured(f"The database has none of uno's tables; create them with: {remedy}")
    if found < HEAD:
        raise Misconfigured(f"The database has uno's schema {found}, this version needs {HEAD}; run: {remedy}")
    _refuse_newer(found)


async def triggerless(database: Database, tables: Sequence[MetaData], *, partitions: bool = False) -> list[str]:
    """The names of tables that have not the triggers of their class, or with `partitions` not on all of these."""
    wanted = [table for metadata in tables for table in metadata.sorted_tables]
    if not capture.captured(wanted):
        return []
    found = await _asked(database, lambda connection: capture.outdated(connection, wanted, partitions=partitions))
    return [table.fullname for table in found]


async def _require_columns(database: Database, wanted: Sequence[Table], migrations: "Migrations | None") -> None:
    lacking = await _asked(database, lambda connection: _lacking(connection, wanted)) if wanted else []
    if lacking:
        remedy = _MIGRATE if migrations is not None and migrations.exist else _BY_HAND
        raise Misconfigured(f"The database has no column {', '.join(lacking)}; {remedy}")


def _lacking(connection: Any, wanted: Iterable[Table]) -> list[str]:
    """The columns of those tables that are not there."""
    # Names of SQLite's columns have no case.
    same: Callable[[str], str] = str.lower if connection.dialect.name == "sqlite" else str
    found: list[str] = []
    for schema, tables in groupby(sorted(wanted, key=_schema), _schema):
        by_name = {table.name: table for table in tables}
        there = inspect(connection).get_multi_columns(
            schema=schema or None, filter_names=list(by_name), kind=ObjectKind.ANY, scope=ObjectScope.ANY
        )
        for (_, name), columns in there.items():
            known = {same(column["name"]) for column in columns}
            declared = [column for column in by_name[name].columns if not column.system]
            found += [f"{column.table.fullname}.{column.name}" for column in declared if same(column.name) not in known]
    return found


def _schema(table: Table) -> str:
    return table.schema or ""


async def _missing(database: Database, wanted: Iterable[Table]) -> list[str]:
    """The names of those tables that are not there."""

    def look(connection: Any) -> list[str]:
        there = inspect(connection)
        return [table.fullname for table in wanted if not there.has_table(table.name, schema=table.schema)]

    return await _asked(database, look)
