"""What is written into a migration: Python that means the same, or nothing at all."""

import ast
import builtins
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic.autogenerate.api import AutogenContext
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from uno.errors import Misconfigured
from uno.redact import one_line

_TABLE = re.compile(r"\bop\.\w+\(\s*'([^']+)'")
_COLUMN = re.compile(r"\bColumn\('([^']+)'|\bop\.alter_column\('[^']+', '([^']+)'|batch_op\.alter_column\('([^']+)'")


@contextmanager
def checked(folder: Path) -> Iterator[None]:
    """Keep what is written inside only if it is Python. Raises `Misconfigured` that names the column."""
    versions = folder / "versions"
    there = set(versions.rglob("*.py"))
    try:
        try:
            yield
        except SyntaxError:
            # Alembic reads what it has written; whatever else it reads is somebody's own.
            _check(set(versions.rglob("*.py")) - there)
            raise
        _check(set(versions.rglob("*.py")) - there)
    except BaseException:
        for one in set(versions.rglob("*.py")) - there:
            one.unlink()
        raise


def _check(files: set[Path]) -> None:
    for text in (one.read_text(encoding="utf-8") for one in files):
        line = _fault(text)
        if line is not None:
            raise Misconfigured(_sentence(text.splitlines(), line))


def _fault(text: str) -> int | None:
    """The line of what is no Python, or of a name that is nobody's."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 1
    known = {*dir(builtins), "__file__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            known.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.Name):
            known |= set() if isinstance(node.ctx, ast.Load) else {node.id}
        else:
            known.add(getattr(node, "name", None) or "")
    named = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return None if "*" in known else next((node.lineno for node in named if node.id not in known), None)


def _sentence(lines: list[str], number: int) -> str:
    before = "\n".join(lines[:number])
    tables, columns = _TABLE.findall(before), ["".join(one) for one in _COLUMN.findall(before)]
    of = f" of {tables[-1]}.{columns[-1]}" if tables and columns else ""
    line = one_line(lines[number - 1].strip()) if number <= len(lines) else ""
    return (
        f"No migration was written, for what would stand in it{of} is no Python: {line} - give the value or the type "
        "a __repr__ that is Python, or write the migration by hand: uno db revision --empty."
    )


def is_written_so(kind: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether a type that is not SQLAlchemy's is made again by module, class and arguments, as Alembic writes them."""
    module = type(kind).__module__
    package = module.partition(".")[0]
    try:
        importlib.import_module(module)
        # What the migration will do.
        found = eval(f"{module}.{kind!r}", {package: importlib.import_module(package)})  # noqa: S307
        same = type(found) is type(kind) and _ddl(found, dialect) == _ddl(kind, dialect)
    except Exception:  # whatever its class raises; who asks takes another way
        return False
    return bool(same)


def plain(kind: TypeEngine[Any], autogenerating: AutogenContext) -> TypeEngine[Any] | None:
    """What a type of one's own is in this database, as a type of SQLAlchemy's; None where it is none."""
    dialect = autogenerating.dialect
    while isinstance(kind, TypeDecorator) and dialect is not None:
        kind = kind.load_dialect_impl(dialect)
    return kind if type(kind).__module__.startswith("sqlalchemy.") else None


def named_by(kind: TypeEngine[Any], autogenerating: AutogenContext) -> str:
    """A type of SQLAlchemy's as Python."""
    module = type(kind).__module__.split(".")
    if module[:2] != ["sqlalchemy", "dialects"]:
        place = "sa" if hasattr(sqlalchemy, type(kind).__name__) else f"sa.{'.'.join(module[1:])}"
        return f"{place}.{_without_metadata(kind)}"
    autogenerating.imports.add(f"from sqlalchemy.dialects import {module[2]}")
    return f"{module[2]}.{_without_metadata(kind)}"


def _without_metadata(kind: TypeEngine[Any]) -> str:
    return repr(kind).replace(", metadata=MetaData()", "")


def _ddl(kind: TypeEngine[Any], dialect: Dialect) -> str:
    return str(kind.compile(dialect=dialect))
