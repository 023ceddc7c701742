"""How defaults of the database are compared with those of the models."""

import re
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import AlterColumnOp
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Column, DefaultClause

# With the cast that PostgreSQL adds.
_TEXT = re.compile(r"'(.*)'(?:::[\w .\"()\[\]]+)?", re.DOTALL)
PLUGIN = "uno.defaults"


def _compare(
    comparing: AutogenContext,
    alter: AlterColumnOp,
    _schema: Any,
    _table: Any,
    _name: Any,
    there: Column[Any],
    column: Column[Any],
) -> PriorityDispatchResult:
    """Of plain ones; computed columns and identities Alembic compares itself."""
    found, wanted = there.server_default, column.server_default
    if not isinstance(found, DefaultClause) or not isinstance(wanted, DefaultClause):
        return PriorityDispatchResult.CONTINUE
    differs = _differs(comparing, str(getattr(found.arg, "text", found.arg)), wanted.arg)
    if differs:
        alter.modify_server_default = wanted
    return PriorityDispatchResult.CONTINUE if differs is None else PriorityDispatchResult.STOP


def _differs(comparing: AutogenContext, old: str, wanted: Any) -> bool | None:
    """Databases give a text back in quotes, SQLite the rest in parentheses; all else Alembic compares itself."""
    if isinstance(wanted, str):
        if _bare(old) == wanted:
            return False
        return True if "'" in wanted else None  # of these Alembic would make wrong SQL
    dialect: Any = comparing.dialect
    new = str(wanted.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    return False if dialect.name == "sqlite" and _bare(old) == _bare(new) else None


def _bare(default: str) -> str:
    inner = default[1:-1] if default.startswith("(") and default.endswith(")") else default
    text = _TEXT.fullmatch(inner)
    return inner if text is None else text[1].replace("''", "'")


Plugin(PLUGIN).add_autogenerate_comparator(_compare, "column", "server_default", priority=DispatchPriority.FIRST)
