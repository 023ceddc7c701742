"""What the next flush of a SQLAlchemy session writes, as hooks want to know it."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import permutations
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import RelationshipDirection
from sqlalchemy.orm.unitofwork import UOWTransaction, _DeleteAll, _SaveUpdateAll

from uno.data import hooks
from uno.data.changes import Values
from uno.data.plan import MappedPlan
from uno.data.rounds import Images, Rounds


class Pending:
    """`before` knows what is stored of an entity, by its history."""

    def __init__(self, session: Any, plan: Callable[[Any], MappedPlan], before: Callable[[Any], Values]) -> None:
        self._session = session
        self._plan = plan
        self._before = before
        self._moved: set[int] = set()
        self._replacing: dict[int, Any] = {}
        self._replaced: set[int] = set()

    def entities(self) -> list[Any]:
        """Everything that may be written and has hooks."""
        session = self._session
        listed = [*session.new, *session.deleted, *session.dirty]
        moved = [child for parent in listed for child in _moved(parent, parent in session.deleted)]
        self._moved = {id(child) for child in moved}
        self._look_for_replaced()
        found = {id(entity): entity for entity in (*listed, *moved)}
        return [entity for entity in found.values() if hooks.of(type(entity))]

    def _look_for_replaced(self) -> None:
        gone = {(self._plan(one), self._plan(one).key_of(one)): one for one in self._session.deleted}
        pairs = [(one, gone.get((self._plan(one), self._plan(one).key_of(one)))) for one in self._session.new]
        self._replacing = {id(new): old for new, old in pairs if old is not None}
        self._replaced = {id(old) for _, old in pairs if old is not None}

    def images(self, entity: Any) -> Images | None:
        """What is stored and what is to be; a new entity that takes the key of a deleted one is an update of it."""
        state: Any = inspect(entity)
        if state.pending:
            old = self._replacing.get(id(entity))
            return (None, {}) if old is None else self._changed(self._before(old), entity)
        if not state.persistent or id(entity) in self._replaced:
            return None
        if entity in self._session.deleted or state.mapper._is_orphan(state):
            return self._before(entity), None
        modified = self._session.is_modified(entity, include_collections=False)
        if modified or id(entity) in self._moved:
            return self._before(entity), self._plan(entity).state(entity)
        return None

    def _changed(self, before: Values, entity: Any) -> Images | None:
        plan = self._plan(entity)
        after = plan.state(entity)
        return (before, after) if plan.changed(before, after) else None

    def mappers(self) -> set[Any]:
        listed = (*self._session.new, *self._session.deleted, *self._session.dirty)
        return {self._plan(entity).mapper.base_mapper for entity in listed}


async def run_before(rounds: Rounds, pending: Pending, flush: UOWTransaction) -> None:
    """Run the before hooks of a flush that begins, and see to it that what they add has a place in its order."""
    if pending.entities():
        await rounds.before(pending.entities, pending.images)
        _order(pending.mappers(), flush)


def _moved(parent: Any, deleted: bool) -> Iterator[Any]:
    """Children whose foreign key the flush itself sets, because of the collection they are in."""
    state: Any = inspect(parent)
    for relationship in state.mapper.relationships:
        if relationship.direction is not RelationshipDirection.ONETOMANY or relationship.viewonly:
            continue
        history = state.attrs[relationship.key].history
        children: Iterable[Any] = history.sum() if deleted else (*history.added, *history.deleted)
        yield from (child for child in children if child is not None and inspect(child).persistent)


def _order(mappers: set[Any], flush: UOWTransaction) -> None:
    """Tell SQLAlchemy of foreign keys without a relationship: a hook cannot flush in between."""
    saving: Any = partial(_SaveUpdateAll, flush)
    deleting: Any = partial(_DeleteAll, flush)
    for child, parent in permutations(mappers, 2):
        if _refers(child, parent) and not _refers(parent, child):
            flush.dependencies.add((saving(parent), saving(child)))
            flush.dependencies.add((deleting(child), deleting(parent)))


def _refers(mapper: Any, other: Any) -> bool:
    return any(key.column.table in other.tables for table in mapper.tables for key in table.foreign_keys)
