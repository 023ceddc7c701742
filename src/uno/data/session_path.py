"""The way through SQLAlchemy's own session: its flush writes, its history tells what changed."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from sqlalchemy import Table, event, inspect
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.exc import StaleDataError

from uno.data import hooks
from uno.data.changes import Change, Operation, Values
from uno.data.database import Database, Plan
from uno.data.lazy import WatchedSession
from uno.data.lease import Transaction, raise_translated
from uno.data.lookups import Lookups, Row, name_refused
from uno.data.plan import MappedPlan
from uno.data.record_ids import record_id
from uno.data.rounds import Rounds
from uno.data.session_pending import Pending, run_before
from uno.data.tracked import Entry, twin
from uno.data.writer import guarding, stale
from uno.domain import AggregateRoot
from uno.domain.aggregate import Numbered, forget_events, numbered_events
from uno.errors import Invalid, TimedOut, VersionConflict

T = TypeVar("T")
Ledger = dict[tuple[MappedPlan, tuple[Any, ...]], tuple[Values | None, Values | None]]


@dataclass(frozen=True, slots=True)
class Mark:
    """What a session knew at the beginning of a savepoint: nothing, if it was not open yet."""

    ledger: Ledger = field(default_factory=dict)
    required: list[Any] = field(default_factory=list)
    aggregates: dict[int, AggregateRoot[Any]] = field(default_factory=dict)
    entities: list[Any] = field(default_factory=list)


class SessionPath:
    """A session on the unit of work's transaction, and a ledger of what its flushes changed."""

    def __init__(
        self,
        database: Database,
        transaction: Transaction,
        rounds: Rounds,
        settle: Callable[[], Awaitable[None]],
        lookups: Lookups,
    ) -> None:
        self._database = database
        self._rounds = rounds
        self._lookups = lookups
        self.session = database.new_session(transaction.connection, rounds.writable, settle)
        self._ledger: Ledger = {}
        self._before_images: dict[int, Values] = {}
        self._required: list[Any] = []
        self._expected: list[Operation] = []
        self._flushed: list[tuple[MappedPlan, Any, Values | None, bool]] = []
        self._aggregates: dict[int, AggregateRoot[Any]] = {}
        # New entities by identity key, those whose key is not known yet, and the tables they go to.
        self._pending: dict[Any, Any] = {}
        self._keyless: list[Any] = []
        self._awaited: set[Table] = set()
        self._versions: dict[int, tuple[Any, int | None]] = {}
        sync: Any = self.session.sync_session
        sync.inside = transaction
        event.listen(sync, "transient_to_pending", self._await)
        event.listen(sync, "before_flush", self._before_flush)
        event.listen(sync, "after_flush", self._after_flush)
        event.listen(sync, "after_flush_postexec", self._after_flush_postexec)

    def adopt(self, entry: Entry) -> None:
        """Take over an entity the unit of work knew before the session was opened."""
        self._remember(entry.entity)
        if entry.original is not entry.stored:
            plan = entry.plan
            assert isinstance(plan, MappedPlan)
            self._ledger[plan, entry.key] = (entry.original, entry.stored)
        if entry.stored is not None:
            self._make_room(entry)
            self.session.add(entry.entity)
        if entry.required:
            self.require(entry.entity)

    def _make_room(self, entry: Entry) -> None:
        """Let go of an object that was saved over the entity, in a savepoint that was undone."""
        known = self.known(entry.plan, entry.key)
        if known is not None and known is not entry.entity:
            self.session.expunge(known)

    async def get(self, entity: type[Any], key: tuple[Any, ...], lock: bool) -> Any:
        plan = self._database.plan(entity)
        known = self.known(plan, key)
        if known in self.session.deleted:
            return None
        if known is not None and (not lock or known in self.session.new):
            return known
        if known is not None and not self.session.is_modified(known):
            self.session.expire(known)  # so that it is read again
        identity = key[0] if len(key) == 1 else key
        try:
            with self.session.no_autoflush:
                found = await self._asked(self.session.get(entity, identity, with_for_update=lock or None))
        except VersionConflict:
            raise VersionConflict(plan.label, [plan.id_of(key)], repeatable=True) from None
        if found is None:
            self._lookups.missed(plan, key)
        self._remember(found)
        return found

    def known(self, plan: Plan, key: tuple[Any, ...]) -> Any:
        """The entity with this key that is in the session, new or deleted ones too."""
        assert isinstance(plan, MappedPlan)
        if None in key:
            return None
        identity = plan.mapper.identity_key_from_primary_key(key)
        held = self.session.sync_session.identity_map.get(identity)
        found = (e for e in (held, self._pending.get(identity), *self._keyless) if isinstance(e, plan.cls))
        return next((e for e in found if e in self.session and self._plan(e).key_of(e) == key), None)

    def _await(self, _session: Any, entity: Any) -> None:
        """Note an entity that the next flush inserts."""
        self._remember(entity)
        plan = self._plan(entity)
        key = plan.key_of(entity)
        if None in key:
            self._keyless.append(entity)
        else:
            self._pending[plan.mapper.identity_key_from_primary_key(key)] = entity
        self._awaited.add(plan.table)

    def inserts(self) -> list[Row]:
        """The rows that the next flush inserts, or that the last one could not."""
        return [(plan := self._plan(e), plan.key_of(e)) for e in (*self._pending.values(), *self._keyless)]

    async def find(self, statement: Any) -> list[Any]:
        """The entities a query selects."""
        await self.flush()
        found = list((await self._asked(self.session.execute(statement))).scalars())
        for entity in found:
            self._remember(entity)
        return found

    async def add(self, entity: Any) -> None:
        plan = self._plan(entity)
        if plan.fast and not plan.complete(entity):
            plan.await_generated(entity)
        key = plan.key_of(entity)
        known = self.known(plan, key)
        if known is not None and known is not entity and known not in self.session.deleted:
            raise twin(plan, key)
        # SQLAlchemy inserts before it deletes, and classes by their names; the handler's order is what counts.
        gone = [other for other in self.session.deleted if isinstance(other, type(entity))]
        replaced = plan.fast and any(plan.key_of(other) == key for other in gone)
        if (gone and not replaced) or any(_refers_to(plan.table, parent) for parent in self._awaited):
            await self.flush()
        self.session.add(entity)

    async def save(self, entity: Any) -> Any:
        """Attach an entity, or write its values over the stored row's."""
        if entity in self.session:
            return entity
        key = self._plan(entity).key_of(entity)
        stored = None if None in key else await self.get(type(entity), key, False)
        if stored in self.session.new:
            plan = self._plan(entity)
            plan.fill(entity, plan.state(stored))
            self.session.expunge(stored)
        if stored is None or stored not in self.session:
            await self.add(entity)
            return entity
        plan = self._plan(entity)
        if plan.version(entity) not in (None, plan.version(stored)):
            raise VersionConflict(plan.label, [plan.id_of(key)], repeatable=True)
        # Otherwise merge writes what changed so far, and the row would have one version more than in one commit.
        with self.session.no_autoflush:
            return await self._asked(self.session.merge(entity))

    def has(self, entity: Any) -> bool:
        """Whether the entity is attached to the session, if only to be deleted."""
        return inspect(entity).session is self.session.sync_session

    async def delete(self, entity: Any) -> None:
        if inspect(entity).pending:
            return self.session.expunge(entity)
        if self._any_of((*self.session.deleted, *self.session.dirty), self._plan(entity).table, _is_referred_to_by):
            await self.flush()
        await self._asked(self.session.delete(entity))

    def require(self, entity: Any) -> None:
        """The commit checks that the row still has the version of `entity`."""
        self._required.append(entity)

    def guards(self) -> list[Operation]:
        stored = (entity for entity in self._required if not inspect(entity).deleted and inspect(entity).identity)
        return [self._guard(entity) for entity in stored]

    def _any_of(self, entities: Iterable[Any], table: Table, related: Callable[[Table, Table], bool]) -> bool:
        return any(related(table, self._plan(other).table) for other in entities)

    def _plan(self, entity: Any) -> MappedPlan:
        plan = self._database.plan(type(entity))
        assert isinstance(plan, MappedPlan)
        return plan

    async def _asked(self, work: Awaitable[T]) -> T:
        try:
            return await self._translated(work)
        except BaseException as error:
            if isinstance(error, Invalid):
                name_refused(error, (), self._database.plans)
            if isinstance(self.session.sync_session, WatchedSession):
                self.session.sync_session.note(error)
            raise

    async def _translated(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except Exception as error:  # whoever asks sees it, translated
            if isinstance(error, StaleDataError) or isinstance(error.__cause__, StaleDataError):
                raise await self._named() from error
            raise_translated(error)
            raise

    async def flush(self) -> None:
        """Write everything in the session, with its hooks; nothing while before hooks run."""
        await (self._rounds.flush(_none) if hooks.registered else self.write())

    async def write(self) -> None:
        await self._asked(self.session.flush())

    def settle(self) -> None:
        """Everything flushed is committed."""
        self._ledger, self._required = {}, []

    def mark(self) -> Mark:
        """Everything needed to come back to this point, beside what SQLAlchemy remembers."""
        self._remember_all()
        return Mark(dict(self._ledger), list(self._required), dict(self._aggregates), list(self.session))

    async def leave(self, mark: Mark | None) -> None:
        """Before the savepoint is rolled back: SQLAlchemy forgets then which versions were read."""
        self._versions = {id(entity): (entity, self._plan(entity).version(entity)) for entity in self.session}
        if mark is None:
            await self.session.rollback()

    async def return_to(self, mark: Mark, events: int) -> None:
        """Come back to a mark, after the savepoint was rolled back; `events` since then are forgotten."""
        self._ledger, self._required = dict(mark.ledger), list(mark.required)
        self._flushed, self._pending, self._keyless, self._awaited = [], {}, [], set()
        self._remember_all()
        for aggregate in self._aggregates.values():
            forget_events(aggregate, events)
        self._aggregates = dict(mark.aggregates)
        known = {id(entity) for entity in mark.entities}
        for entity in list(self.session):
            # What was read since may have been written in the part that was undone.
            if id(entity) not in known or inspect(entity).expired_attributes:
                await self._read_again(entity)
        self._versions = {}

    async def _read_again(self, entity: Any) -> None:
        plan = self._plan(entity)
        _, before = self._versions.get(id(entity), (entity, None))
        self.session.expire(entity)
        try:
            with self.session.no_autoflush:
                await self._asked(self.session.refresh(entity))
        except InvalidRequestError:  # its row was added in the part that was undone
            return self.session.expunge(entity)
        after = plan.version(entity)
        if before is not None and after is not None and after > before:  # somebody else's, the flush has to meet it
            set_committed_value(entity, str(plan.version_name), before)

    async def close(self) -> None:
        with suppress(TimedOut, DBAPIError):  # the connection is lost, and all of it rolled back
            await self.session.close()

    def changes(self) -> list[Change]:
        """The net changes of all flushes."""
        return [
            Change(plan.component, record_id(plan, key), before, after, plan.marks)
            for (plan, key), (before, after) in self._ledger.items()
            if _is_change(plan, before, after)
        ]

    def events(self) -> list[Numbered]:
        """The events of all aggregates in the session, deleted ones too."""
        self._remember_all()
        lived = (entity for entity in self._aggregates.values() if self._lived(entity))
        return [one for entity in lived for one in numbered_events(entity)]

    def _lived(self, entity: Any) -> bool:
        """Not what was added and deleted again: it never was, so nothing happened to it."""
        plan = self._plan(entity)
        return self._ledger.get((plan, plan.key_of(entity))) != (None, None)

    def _remember(self, entity: Any) -> None:
        if isinstance(entity, AggregateRoot):
            self._aggregates.setdefault(id(entity), entity)

    def _remember_all(self) -> None:
        for entity in self.session.sync_session:
            self._remember(entity)

    def _before_flush(self, session: Any, context: Any, _instances: Any) -> None:
        if session.new or session.deleted or any(session.is_modified(entity) for entity in session.dirty):
            self._rounds.writable()
        if hooks.registered:
            run_before(self._rounds, Pending(session, self._plan, self.stored), context)
        self._check(session)
        # The flush itself sets columns, `onupdate` for instance, without a history.
        changing = [entity for entity in (*session.dirty, *session.deleted) if not inspect(entity).pending]
        self._before_images = {id(entity): self.stored(entity) for entity in changing}
        self._expected = [self._guard(entity) for entity in changing if session.is_modified(entity)]
        # With more than one, SQLAlchemy does not compare how many rows asyncpg says it deleted.
        deleted = [self._guard(entity) for entity in session.deleted]
        self._expected += deleted
        for guard in deleted if len(deleted) > 1 else ():
            if guard.expect and not session.connection().execute(guarding(guard)).all():
                raise StaleDataError(guard.label)

    def _check(self, session: Any) -> None:
        """What is about to be written is what its class says."""
        for entity in session.new:
            plan = self._plan(entity)
            plan.checked(entity, plan.state(entity))
        for entity in session.dirty:
            plan = self._plan(entity)
            if plan.check is not None or plan.holds is not None:
                attributes = inspect(entity).attrs
                changed = [name for name in plan.state_names if attributes[name].history.has_changes()]
                plan.checked(entity, plan.state(entity), changed)

    def _guard(self, entity: Any) -> Operation:
        """The row must be there, in the version the entity has."""
        plan = self._plan(entity)
        columns = plan.mapper.primary_key
        key = {str(c.key): value for c, value in zip(columns, inspect(entity).identity, strict=True)}
        expect = {} if plan.version_key is None else {plan.version_key: plan.version(entity)}
        # The key and the version are in the first table, if there are several.
        return Operation("guard", cast(Table, columns[0].table), plan.label, key, {}, expect)

    async def _named(self) -> VersionConflict:
        """The error that names the rows which are not as expected; SQLAlchemy's only counts them."""
        missing = [guard for guard in self._expected if not await self._database.query(guarding(guard))]
        found = missing or self._expected
        return stale(found) if found else VersionConflict("row", (), repeatable=True)

    def _after_flush(self, _session: Any, flushed: Any) -> None:
        """Note what was written, orphans and rows of relationships included, while its history is there."""
        states = [(state.obj(), *fate) for state, fate in flushed.states.items()]
        written = [(entity, deleted) for entity, deleted, only_listed in states if deleted or not only_listed]
        # One row may be deleted and added again; then its deletion comes first.
        for entity, deleted in sorted(written, key=lambda one: not one[1]):
            self._remember(entity)
            known = self._before_images.get(id(entity))
            before = None if inspect(entity).key is None else known or self.stored(entity)
            self._flushed.append((self._plan(entity), entity, before, deleted))

    def stored(self, entity: Any) -> Values:
        """What is stored of an entity, as far as its history tells."""
        before = self._plan(entity).state(entity)
        for attribute in inspect(entity).attrs:
            if attribute.key in before:
                _undo(before, attribute.key, attribute.history)
        return before

    def _after_flush_postexec(self, *_: Any) -> None:
        """Note what is stored now; reading every attribute loads what the database generated."""
        written: dict[Any, tuple[Any, Values | None]] = {}
        for plan, entity, before, deleted in self._flushed:
            key = inspect(entity).identity or plan.key_of(entity)
            after = None if deleted else {name: getattr(entity, name) for name in plan.state_names}
            first = self._ledger.get((plan, key), (before, None))[0]
            self._ledger[plan, key] = (first, after)
            written[plan, key] = entity, written.get((plan, key), (None, before))[1]
        if hooks.registered:
            self._note_hooks(written)
        self._flushed, self._pending, self._keyless, self._awaited = [], {}, [], set()
        for entity in self.session.new:
            self._await(None, entity)

    def _note_hooks(self, written: dict[Any, tuple[Any, Values | None]]) -> None:
        for (plan, key), (entity, before) in written.items():
            after = self._ledger[plan, key][1]
            if before is None or after is None or plan.changed(before, after):
                self._rounds.wrote(entity, (before, after))


def _none(_entry: Entry) -> bool:
    return False


def _is_change(plan: MappedPlan, before: Values | None, after: Values | None) -> bool:
    return bool(plan.changed(before, after)) if before is not None and after is not None else before is not after


def _undo(values: Values, name: str, history: Any) -> None:
    if history.deleted:
        values[name] = history.deleted[0]
    elif history.added:  # set without having been read
        del values[name]


def _refers_to(table: Table, other: Table) -> bool:
    return other is not table and any(key.column.table is other for key in table.foreign_keys)


def _is_referred_to_by(table: Table, other: Table) -> bool:
    return _refers_to(other, table)
