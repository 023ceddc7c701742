"""What the next flush of a SQLAlchemy session writes, as hooks want to know it."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import permutations
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import RelationshipDirection
from sqlalchemy.orm.unitofwork import UOWTransaction, _DeleteAll, _SaveUpdateAll
from sqlalchemy.util import await_only

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

    def load(self) -> None:
        """Read the children of what is deleted, as the flush would; a hook has no place for it."""
        for parent in self._session.deleted:
            state: Any = inspect(parent)
            for key in _children(state.mapper):
                if not state.mapper.relationships[key].passive_deletes:  # those the database alone sees to
                    state.attrs[key].load_history()

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


def run_before(rounds: Rounds, pending: Pending, flush: UOWTransaction) -> None:
    """Run the before hooks of a flush that begins, and see to it that what they add has a place in its order."""
    pending.load()
    if pending.entities():
        await_only(rounds.before(pending.entities, pending.images))
        _order(pending.mappers(), flush)


def _children(mapper: Any) -> list[str]:
    """The collections whose members have hooks: the flush itself sets the foreign keys of those."""
    collections = (one for one in mapper.relationships if one.direction is RelationshipDirection.ONETOMANY)
    return [
        one.key
        for one in collections
        if not one.viewonly and any(hooks.of(mapper.class_) for mapper in one.mapper.self_and_descendants)
    ]


def _moved(parent: Any, deleted: bool) -> Iterator[Any]:
    """Children that come to a parent or leave it."""
    state: Any = inspect(parent)
    for key in _children(state.mapper):
        history = state.attrs[key].history
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
