"""Identifiers by PostgreSQL's clock, so that those of a ledger are in the order in which its rows were written.

What an application makes before it writes is older than what others wrote while it waited for their locks, and its
clock is not that of other machines. So the time in identifiers of stamped columns is PostgreSQL's, asked once in a
statement that has all its locks; what follows it, the place among those of one commit, is as it was given.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Insert,
    Table,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
)

# In the `info` of a table: the column whose identifiers get their time from PostgreSQL.
STAMPED: Final = "uno.stamped"
_MICROS = "(date_part('epoch', clock_timestamp()) * 1000000)::bigint"
# The first 16 digits of a UUID version 7 of a microsecond, as `uno.ids.uuid7_at` makes them: 4096ths of milliseconds
# (512 / 125 of a microsecond), with the version before the last three digits.
DIGITS = "overlay(lpad(to_hex({} * 512 / 125), 15, '0') placing '7' from 13 for 0)"
_NOW = DIGITS.format(_MICROS)
# Of its text, behind those 16 digits.
_REST = 17


def stamped(identifier: str, *, single: bool) -> str:
    """The SQL of an identifier with its time, from the SQL of one without; all of a statement get the same."""
    now = _NOW if single else f"(SELECT {_NOW})"
    return f"({now} || right({identifier}::text, {_REST}))::uuid"


def insertion(table: Table, rows: Sequence[dict[str, Any]], dialect: str) -> tuple[Insert, Sequence[dict[str, Any]]]:
    """An INSERT of these rows, and its parameters."""
    name = table.info.get(STAMPED)
    if name is None or dialect != "postgresql":
        return insert(table), rows
    given = f"{name}_given"
    rest = func.right(cast(bindparam(given, type_=Uuid), Text), _REST, type_=Text())
    made = {name: cast(digits_now() + rest, Uuid)}
    names = {name: given}
    return insert(table).values(made), [{names.get(key, key): value for key, value in row.items()} for row in rows]


def digits_now() -> ColumnElement[str]:
    """The first digits of an identifier made now."""
    return literal_column(_NOW, Text)


def moment(locked: FromClause | None = None) -> tuple[ColumnElement[str], ColumnElement[int]]:
    """The first digits of identifiers made now, and now in microseconds; now is when all of `locked` is there."""
    micros = select(literal_column(_MICROS, BigInteger).label("m"))
    if locked is not None:
        micros = micros.select_from(select(func.count()).select_from(locked).subquery("locked"))
    now = micros.cte("moment")
    first = select(literal_column(DIGITS.format("m"), Text)).select_from(now)
    return first.scalar_subquery(), select(now.c.m).scalar_subquery()
