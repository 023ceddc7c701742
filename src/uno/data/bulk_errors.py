"""What the database says against one of many rows, as an error that names the field and the row."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import asyncpg
from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Table, UniqueConstraint
from sqlalchemy.engine import Dialect

from uno.data import violations
from uno.data.bulk_rows import Held, Refused, Rows, told
from uno.data.document import DocumentPlan
from uno.data.failures import REFUSED, chain, is_lost, translate
from uno.data.plan import MappedPlan
from uno.data.values import WRONG, problem_of, unfit
from uno.errors import Conflict, Invalid, UnoError, VersionConflict


def named(
    error: BaseException, plan: MappedPlan, dialect: Dialect, rows: Rows | None = None, values: Held | None = None
) -> UnoError | None:
    """A better error for new `rows`, or for `values` given to many; None if there is none."""
    known = translate(error) if isinstance(error, Exception) else None
    if isinstance(known, VersionConflict) or is_lost(error):
        return None
    if isinstance(known, Conflict):
        return placed(_conflict(known, plan, plan.names if rows is not None else values or ()), rows)
    if known is None and not isinstance(error, WRONG):
        return None
    given = [(a, values[a.name]) for a in plan.attributes if values is not None and a.name in values]
    wrong = {a.name: problem for a, value in given if (problem := problem_of(a.column.type, value, dialect))}
    if wrong:
        return unfit(wrong)
    if isinstance(known, Invalid) and known.errors and rows is None:
        return known
    found = None if rows is None else next(_unfit(rows, dialect), None)
    if found is not None:
        number, name, code, message = found
        return told(Invalid.field(name, message, code), number)
    if isinstance(known, Invalid):
        return placed(_refused(known, error, plan), rows)
    return None if rows is None else Invalid(f"The database cannot store a value of these rows: {error}")


def placed(error: Refused, rows: Rows | None) -> Refused:
    """With the number of the row, where it is known."""
    return error if rows is None or rows.refused is None else told(error, rows.first + rows.refused)


def named_alone(error: Refused, plan: MappedPlan | DocumentPlan) -> Refused:
    """What the database says against a row that was written by itself; any other error as it is."""
    if error.errors or isinstance(plan, DocumentPlan) or isinstance(error, VersionConflict):
        return error
    if isinstance(error, Conflict):
        return error if error.repeatable else _conflict(error, plan, plan.names)
    return _refused(error, error, plan) if str(error).startswith(REFUSED) else error


def _conflict(known: Conflict, plan: MappedPlan, given: Iterable[str]) -> Conflict:
    found = violations.named(known, plan, given, plan.names)
    return found if isinstance(found, Conflict) else known


def _refused(known: Invalid, error: BaseException, plan: MappedPlan) -> Invalid:
    """A check or a missing value, of which the server names the constraint or the column."""
    driver = _driver_error(error)
    column = getattr(driver, "column_name", None)
    constraint = getattr(driver, "constraint_name", None) or _after_colon(driver)
    names = _attributes(plan, [column]) if column else fields_of(constraint, plan)
    if not names:
        return known
    missing = bool(column) or "NOT NULL" in str(driver)
    message = "It is required" if missing else "The database refused the value"
    return Invalid.field(names[0], f"{message}.", "missing" if missing else "check")


def _driver_error(error: BaseException) -> Any:
    kinds = (asyncpg.PostgresError,)
    return next((one for one in chain(error) if isinstance(one, kinds)), list(chain(error))[-1])


def _after_colon(error: BaseException) -> str | None:
    return str(error).rpartition(": ")[2] or None


# -- which fields


def fields_of(constraint: str | None, plan: MappedPlan) -> list[str]:
    """The attributes of a constraint; SQLite names the columns instead of a unique one."""
    table = plan.table
    if constraint is None:  # SQLite says nothing of a foreign key
        keys = list(table.foreign_key_constraints)
        return _attributes(plan, [c.name for c in keys[0].columns]) if len(keys) == 1 else []
    if f"{table.name}." in constraint:
        return _attributes(plan, [part.strip().rpartition(".")[2] for part in constraint.split(",")])
    found = next((columns for name, columns in _constraints(table) if name == constraint), ())
    return _attributes(plan, [column.name for column in found])


def _constraints(table: Table) -> Iterator[tuple[str, Sequence[Any]]]:
    yield str(table.primary_key.name or f"{table.name}_pkey"), list(table.primary_key.columns)
    for column in table.columns:
        for check in column.constraints:
            yield str(check.name or f"{table.name}_{column.name}_check"), [column]
    for one in table.constraints:
        suffix = {UniqueConstraint: "key", ForeignKeyConstraint: "fkey", CheckConstraint: "check"}.get(type(one))
        columns = _named_in(one) if isinstance(one, CheckConstraint) else list(getattr(one, "columns", ()))
        if suffix is not None and columns:
            yield str(one.name or f"{table.name}_{'_'.join(c.name for c in columns)}_{suffix}"), columns
    for index in table.indexes:
        yield str(index.name), [c for c in index.expressions if isinstance(c, Column)]


def _named_in(check: CheckConstraint) -> list[Any]:
    """The columns of a condition, which may be a text."""
    words = re.findall(r"\w+", str(check.sqltext))
    return [column for column in check.table.columns if column.name in words]


def _attributes(plan: MappedPlan, columns: Iterable[str]) -> list[str]:
    by_column = {a.column.name: a.name for a in plan.attributes}
    return [by_column[name] for name in columns if name in by_column]


# -- which row


def _unfit(rows: Rows, dialect: Dialect) -> Iterator[tuple[int, str, str, str]]:
    """Number, attribute, code and sentence of each value that the database cannot take."""
    columns = [(a, rows.columns[a.name]) for a in rows.plan.attributes if a.name in rows.columns]
    for n in range(rows.size):
        for attribute, values in columns:
            wrong = _wrong(attribute.column, values[n], attribute.generated, dialect)
            if wrong is not None:
                yield rows.first + n, attribute.name, *wrong


def _wrong(column: Column[Any], value: Any, generated: bool, dialect: Dialect) -> tuple[str, str] | None:
    if value is None:
        return None if column.nullable or generated else ("missing", "It is required.")
    return problem_of(column.type, value, dialect)
