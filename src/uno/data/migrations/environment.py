"""What Alembic is told: tables, types, how to compare. Runs in env.py."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import CreateTableOp, MigrationScript
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Enum, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from uno.data import capture
from uno.data.migrations import defaults, unnamed
from uno.data.migrations.enums import enum_changes, native, write_enums
from uno.data.migrations.folder import mentions
from uno.data.migrations.written import is_written_so, named_by, plain
from uno.data.model import UtcDateTime, database_now
from uno.errors import Misconfigured

_POSTGRESQL = "from sqlalchemy.dialects import postgresql"
# Those that may be named as briefly as in a model.
_TYPES: Mapping[type, str] = {UtcDateTime: "from uno.data import UtcDateTime"}


def configure(**changed: Any) -> None:
    """Configure and run Alembic's context on the connection of its config; `changed` is the user's own."""
    attributes = context.config.attributes
    blank = attributes.get("blank", False)
    told = options(attributes["tables"], attributes.get("folder"), dialect=_dialect(), blank=blank)
    told["process_revision_directives"] = _directed
    told["on_version_apply"] = [*filter(None, [attributes.get("applied")]), _stepped]
    if context.is_offline_mode():
        told |= {"dialect_name": _dialect(), "literal_binds": True}
    else:
        told["connection"] = attributes["connection"]
    context.configure(**(told | changed))
    with context.begin_transaction():
        context.run_migrations()
        if attributes.get("renew", False):
            _renew(attributes["connection"])


def _stepped(*, ctx: MigrationContext, **_: Any) -> None:
    """After each migration."""
    if ctx.connection is not None and not ctx.as_sql:
        _renew(ctx.connection)


def _renew(connection: Connection) -> None:
    capture.renew(connection, [table for one in context.config.attributes["tables"] for table in one.sorted_tables])


def _directed(migrating: MigrationContext, _revision: Any, scripts: list[MigrationScript]) -> None:
    """What is written besides what Alembic found; nothing at all, where nothing is asked for but changes."""
    attributes = context.config.attributes
    _forget_info(scripts[0])
    unnamed.name_all(scripts[0], migrating)
    if not attributes.get("empty", False):
        tables, blank = attributes["tables"], attributes.get("blank", False)
        write_enums(scripts[0], enum_changes(migrating.connection, tables, attributes.get("folder"), blank=blank))
    if attributes.get("changes_only", False) and scripts[0].upgrade_ops_list[0].is_empty():
        scripts.clear()


def _forget_info(script: MigrationScript) -> None:
    """It is for the program, and what is in it may be anything."""
    for group in (*script.upgrade_ops_list, *script.downgrade_ops_list):
        for one in group.ops:
            if isinstance(one, CreateTableOp):
                one.info = {}


def _dialect() -> str:
    attributes = context.config.attributes
    connection = attributes.get("connection")
    return str(attributes["dialect"] if connection is None else connection.dialect.name)


def options(tables: Sequence[MetaData], folder: Path | None, *, dialect: str, blank: bool = False) -> dict[str, Any]:
    """For `context.configure`. `blank` compares with a database that has no tables."""
    schemas = {table.schema for one in tables for table in one.tables.values()}
    return {
        "target_metadata": list(tables),
        "compare_type": True,
        "compare_server_default": True,
        "autogenerate_plugins": ["alembic.autogenerate.*", defaults.PLUGIN, unnamed.PLUGIN],
        # SQLite can do it as well; whatever fails leaves nothing.
        "transactional_ddl": True,
        "render_as_batch": dialect == "sqlite",
        "render_item": _render,
        "include_schemas": bool(schemas - {None}),
        "include_name": _named(schemas, blank),
        "include_object": _ours(folder),
    }


def _named(schemas: set[str | None], blank: bool) -> Callable[..., bool]:
    def include_name(name: str | None, kind: str, parents: Any) -> bool:
        return name in {None, *schemas} if kind == "schema" else not (blank and kind == "table")

    return include_name


def _ours(folder: Path | None) -> Callable[..., bool]:
    def include_object(found: Any, name: str, kind: str, reflected: bool, other: Any) -> bool:
        unknown = kind == "table" and reflected and other is None
        return not unknown or mentions(folder, name)

    return include_object


def _render(kind: str, found: Any, autogenerating: AutogenContext) -> str | bool:
    """What Alembic would write otherwise; what is not SQLAlchemy's is imported where it is used."""
    imports, cls = autogenerating.imports, type(found)
    if kind == "server_default" and isinstance(getattr(found, "arg", None), database_now):
        imports.add("from uno.data.model import database_now")
        return "database_now()"
    if kind == "column" and isinstance(found, Column):
        _check_type(found, autogenerating)
    if kind != "type" or not isinstance(found, TypeEngine):
        return False
    if cls in _TYPES:
        imports.add(_TYPES[cls])
        return f"{cls.__name__}()"
    if isinstance(found, JSONB):
        imports.add(_POSTGRESQL)
        return f"postgresql.JSONB(none_as_null={found.none_as_null})"
    if native(found) and autogenerating.dialect.name == "postgresql":
        return _native(found, autogenerating)
    if cls is Enum:
        return named_by(found, autogenerating)
    if cls.__module__.startswith("sqlalchemy."):
        return False
    if is_written_so(found, autogenerating.dialect):
        imports.add(f"import {cls.__module__}")
        return False  # Alembic writes module, class and arguments
    less = plain(found, autogenerating)
    if less is None:
        raise Misconfigured(f"{_unwritable(found)}.")
    return _render(kind, less, autogenerating) or named_by(less, autogenerating)


def _native(found: Any, autogenerating: AutogenContext) -> str | bool:
    """The migration makes the type itself, and once."""
    kind = plain(found, autogenerating)
    if not isinstance(kind, Enum):
        return False
    autogenerating.imports.add(_POSTGRESQL)
    return f"postgresql.ENUM({', '.join(map(repr, kind.enums))}, name={str(kind.name)!r}, create_type=False)"


def _check_type(column: Column[Any], autogenerating: AutogenContext) -> None:
    """Raise `Misconfigured` that names the column."""
    try:
        _render("type", column.type, autogenerating)
    except Misconfigured:
        raise Misconfigured(f"{column.name}: {_unwritable(column.type)}.") from None


def _unwritable(kind: Any) -> str:
    module = type(kind).__module__
    return (
        f"the type {module}.{kind!r} cannot be written into a migration; give {type(kind).__name__} a __repr__ that "
        f"is an expression of its module, or write the migration by hand: uno db revision --empty"
    )
