"""Which attributes a violated constraint is about: errors name what the client gave, not what the database has."""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Index, Table, UniqueConstraint

from uno.data.document import DocumentPlan
from uno.data.failures import MISSING, REFERRED, REFUSED
from uno.data.plan import MappedPlan
from uno.errors import Conflict, FieldError, Invalid, VersionConflict

_SQLITE_COLUMNS = re.compile(r"(\w+)\.(\w+)")
_REFERRED = re.compile(r"refers to it[.:]")
_FOLLOWING = ("CASCADE", "SET NULL", "SET DEFAULT")
_ONE = "The database does not take one of the values."


def named(error: Exception, plan: MappedPlan | DocumentPlan, given: Iterable[str], visible: Iterable[str]) -> Exception:
    """`error` with the attributes it is about, where the database named only a constraint.

    `given` are the attributes that were written: of a foreign key SQLite does not say which one it was.
    Others than those that are `visible` are not named.
    """
    if isinstance(plan, DocumentPlan) or isinstance(error, VersionConflict):
        return error
    hidden = frozenset(one.name for one in plan.attributes) - frozenset(visible)
    if isinstance(error, Conflict) and not error.repeatable:
        return _conflict(error, plan, set(given), hidden)
    if type(error) is Invalid and not error.errors and str(error).startswith(REFUSED):
        return _refusal(str(error).removeprefix(REFUSED).rstrip("."), plan, hidden) or error
    return _seen(error, hidden) if type(error) is Invalid else error


def _seen(error: Invalid, hidden: Collection[str]) -> Invalid:
    """Without what it says of attributes that are `hidden`."""
    told = [one for one in error.errors if one.field not in hidden]
    if len(told) == len(error.errors):
        return error
    return Invalid("; ".join(f"{one.field}: {one.message}" for one in told) or _ONE, told)


def is_reference(error: Conflict) -> bool:
    return "refers to" in str(error)


def _conflict(error: Conflict, plan: MappedPlan, given: set[str], hidden: Collection[str]) -> Conflict:
    if is_reference(error):
        return _reference(error, plan, given, hidden)
    if error.constraint is None:
        return error
    fields = _unique(plan, error.constraint)
    if not fields:
        return error
    message = "There is one with this value already." if len(fields) == 1 else "There is one with these values already."
    return _about(error, fields, message, "duplicate", hidden)


def _reference(error: Conflict, plan: MappedPlan, given: set[str], hidden: Collection[str]) -> Conflict:
    """To something that is not there; or something else refers to what should be deleted."""
    is_missing = MISSING in str(error)
    fields = [] if _REFERRED.search(str(error)) else _referring_fields(plan, error.constraint, given)
    if fields or is_missing:
        return _about(error, fields, f"{MISSING}.", "reference", hidden)
    who = _referring(plan, error.constraint)
    if who is None and not str(error).startswith(REFERRED):  # somebody knew it
        return error
    return Conflict(f"{who} refers to it." if who else f"{REFERRED}.", constraint=error.constraint)


def _referring_fields(plan: MappedPlan, constraint: str | None, given: set[str]) -> list[str]:
    """The attributes of a foreign key; of all those that are `given`, where the database does not name it."""
    keys = plan.table.foreign_key_constraints
    exact = [one for one in keys if constraint in _names(plan.table, one, "fkey")]
    wanted = exact if constraint is not None else keys
    fields = [name for one in wanted for name in _attributes(plan, one.columns)]
    return fields if exact else [name for name in fields if name in given]


def _referring(plan: MappedPlan, constraint: str | None) -> str | None:
    """The kind that refers to it: the one of the constraint, or the only one where the database names none."""
    keys = list(_references(plan))
    if constraint is not None:
        found = {name for name, one in keys if constraint in _names(one.table, one, "fkey")}
    else:
        keys = [(name, one) for name, one in keys if _target(one) == plan.table.fullname]
        # What goes along is not what refuses; but it may be referred to, too.
        found = {"" if (one.ondelete or "").upper() in _FOLLOWING else name for name, one in keys}
    return (found.pop() or None) if len(found) == 1 else None


def _references(plan: MappedPlan) -> Iterator[tuple[str, ForeignKeyConstraint]]:
    """All foreign keys beside this table, each with the class that has it."""
    for mapper in plan.mapper.registry.mappers:
        table = mapper.local_table
        if not mapper.single and isinstance(table, Table) and table.metadata is plan.table.metadata:
            for one in table.foreign_key_constraints:
                yield mapper.class_.__name__, one


def _target(key: ForeignKeyConstraint) -> str:
    """The table that it leads to, which may not be there."""
    return key.elements[0].target_fullname.rpartition(".")[0]


def _about(error: Conflict, fields: Iterable[str], message: str, code: str, hidden: Collection[str]) -> Conflict:
    names = list(dict.fromkeys(name for name in fields if name not in hidden))
    better = Conflict(f"{', '.join(names)}: {message}" if names else message, constraint=error.constraint)
    better.errors = tuple(FieldError(name, message, code) for name in names)
    return better


def _refusal(name: str, plan: MappedPlan, hidden: Collection[str]) -> Invalid | None:
    """A check, or a value that must not be null."""
    table, columns = plan.table, plan.table.columns
    checks = [one for one in table.constraints if isinstance(one, CheckConstraint) and name == str(one.name)]
    if checks:
        found, message, code = list(_checked(plan, checks[0])), "The database does not take this value.", "check"
    else:
        column = columns.get(name.rpartition(".")[2])
        found = [] if column is None else _attributes(plan, [column])
        message, code = "It takes a value.", "missing"
    found = [one for one in found if one not in hidden]
    if not found:
        return Invalid(_ONE)
    return Invalid(f"{', '.join(found)}: {message}", [FieldError(field, message, code) for field in found])


def _checked(plan: MappedPlan, check: CheckConstraint) -> Iterator[str]:
    """The attributes in a condition, which is often only a text."""
    words = set(re.findall(r"\w+", str(check.sqltext)))
    for one in plan.attributes:
        if one.column.name in words:
            yield one.name


def _unique(plan: MappedPlan, constraint: str) -> list[str]:
    """The attributes of a unique constraint, by its name or, as SQLite says it, by its columns."""
    table = plan.table
    for one in (*table.constraints, *table.indexes):
        if isinstance(one, UniqueConstraint | Index) and constraint in _names(table, one, "key"):
            return _attributes(plan, one.columns)
    if constraint in _names(table, table.primary_key, "pkey"):
        return _attributes(plan, table.primary_key.columns)
    by_name = [table.columns.get(column) for name, column in _SQLITE_COLUMNS.findall(constraint) if name == table.name]
    return _attributes(plan, [column for column in by_name if column is not None])


def _names(table: Table, constraint: Any, ending: str) -> set[str]:
    """What it is called: as declared, or as PostgreSQL would call it."""
    columns = "" if ending == "pkey" else "_" + "_".join(column.name for column in constraint.columns)
    return {str(constraint.name), f"{table.name}{columns}_{ending}"}


def _attributes(plan: MappedPlan, columns: Iterable[Column[Any]]) -> list[str]:
    by_column = {one.column: one.name for one in plan.attributes}
    return [by_column[column] for column in columns if column in by_column]
