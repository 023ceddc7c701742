"""The way through SQLAlchemy's own session: its flush writes, its history tells what changed."""

from typing import Any

from sqlalchemy import event, inspect
from sqlalchemy.ext.asyncio import AsyncSession

from uno.data.changes import Change, Values
from uno.data.database import Database
from uno.data.lease import Transaction, raise_translated
from uno.data.plan import MappedPlan
from uno.data.tracked import Entry, record_id
from uno.domain import AggregateRoot
from uno.messages import DomainEvent


class SessionPath:
    """A session on the unit of work's transaction, and a ledger of what its flushes changed."""

    def __init__(self, database: Database, transaction: Transaction) -> None:
        self._database = database
        self.session = AsyncSession(transaction.connection, expire_on_commit=False, autoflush=True)
        self._ledger: dict[tuple[MappedPlan, tuple[Any, ...]], tuple[Values | None, Values | None]] = {}
        self._flushing: list[tuple[MappedPlan, Any, Values | None, bool]] = []
        self._aggregates: dict[int, AggregateRoot[Any]] = {}
        sync: Any = self.session.sync_session
        event.listen(sync, "before_flush", self._before_flush)
        event.listen(sync, "after_flush_postexec", self._after_flush)

    def adopt(self, entry: Entry) -> None:
        """Take over an entity the unit of work knew before the session was opened."""
        self._remember(entry.entity)
        if entry.original is not entry.stored:
            plan = entry.plan
            assert isinstance(plan, MappedPlan)
            self._ledger[plan, entry.key] = (entry.original, entry.stored)
        if entry.stored is not None:
            self.session.add(entry.entity)

    async def get(self, entity: type, key: tuple[Any, ...], lock: bool) -> Any:
        return await self.session.get(entity, key[0] if len(key) == 1 else key, with_for_update=lock or None)

    async def add(self, entity: Any) -> None:
        # SQLAlchemy inserts before it deletes; the handler's order is what counts.
        if any(isinstance(other, type(entity)) for other in self.session.deleted):
            await self.flush()
        self.session.add(entity)

    async def save(self, entity: Any) -> Any:
        """Attach an entity, or write its values over the stored row's."""
        if entity in self.session:
            return entity
        state = inspect(entity)
        if state.has_identity:
            self.session.add(entity)
            return entity
        key = state.mapper.primary_key_from_instance(entity)
        stored = None if None in key else await self.get(type(entity), tuple(key), False)
        if stored is None:
            await self.add(entity)
            return entity
        return await self.session.merge(entity)

    async def delete(self, entity: Any) -> None:
        if inspect(entity).pending:
            self.session.expunge(entity)
        else:
            await self.session.delete(entity)

    async def flush(self) -> None:
        try:
            await self.session.flush()
        except Exception as error:  # whoever flushes sees it, translated
            raise_translated(error)
            raise

    async def close(self) -> None:
        await self.session.close()

    def changes(self) -> list[Change]:
        """The net changes of all flushes."""
        return [
            Change(plan.label, record_id(key, plan), before, after)
            for (plan, key), (before, after) in self._ledger.items()
            if not (before is None and after is None) and before != after
        ]

    def events(self) -> list[DomainEvent]:
        """The events of all aggregates in the session, deleted ones too."""
        for entity in self.session.sync_session:
            self._remember(entity)
        return [one for entity in self._aggregates.values() for one in entity.collect_events()]

    def _remember(self, entity: Any) -> None:
        if isinstance(entity, AggregateRoot):
            self._aggregates.setdefault(id(entity), entity)

    def _before_flush(self, session: Any, *_: Any) -> None:
        self._flushing = []
        for entity in session.new:
            self._note(entity, None, False)
        for entity in session.dirty:
            if session.is_modified(entity):
                self._note(entity, self._before(entity), False)
        for entity in session.deleted:
            self._note(entity, self._before(entity), True)

    def _note(self, entity: Any, before: Values | None, deleted: bool) -> None:
        self._remember(entity)
        plan = self._database.plan(type(entity))
        assert isinstance(plan, MappedPlan)
        self._flushing.append((plan, entity, before, deleted))

    def _before(self, entity: Any) -> Values:
        plan = self._database.plan(type(entity))
        state = dict(plan.state(entity))
        for attribute in inspect(entity).attrs:
            if attribute.key in state and attribute.history.deleted:
                state[attribute.key] = attribute.history.deleted[0]
        return state

    def _after_flush(self, *_: Any) -> None:
        for plan, entity, before, deleted in self._flushing:
            key = inspect(entity).identity or plan.key_of(entity)
            # Reading every attribute loads what the database generated.
            after = None if deleted else {name: getattr(entity, name) for name in plan.state_names}
            first = self._ledger.get((plan, key), (before, None))[0]
            self._ledger[plan, key] = (first, after)
        self._flushing = []
