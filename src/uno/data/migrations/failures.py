"""What goes wrong with migrations, in one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from uno.data.failures import translate
from uno.errors import Misconfigured, TimedOut, Unavailable, UnoError
from uno.redact import described, one_line, redact

_UNKNOWN = re.compile(r"Can't locate revision identified by '(.*)'|No such revision or branch '(.*)'")
# How SQLite says that rows have no value for a column that has to have one: of a new column, and of a copied table.
_ADDED = re.compile(r'ALTER TABLE ("(?:[^"]|"")+"|\S+) ADD COLUMN ("(?:[^"]|"")+"|\S+) ')
_COPIED = re.compile(r"NOT NULL constraint failed: _alembic_tmp_(.+)\.(.+)")
# PostgreSQL's not_null_violation.
_NULL = "23502"


@contextmanager
def telling(folder: Path) -> Iterator[None]:
    """Whatever Alembic, the database or the migrations themselves raise is told in one sentence."""
    try:
        yield
    except UnoError:
        raise
    except CommandError as error:
        raise Misconfigured(_sentence(error, folder)) from error
    except DBAPIError as error:
        raise _refused(error, folder) from error
    except (Exception, SystemExit) as error:  # the author's code; whoever migrates sees it
        raise Misconfigured(f"The migrations in {folder} raise an error: {described(error, within=folder)}") from error


def _sentence(error: CommandError, folder: Path) -> str:
    text = str(error)
    unknown = _UNKNOWN.search(text)
    if unknown is not None:
        return f"There is no revision {unknown[1] or unknown[2]!r} in {folder}; uno db history lists those there are."
    if "Multiple head" in text:
        return f"The migrations in {folder} have several heads; join them: alembic -c {folder}/alembic.ini merge heads"
    if text.startswith("Relative revision"):
        return f"There are not so many migrations from here in {folder}; uno db history lists them."
    return one_line(redact(text))


def _refused(error: DBAPIError, folder: Path) -> UnoError:
    known = translate(error)
    if isinstance(known, Unavailable | TimedOut):
        return known
    cause = error.orig if isinstance(error.orig, Exception) else error
    place = described(error, within=folder).rpartition(" (")[2]
    inside = f" ({place}" if str(folder) in place else ""
    reason = one_line(redact(str(cause).partition("\n")[0])).removeprefix("<class 'asyncpg.exceptions.")
    empty = _empty(error, reason)
    if empty is not None:
        table, column = empty
        return Misconfigured(
            f"The column {column} of {table} is to be NOT NULL, and the rows that are there have no value for it, so "
            f"the database is as it was{inside}: give the column a server_default in its model and in the migration, "
            "or let it be nullable, fill it, and make it NOT NULL in the migration after that."
        )
    return Misconfigured(f"The database refused it, and is as it was: {_bare(reason)}{inside}")


def _empty(error: DBAPIError, reason: str) -> tuple[str, str] | None:
    """The table and the column that has to have values, and has not."""
    statement, cause = error.statement or "", getattr(error.orig, "__cause__", None)
    if statement.startswith("ALTER TABLE") and getattr(error.orig, "sqlstate", None) == _NULL:
        return str(getattr(cause, "table_name", "")), str(getattr(cause, "column_name", ""))
    added = _ADDED.match(statement) if "NOT NULL column" in reason else None
    found = added or _COPIED.search(reason)
    return None if found is None else (_unquoted(found[1]), _unquoted(found[2]))


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _bare(reason: str) -> str:
    """Without the class of the error, which SQLAlchemy puts before what asyncpg says."""
    return re.sub(r"^\w+Error'>: ", "", reason)
