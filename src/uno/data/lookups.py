"""What a unit of work looked for and did not find: somebody else may have added it before the commit."""

from collections.abc import Iterable

from uno.data.constraints import names_of_key
from uno.data.document import DocumentPlan
from uno.data.failures import violation
from uno.data.plan import MappedPlan
from uno.data.violations import explained
from uno.errors import Conflict, Invalid, id_text

# How many rows an error names that may be about any of them.
_NAMED = 5
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
        same = _with_key(error.constraint, inserts)
        return bool(same) and all(row in self._missed or row[0] in self._read for row in same)


def name_refused(error: Conflict | Invalid, inserts: Iterable[Row], plans: Iterable[MappedPlan | DocumentPlan]) -> None:
    """Say in `error` what there is already: one of `inserts`, or a value of an attribute of theirs or of `plans`.

    Or which attribute has no value, is against a check or refers to nothing; or what refers to it.
    """
    found = violation(error)
    if found is None or error.errors:
        return
    rows = list(inserts)
    names = [f"{plan.label} {id_text(plan.id_of(key))!r}" for plan, key in _with_key(found.name, rows)]
    if len(names) == 1:
        error.args = (f"{names[0]} exists already.",)
    elif names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        error.args = (f"One of these exists already: {', '.join(names[:_NAMED])}{more}.",)
    else:
        known = dict.fromkeys([*(plan for plan, _ in rows), *plans])
        said = (explained(found, plan) for plan in known if isinstance(plan, MappedPlan))
        first = next((one for one in said if one is not None), None)
        if first is not None:
            error.args, error.errors = (first.text,), first.errors


def _with_key(constraint: str | None, rows: Iterable[Row]) -> list[Row]:
    """Those of the tables whose primary key the constraint is."""
    rows = list(rows)
    tables = {plan.table for plan, _ in rows}
    meant = {table for table in tables if constraint in names_of_key(table)}
    return [row for row in rows if row[0].table in meant]
