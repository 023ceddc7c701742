"""What the database says against one of many rows, as an error that names the field and the row."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column
from sqlalchemy.engine import Dialect

from uno.data import violations
from uno.data.bulk_rows import Held, Refused, Rows, told
from uno.data.failures import is_lost, translate
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
        return placed(violations.named(known, plan), rows)
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
        return placed(violations.named(known, plan), rows)
    return None if rows is None else Invalid(f"The database cannot store a value of these rows: {error}")


def placed(error: Refused, rows: Rows | None) -> Refused:
    """With the number of the row, where it is known."""
    return error if rows is None or rows.refused is None else told(error, rows.first + rows.refused)


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
        return None if column.nullable or generated else ("missing", "It takes a value.")
    return problem_of(column.type, value, dialect)
