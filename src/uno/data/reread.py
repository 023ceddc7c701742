"""What SQLAlchemy forgets in its flush because the database has made it, read again while that can be awaited."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import inspect

from uno.data.document import DocumentPlan
from uno.data.plan import MappedPlan
from uno.data.unit_of_work import ambient_unit


async def made_whole(plan: MappedPlan | DocumentPlan, entity: Any, names: Iterable[str]) -> None:
    """Flush what goes through a session, and read those of `names` that the database has set."""
    if not isinstance(plan, MappedPlan) or plan.fast:
        return
    unit = ambient_unit()
    await unit.flush()
    lost = set(names) & set(inspect(entity).unloaded)
    if lost:
        await (await unit.session()).refresh(entity, lost)
