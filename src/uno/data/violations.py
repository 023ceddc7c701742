"""Which attributes a violated constraint is about: errors name what the client gave, not what the database has.

Only what `failures.translate` has made is explained: an error of a handler or a hook says what it says.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Column, ForeignKeyConstraint, Table

from uno.data.constraints import columns_of, foreign_keys
from uno.data.document import DocumentPlan
from uno.data.failures import SENTENCES, Kind, Violation, violation
from uno.data.plan import MappedPlan
from uno.errors import Conflict, FieldError, Invalid, again

E = TypeVar("E", Conflict, Invalid, Conflict | Invalid)
_FOLLOWING = ("CASCADE", "SET NULL", "SET DEFAULT")
_ONE = f"{SENTENCES['check']}."
_MESSAGES: dict[Kind, tuple[str, str]] = {
    "unique": ("There is one with this value already.", "duplicate"),
    "reference": (f"{SENTENCES['reference']}.", "reference"),
    "check": ("The database does not take this value.", "check"),
    "missing": ("It takes a value.", "missing"),
}


class Said(NamedTuple):
    """What there is to say of a violation: something about attributes, or a sentence about no one of them."""

    fields: tuple[str, ...]
    message: str
    code: str = ""

    @property
    def text(self) -> str:
        return f"{', '.join(self.fields)}: {self.message}" if self.fields else self.message

    @property
    def errors(self) -> tuple[FieldError, ...]:
        return tuple(FieldError(name, self.message, self.code) for name in self.fields)


def named(error: E, plan: MappedPlan | DocumentPlan) -> E:
    """`error` with the attributes it is about, where the database named only a constraint."""
    found = violation(error)
    if found is None or error.errors or isinstance(plan, DocumentPlan):
        return error
    said = explained(found, plan)
    return error if said is None else again(error, said.text, errors=said.errors)


def shown(error: Conflict | Invalid, plan: MappedPlan | DocumentPlan, visible: Iterable[str]) -> Conflict | Invalid:
    """The same for a client, who is told neither what a constraint is called nor of attributes that are not visible."""
    if isinstance(plan, DocumentPlan):
        return error
    found, better = violation(error), named(error, plan)
    if found is not None and not better.errors and str(better.args[0]).startswith(SENTENCES[found.kind]):
        better = again(better, f"{SENTENCES[found.kind]}.")
    return _seen(better, {one.name for one in plan.attributes} - set(visible))


def _seen(error: Conflict | Invalid, hidden: Collection[str]) -> Conflict | Invalid:
    """Without what it says of attributes that are `hidden`."""
    told = tuple(one for one in error.errors if one.field not in hidden)
    is_ours = violation(error) is not None
    if len(told) == len(error.errors) or not (is_ours or type(error) is Invalid):
        return error
    first = error.errors[0]
    if not told:
        text = _ONE if isinstance(error, Invalid) else first.message
    elif is_ours:
        text = Said(tuple(one.field for one in told), first.message).text
    else:
        text = "; ".join(f"{one.field}: {one.message}" for one in told)
    return again(error, text, errors=told)


def explained(found: Violation, plan: MappedPlan) -> Said | None:
    """What it says in words of the class, None where that cannot be told or it is about another table."""
    kind = _side(found, plan) if found.kind == "either" else found.kind
    if kind == "referred":
        who = _referring(found, plan)
        if who is None:
            return Said((), f"{SENTENCES[kind]}.") if found.kind == "either" else None
        return Said((), f"{who} refers to it.")
    if kind not in _MESSAGES or _is_elsewhere(found, plan):
        return None
    fields = tuple(_attributes(plan, _columns(kind, found, plan.table)))
    message, code = _MESSAGES[kind]
    if kind == "unique" and len(fields) > 1:
        message = "There is one with these values already."
    return Said(fields, message, code) if fields else None


def _is_elsewhere(found: Violation, plan: MappedPlan) -> bool:
    """Whether the database says that it was another table; one that nobody declared may be a partition."""
    tables = plan.table.metadata.tables.values()
    return found.table != plan.table.name and any(one.name == found.table for one in tables)


def _columns(kind: Kind, found: Violation, table: Table) -> list[Column[Any]]:
    if kind == "reference":
        referring = {column for key in _keys(found, table) for column in key.columns}
        return [column for column in table.columns if column in referring]
    if found.name is None:
        return []
    if kind == "missing" or f"{table.name}." in found.name:  # SQLite says the columns of a unique one
        parts = [part.strip().rpartition(".")[2] for part in found.name.split(",")]
        return [column for part in parts for column in table.columns if column.name == part]
    return columns_of(table, found.name)


# ── foreign keys, of which SQLite does not say which one it was ──


def _keys(found: Violation, table: Table) -> list[ForeignKeyConstraint]:
    """Those of the name; or else those that were given a value."""
    if found.name is not None:
        return foreign_keys(table, found.name)
    keys = list(table.foreign_key_constraints)
    if found.kind == "reference" and found.table is not None and len(keys) == 1:
        return keys
    enough = any if found.kind == "either" else all  # an UPDATE leaves some as they are
    return [key for key in keys if enough(column.key in found.columns for column in key.columns)]


def _side(found: Violation, plan: MappedPlan) -> Kind | None:
    """Of an UPDATE: whether it leads nowhere itself, or others lead to what it was; None where it may be both."""
    if found.table != plan.table.name:
        return None
    leads, is_led_to = bool(_keys(found, plan.table)), any(True for _ in _leading_here(found, plan))
    if leads == is_led_to:
        return None
    return "reference" if leads else "referred"


def _referring(found: Violation, plan: MappedPlan) -> str | None:
    """The kind that refers to it: the one of the constraint, or the only one where the database names none."""
    if found.name is not None:
        keys = [(name, one) for name, one in _references(plan) if found.table in (None, one.table.name)]
        who = {name for name, one in keys if one in foreign_keys(one.table, found.name)}
    elif found.table != plan.table.name:
        return None
    else:
        # What goes along is not what refuses; but it may be referred to, too.
        who = {"" if _follows(found, one) else name for name, one in _leading_here(found, plan)}
    return (who.pop() or None) if len(who) == 1 else None


def _follows(found: Violation, key: ForeignKeyConstraint) -> bool:
    rule = key.onupdate if found.kind == "either" else key.ondelete
    return (rule or "").upper() in _FOLLOWING


def _leading_here(found: Violation, plan: MappedPlan) -> Iterator[tuple[str, ForeignKeyConstraint]]:
    """The foreign keys to this table; of an UPDATE those to what it wrote."""
    for name, one in _references(plan):
        targets = [element.target_fullname.rpartition(".") for element in one.elements]
        is_meant = found.kind != "either" or any(column in found.columns for *_, column in targets)
        if is_meant and targets[0][0] == plan.table.fullname:
            yield name, one


def _references(plan: MappedPlan) -> Iterator[tuple[str, ForeignKeyConstraint]]:
    """All foreign keys beside this table, each with the class that has it."""
    for mapper in plan.mapper.registry.mappers:
        table = mapper.local_table
        if not mapper.single and isinstance(table, Table) and table.metadata is plan.table.metadata:
            for one in table.foreign_key_constraints:
                yield mapper.class_.__name__, one


def _attributes(plan: MappedPlan, columns: Iterable[Column[Any]]) -> list[str]:
    by_column = {one.column: one.name for one in plan.attributes}
    return [by_column[column] for column in columns if column in by_column]
