"""What the database makes of values, read again while that can be awaited, or worked out."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from sqlalchemy import Numeric, inspect

from uno.data.decorators import below
from uno.data.document import DocumentPlan
from uno.data.plan import MappedPlan
from uno.data.statement import bind_processor, result_processor
from uno.data.unit_of_work import UnitOfWork, ambient_unit


async def made_whole(plan: MappedPlan | DocumentPlan, entity: Any, names: Iterable[str]) -> None:
    """Flush what goes through a session, and read those of `names` that the database has set, and SQLAlchemy forgets.

    Decimals have the digits that are stored.
    """
    if not isinstance(plan, MappedPlan):
        return
    unit = ambient_unit()
    if plan.fast:
        return await _rounded(plan, entity, unit)
    await unit.flush()
    lost = set(names) & set(inspect(entity).unloaded)
    if lost:
        await (await unit.session()).refresh(entity, lost)


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
