"""Two ways to write the same operations, with the same rows and the same errors.

`write_in_order` writes them one after another in an open transaction, in the order of the
handler's changes. A backend's `Writer` may know how to write them in one statement.
"""

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select, and_, delete, insert, literal, select, update

from uno.data.changes import Operation, Values
from uno.data.culprit import Look, culprit
from uno.data.lease import Transaction
from uno.data.stamps import insertion
from uno.errors import Conflict, Invalid, VersionConflict


def _shape(operation: Operation) -> tuple[Any, ...]:
    return (operation.kind, operation.table, *operation.values)


async def write_in_order(
    transaction: Transaction, operations: Sequence[Operation], refused: list[Operation] | None = None
) -> None:
    """Write `operations`; `VersionConflict` where a row is not as expected.

    `refused` gets the new one that the database does not take, where it can be told.
    """
    for (kind, table, *_), group in groupby(operations, _shape):
        rows = list(group)
        if kind == "insert":
            values = [{**o.key, **o.values} for o in rows]
            try:
                await transaction.execute(*insertion(table, values, transaction.connection.dialect.name))
            except (Conflict, Invalid) as error:
                if refused is not None:
                    place = culprit(error, table, len(rows), _look(values), transaction.connection.dialect)
                    refused += [] if place is None else [rows[place]]
                raise
        else:
            for operation in rows:
                await _write_one(transaction, operation)


def _look(values: Sequence[Values]) -> Look:
    return lambda place, column: values[place].get(column.key)


def _as_expected(operation: Operation) -> ColumnElement[bool]:
    wanted = {**operation.key, **operation.expect}
    return and_(*(operation.table.c[name] == value for name, value in wanted.items()))


def guarding(operation: Operation) -> Select[Any]:
    """Selects and locks the row of `operation` if it is as expected."""
    return select(literal(1)).select_from(operation.table).where(_as_expected(operation)).with_for_update()


async def _write_one(transaction: Transaction, operation: Operation) -> None:
    if operation.kind == "guard":
        matched = len((await transaction.execute(guarding(operation))).all())
    else:
        table = operation.table
        change = update(table).values(operation.values) if operation.kind == "update" else delete(table)
        matched = (await transaction.execute(change.where(_as_expected(operation)))).rowcount
    if matched != 1:
        raise stale([operation])


def stale(operations: Sequence[Operation]) -> VersionConflict:
    """The error for rows that were not as expected; a lost fence is not worth repeating."""
    repeatable = not any(operation.fence for operation in operations)
    return VersionConflict(operations[0].label, [operation.id for operation in operations], repeatable=repeatable)


async def insert_returning(transaction: Transaction, operation: Operation) -> Values:
    """Insert one row and give back all its columns, for those that the database generates."""
    values = {k: v for k, v in {**operation.key, **operation.values}.items() if v is not None}
    table = operation.table
    result = await transaction.execute(insert(table).values(values).returning(*table.columns))
    return dict(zip((c.key for c in table.columns), result.one(), strict=True))


class Statement(Protocol):
    """All operations in one statement; `check` raises if it wrote nothing because a row was stale."""

    @property
    def sql(self) -> str: ...

    @property
    def arguments(self) -> Sequence[Any]: ...

    def check(self, rows: Sequence[Any]) -> None: ...


class Writer(Protocol):
    """Writes operations in one statement; a backend on which that is never possible has none."""

    def possible(self, operations: Sequence[Operation], restricted: Collection[str]) -> bool: ...

    def one_statement(self, operations: Sequence[Operation], said: str | None = None) -> Statement:
        """`said` is what triggers that write down the changes are told."""
        ...
