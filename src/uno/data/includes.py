"""Objects together with those that they refer to: one query for each relationship, whatever the number of objects."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import RelationshipProperty, selectinload
from sqlalchemy.orm.attributes import set_committed_value

from uno.data.database import Plan
from uno.data.plan import MappedPlan
from uno.data.portions import among, portions
from uno.data.unit_of_work import UnitOfWork
from uno.data.untyped import chosen
from uno.errors import Invalid


def relationships(plan: Plan, names: Sequence[str]) -> list[RelationshipProperty[Any]]:
    """The relationships of these names; raises `Invalid` for another one."""
    known: Any = plan.mapper.relationships if isinstance(plan, MappedPlan) else {}
    for name in names:
        if name not in known:
            has = f"it has {', '.join(sorted(known.keys()))}" if known else "it has none"
            raise Invalid.field(name, f"{plan.label} has no relationship of this name; {has}.", "unknown")
    return [known[name] for name in names]


def options(plan: Plan, names: Sequence[str]) -> list[Any]:
    """What SQLAlchemy's session does the same with."""
    return [selectinload(getattr(plan.cls, name)) for name in names]


async def load(uow: UnitOfWork, plan: Plan, entities: Sequence[Any], names: Sequence[str]) -> None:
    """Read what `entities`, which are in no session, refer to."""
    if not names or not isinstance(plan, MappedPlan):
        return
    for relation in relationships(plan, names):
        target = uow.database.plan(relation.mapper.class_)
        assert isinstance(target, MappedPlan)
        if uow.tracked.touches(target):
            await uow.flush()
        found: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(list)
        keys = list(dict.fromkeys(plan.key_of(entity) for entity in entities))
        for some in portions(keys):
            await _related(uow, plan, target, relation, some, found)
        for entity in entities:
            others = found[plan.key_of(entity)]
            value = others if relation.uselist else next(iter(others), None)
            set_committed_value(entity, relation.key, value)


async def _related(
    uow: UnitOfWork,
    plan: MappedPlan,
    target: MappedPlan,
    relation: RelationshipProperty[Any],
    keys: Sequence[tuple[Any, ...]],
    found: defaultdict[tuple[Any, ...], list[Any]],
) -> None:
    width = len(plan.key_names)
    for row in await uow.read(_statement(plan, target, relation, keys)):
        found[tuple(row[:width])].append(uow.tracked.loaded(target, row[width:]))


def _statement(
    plan: MappedPlan, target: MappedPlan, relation: RelationshipProperty[Any], keys: Sequence[tuple[Any, ...]]
) -> Select[Any]:
    own = [getattr(plan.cls, name) for name in plan.key_names]
    joined = chosen(*own, *target.columns).join_from(plan.cls, getattr(plan.cls, relation.key))
    return joined.where(among(own, keys)).order_by(*(relation.order_by or ()))


def separate(uow: UnitOfWork, plan: Plan, names: Sequence[str]) -> bool:
    """Whether each of them can be read by a query of its own, without SQLAlchemy's session."""
    targets = [uow.database.plan(one.mapper.class_) for one in relationships(plan, names)]
    return all(isinstance(one, MappedPlan) and one.fast and one.table is not plan.table for one in targets)
