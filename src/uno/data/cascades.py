"""What the database itself does to rows when it deletes others: nobody writes it down but triggers."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from sqlalchemy import ForeignKeyConstraint, Table
from sqlalchemy.orm import Mapper, RelationshipProperty
from sqlalchemy.orm.interfaces import ONETOMANY

from uno.data.database import Database
from uno.data.plan import MappedPlan
from uno.telemetry.logs import get_logger

_log = get_logger("uno.data")
_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT")


async def unaudited(database: Database) -> str | None:
    """A sentence that names the tables whose rows foreign keys delete or change unaudited, and what helps."""
    plans = [plan for plan in database.plans if isinstance(plan, MappedPlan) and plan.marks.audited]
    if not _found(plans, ()):
        return None
    # Which of them have triggers.
    await database.restricted_tables()
    found = _found(plans, database.captured)
    return _sentence(found) if found else None


async def warn(database: Database) -> None:
    """Say so in the log."""
    told = await unaudited(database)
    if told is not None:
        _log.warning("%s", told)


def _found(plans: Iterable[MappedPlan], captured: Collection[str]) -> list[str]:
    found = {
        f"{key.table.fullname} (ON DELETE {str(key.ondelete).upper()} of {key.referred_table.fullname})"
        for plan in plans
        if plan.marks.table not in captured
        for key in _acting(plan.mapper)
        if not any(_does_it(one, key, plan.mapper) for one in _relationships(plans, plan.mapper))
    }
    return sorted(found)


def _sentence(found: list[str]) -> str:
    return (
        f"The database itself deletes or changes rows of {', '.join(found)}, and neither the audit trail nor the "
        'version of a row has it; say __audit__ = "trigger" on the class (PostgreSQL writes it down), or let a '
        'relationship of the parent do it in Python: cascade="all, delete-orphan" without passive_deletes.'
    )


def _acting(mapper: Mapper[Any]) -> Iterator[ForeignKeyConstraint]:
    """The foreign keys that do something to rows of this class, other than those of a joined subclass to its base."""
    tables = [table for table in mapper.tables if isinstance(table, Table)]
    for table in tables:
        for one in table.foreign_key_constraints:
            inherited = one.referred_table is not table and one.referred_table in tables
            if (one.ondelete or "").upper() in _ACTIONS and not inherited:
                yield one


def _relationships(plans: Iterable[MappedPlan], mapper: Mapper[Any]) -> Iterator[RelationshipProperty[Any]]:
    for one in {*mapper.registry.mappers, *(plan.mapper for plan in plans)}:
        yield from one.relationships


def _does_it(one: RelationshipProperty[Any], key: ForeignKeyConstraint, mapper: Mapper[Any]) -> bool:
    """Whether the session deletes or changes the rows before the database does, for every parent that it deletes."""
    parent, base = one.parent, one.parent.inherits
    every = parent.local_table is key.referred_table and (base is None or base.local_table is not parent.local_table)
    if not every or one.direction is not ONETOMANY or one.viewonly or one.passive_deletes or not mapper.isa(one.mapper):
        return False
    return {column for _, column in one.synchronize_pairs} == set(key.columns)
