"""What Alembic is told: tables, types, how to compare. Runs in env.py."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Enum, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from uno.data.migrations.enums import enum_changes, native, write_enums
from uno.data.migrations.folder import mentions
from uno.data.model import UtcDateTime, database_now

# Those that may be named as briefly as in a model.
# With the cast that PostgreSQL adds.
_TEXT = re.compile(r"'(.*)'(?:::[\w .\"()\[\]]+)?", re.DOTALL)
_POSTGRESQL = "from sqlalchemy.dialects import postgresql"
_TYPES: Mapping[type, str] = {UtcDateTime: "from uno.data import UtcDateTime"}


def configure(**changed: Any) -> None:
    """Configure and run Alembic's context on the connection of its config; `changed` is the user's own."""
    attributes = context.config.attributes
    blank = attributes.get("blank", False)
    told = options(attributes["tables"], attributes.get("folder"), dialect=_dialect(), blank=blank)
    told["process_revision_directives"] = _directed
    applied = attributes.get("applied")
    if applied is not None:
        told["on_version_apply"] = applied
    if context.is_offline_mode():
        told |= {"dialect_name": _dialect(), "literal_binds": True}
    else:
        told["connection"] = attributes["connection"]
    context.configure(**(told | changed))
    with context.begin_transaction():
        context.run_migrations()


def _directed(migrating: MigrationContext, _revision: Any, scripts: list[MigrationScript]) -> None:
    """What is written besides what Alembic found; nothing at all, where nothing is asked for but changes."""
    attributes = context.config.attributes
    if not attributes.get("empty", False):
        tables, blank = attributes["tables"], attributes.get("blank", False)
        write_enums(scripts[0], enum_changes(migrating.connection, tables, attributes.get("folder"), blank=blank))
    if attributes.get("changes_only", False) and scripts[0].upgrade_ops_list[0].is_empty():
        scripts.clear()


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
        "compare_server_default": _default_differs,
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


def _default_differs(
    migrating: MigrationContext, _there: Any, _column: Any, old: str | None, wanted: Any, new: str | None
) -> bool | None:
    """Databases give a text back in quotes, SQLite the rest in parentheses; all else Alembic compares itself."""
    if old is None or new is None:
        return None
    is_text = isinstance(getattr(wanted, "arg", None), str)
    if (is_text or migrating.dialect.name == "sqlite") and _bare(old) == (new if is_text else _bare(new)):
        return False
    return True if is_text and "'" in new else None  # of these Alembic would make wrong SQL


def _bare(default: str) -> str:
    inner = default[1:-1] if default.startswith("(") and default.endswith(")") else default
    text = _TEXT.fullmatch(inner)
    return inner if text is None else text[1].replace("''", "'")


def _render(kind: str, found: Any, autogenerating: AutogenContext) -> str | bool:
    """What Alembic would write otherwise; what is not SQLAlchemy's is imported where it is used."""
    imports, cls = autogenerating.imports, type(found)
    if kind == "server_default" and isinstance(getattr(found, "arg", None), database_now):
        imports.add("from uno.data.model import database_now")
        return "database_now()"
    if kind != "type" or not isinstance(found, TypeEngine):
        return False
    if cls in _TYPES:
        imports.add(_TYPES[cls])
        return f"{cls.__name__}()"
    if isinstance(found, JSONB):
        imports.add(_POSTGRESQL)
        return f"postgresql.JSONB(none_as_null={found.none_as_null})"
    if isinstance(found, Enum) and native(found) and autogenerating.dialect.name == "postgresql":
        imports.add(_POSTGRESQL)  # the migration makes the type itself, and once
        return f"postgresql.ENUM({', '.join(map(repr, found.enums))}, name={str(found.name)!r}, create_type=False)"
    if not cls.__module__.startswith("sqlalchemy."):
        imports.add(f"import {cls.__module__}")
    return False  # Alembic writes module, class and arguments
