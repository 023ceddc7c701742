"""What the database makes of values, read again while that can be awaited, or worked out."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from sqlalchemy import Numeric, inspect
from sqlalchemy.orm.attributes import instance_state, set_committed_value

from uno.data.changes import differs
from uno.data.decorators import below
from uno.data.document import DocumentPlan
from uno.data.plan import MappedPlan
from uno.data.statement import bind_processor, result_processor
from uno.data.unit_of_work import UnitOfWork, ambient_unit


async def made_whole(plan: MappedPlan | DocumentPlan, entity: Any, names: Iterable[str]) -> None:
    """Flush what goes through a session, and read those of `names` that the database has set, and SQLAlchemy forgets.

    Decimals have the digits that are stored, and what is not written has the form that is.
    """
    if not isinstance(plan, MappedPlan):
        return
    _as_it_was(plan, entity)
    unit = ambient_unit()
    if plan.fast:
        return await _rounded(plan, entity, unit)
    await unit.flush()
    lost = set(names) & set(inspect(entity).unloaded)
    if lost:
        await (await unit.session()).refresh(entity, lost)


def _as_it_was(plan: MappedPlan, entity: Any) -> None:
    """1.00 is not written over 1.0."""
    for name, before in tuple(instance_state(entity).committed_state.items()):
        now = entity.__dict__.get(name)
        if name in plan.names and now is not before and not differs(before, now):
            set_committed_value(entity, name, before)


async def _rounded(plan: MappedPlan, entity: Any, unit: UnitOfWork) -> None:
    """SQLite has doubles for decimals. Written are those that were given."""
    dialect, stored = unit.database.dialect, {}
    for one in plan.attributes if unit.database.backend == "sqlite" else ():
        given = entity.__dict__.get(one.name)
        if isinstance(given, Decimal) and isinstance(below(one.column.type), Numeric):
            write, read = bind_processor(one.column, dialect), result_processor(one.column, dialect)
            stored[one.name] = read(write(given)) if read and write else given
    if any(entity.__dict__[name] != value for name, value in stored.items()):
        await unit.flush()
        entry = unit.tracked.of(entity)
        if entry is not None and entry.stored is not None:
            entry.stored = {**entry.stored, **stored}
    for name, value in stored.items():
        setattr(entity, name, value)
