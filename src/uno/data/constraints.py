"""What the constraints of a table are called, by PostgreSQL and by SQLite, and which columns they are about."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, count
from typing import Any, Final

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, PrimaryKeyConstraint, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import conv

from uno.data.default_names import ENDINGS, default_name

_POSTGRES: Final[Any] = postgresql.dialect()  # type: ignore[no-untyped-call]
_SQLITE: Final[Any] = sqlite.dialect()
_AS_CREATED = {"include_table": False, "literal_binds": True}
_TEXTS = re.compile(r"'[^']*'")
# What SQLite takes the first of for a name that is quoted.
_QUOTES = {'"': '"', "'": "'", "`": "`", "[": "]"}


def columns_of(table: Table, name: str) -> list[Column[Any]]:
    """Those of the constraint or index of this name, or with this condition; of several what they have in common."""
    name = _on_one_line(name)
    found = [columns for known, one, columns in _named(table) if known == name and not _is_foreign(one)]
    return [column for column in found[0] if all(column in other for other in found)] if found else []


def foreign_keys(table: Table, name: str) -> list[ForeignKeyConstraint]:
    """Those of this name."""
    return [one for known, one, _ in _named(table) if known == name and _is_foreign(one)]


def names_of_key(table: Table) -> set[str]:
    """What PostgreSQL calls the primary key's constraint, and what SQLite says instead."""
    columns = ", ".join(f"{table.name}.{column.name}" for column in table.primary_key.columns)
    return {columns, *(name for name, one, _ in _named(table) if one is table.primary_key)}


def _is_foreign(one: Any) -> bool:
    return isinstance(one, ForeignKeyConstraint)


def _named(table: Table) -> Iterator[tuple[str, Any, list[Column[Any]]]]:
    """All of them with their columns, each by every name that it may have."""
    everyone = _in_order(table)
    taken = set(chain.from_iterable(_declared(one) for one in everyone))
    for one in everyone:
        columns = _in_condition(table, one) if isinstance(one, CheckConstraint) else list(one.columns)
        for name in _declared(one) or _defaults(table, one, columns, taken):
            yield name, one, columns


def _in_order(table: Table) -> list[Any]:
    """As they are created: PostgreSQL numbers those that would have the same name."""
    of_columns = chain.from_iterable(column.constraints for column in table.columns)
    return [*of_columns, *sorted(table.constraints, key=lambda one: one._creation_order), *table.indexes]


def _declared(one: Any) -> set[str]:
    """As declared, and as SQLAlchemy cuts for PostgreSQL what a convention has made."""
    if not isinstance(one.name, str):
        return set()
    cut = _POSTGRES.identifier_preparer.truncate_and_render_constraint_name
    return {str(one.name), cut(one.name).strip('"')} if isinstance(one.name, conv) else {one.name}


def _defaults(table: Table, one: Any, columns: Iterable[Column[Any]], taken: set[str]) -> set[str]:
    """As PostgreSQL calls it; of a check also what SQLite says, which is the condition."""
    ending, check = ENDINGS.get(type(one)), one if isinstance(one, CheckConstraint) else None
    if ending is None:
        return set()
    names = [column.name for column in columns]
    shown = () if isinstance(one, PrimaryKeyConstraint) or (check is not None and len(names) > 1) else names
    numbered = (default_name(table.name, shown, f"{ending}{n or ''}") for n in count())
    made = next(name for name in numbered if name not in taken)
    taken.add(made)
    return {made} if check is None else {made, *_conditions(check)}


def _conditions(check: CheckConstraint) -> set[str]:
    text = _on_one_line(str(check.sqltext.compile(dialect=_SQLITE, compile_kwargs=_AS_CREATED)))
    closing = _QUOTES.get(text[:1])
    return {text} if closing is None else {text, text[1:].partition(closing)[0]}


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _in_condition(table: Table, check: CheckConstraint) -> list[Column[Any]]:
    """The columns in a condition, which is often only a text."""
    words = set(re.findall(r"\w+", _TEXTS.sub("", str(check.sqltext))))
    return [column for column in table.columns if column.name in words]
