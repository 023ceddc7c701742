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
# The first 16 digits of a UUID version 7 of the microsecond m, as `uno.ids.uuid7_at` makes them.
_DIGITS = "lpad(to_hex(m / 1000), 12, '0') || '7' || lpad(to_hex(m % 1000 * 4096 / 1000), 3, '0')"
_NOW = f"(SELECT {_DIGITS} FROM (SELECT {_MICROS} AS m OFFSET 0) AS moment)"
# Of its text, behind those 16 digits.
_REST = 17


def stamped(identifier: str) -> str:
    """The SQL of an identifier with its time, from the SQL of one without."""
    return f"({_NOW} || right({identifier}::text, {_REST}))::uuid"


def insertion(table: Table, rows: Sequence[dict[str, Any]], dialect: str) -> tuple[Insert, Sequence[dict[str, Any]]]:
    """An INSERT of these rows, and its parameters."""
    name = table.info.get(STAMPED)
    if name is None or dialect != "postgresql":
        return insert(table), rows
    given = f"{name}_given"
    rest = func.right(cast(bindparam(given, type_=Uuid), Text), _REST, type_=Text())
    made = {name: cast(literal_column(_NOW, Text) + rest, Uuid)}
    names = {name: given}
    return insert(table).values(made), [{names.get(key, key): value for key, value in row.items()} for row in rows]


def moment(locked: FromClause | None = None) -> tuple[ColumnElement[str], ColumnElement[int]]:
    """The first digits of identifiers made now, and now in microseconds; now is when all of `locked` is there."""
    micros = select(literal_column(_MICROS, BigInteger).label("m"))
    if locked is not None:
        micros = micros.select_from(select(func.count()).select_from(locked).subquery("locked"))
    now = micros.cte("moment")
    first = select(literal_column(_DIGITS, Text)).select_from(now)
    return first.scalar_subquery(), select(now.c.m).scalar_subquery()
