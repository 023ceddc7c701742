"""What a unit of work looked for and did not find: somebody else may have added it before the commit."""

import re
from collections.abc import Iterable

from sqlalchemy import Table

from uno.data.document import DocumentPlan
from uno.data.failures import MISSING, REFERRED, REFUSED, chain, statement_of
from uno.data.plan import MappedPlan
from uno.data.violations import is_reference, named
from uno.errors import Conflict, Invalid, id_text

# How many rows an error names that may be about any of them.
_NAMED = 5
# What says neither which attribute nor which class it is about.
_NOBODY = (REFERRED, MISSING)
_WRITTEN = re.compile(r'\s*(?:DELETE FROM|INSERT INTO|UPDATE) "?(\w+)')
Row = tuple[MappedPlan | DocumentPlan, tuple[object, ...]]


class Lookups:
    """The keys that were not there, and the classes of which everything was read."""

    def __init__(self) -> None:
        self._missed: set[Row] = set()
        self._read: set[MappedPlan | DocumentPlan] = set()

    def missed(self, plan: MappedPlan | DocumentPlan, key: tuple[object, ...]) -> None:
        self._missed.add((plan, key))

    def read_all(self, plan: MappedPlan | DocumentPlan) -> None:
        self._read.add(plan)

    def explain(self, error: Conflict, inserts: Iterable[Row]) -> bool:
        """Whether `error` is about the key of a row that was looked for, so that the handler would find it now.

        The database does not say which of the `inserts` it was: all into the same table have to be such rows.
        """
        same = [row for row in inserts if error.constraint in _names_of_key(row[0].table)]
        return bool(same) and all(row in self._missed or row[0] in self._read for row in same)


def name_refused(error: Conflict | Invalid, inserts: Iterable[Row], plans: Iterable[MappedPlan | DocumentPlan]) -> None:
    """Say in `error` what there is already: one of `inserts`, or a value of an attribute of theirs or of `plans`.

    Or which attribute has no value, or is against a check.
    """
    if isinstance(error, Invalid):
        return _name_fields(error, plans)
    rows = list(inserts)
    same = [row for row in rows if error.constraint in _names_of_key(row[0].table)]
    names = [f"{plan.label} {id_text(plan.id_of(key))!r}" for plan, key in same]
    if len(names) == 1:
        error.args = (f"{names[0]} exists already.",)
    elif names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        error.args = (f"One of these exists already: {', '.join(names[:_NAMED])}{more}.",)
    elif not error.errors:
        known = dict.fromkeys([*(plan for plan, _ in rows), *plans])
        if is_reference(error):
            _name_reference(error, (one for one in known if isinstance(one, MappedPlan)))
        elif error.constraint is not None:
            _name_fields(error, known)


def _name_reference(error: Conflict, plans: Iterable[MappedPlan]) -> None:
    """Say which attribute refers to nothing, or whose objects refer to what should go."""
    found = _WRITTEN.match(statement_of(error))
    table = found[1] if found else None
    for plan in plans:
        if error.constraint is None and table != plan.table.name:
            continue
        given = plan.names if len(plan.table.foreign_key_constraints) == 1 else ()
        better = named(error, plan, given, plan.names)
        if isinstance(better, Conflict) and (better.errors or not str(better).startswith(_NOBODY)):
            error.args, error.errors = better.args, better.errors
            return


def _table_of(error: Invalid) -> str | None:
    """Which table refused a value: PostgreSQL says so, SQLite before the column."""
    found = next((name for one in chain(error) if (name := getattr(one, "table_name", None))), None)
    table, dot, column = str(error).removeprefix(REFUSED).rstrip(".").partition(".")
    return found or (table if dot and column.isidentifier() else None)


def _name_fields(error: Conflict | Invalid, plans: Iterable[MappedPlan | DocumentPlan]) -> None:
    table = _table_of(error) if isinstance(error, Invalid) else None
    for plan in plans:
        if error.errors or (table is not None and table != plan.table.name):
            continue
        better = error if isinstance(plan, DocumentPlan) else named(error, plan, (), plan.names)
        if isinstance(better, Conflict | Invalid) and better.errors:
            error.args, error.errors = better.args, better.errors
            return


def _names_of_key(table: Table) -> tuple[str, str]:
    """What PostgreSQL calls the primary key's constraint, and what SQLite does."""
    columns = table.primary_key.columns
    return str(table.primary_key.name or f"{table.name}_pkey"), ", ".join(f"{table.name}.{c.name}" for c in columns)
