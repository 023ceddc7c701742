"""The identity map of a unit of work: what was read, what became of it, what has to be written."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from sqlalchemy import inspect

from uno.data.changes import Change, Operation, Values
from uno.data.database import Plan, select_by_key
from uno.data.frozen import Frozen, Told
from uno.data.lease import Transaction
from uno.data.order import for_foreign_keys
from uno.data.plan import ENTRY, MappedPlan
from uno.data.record_ids import record_id
from uno.domain.aggregate import forget_events, mark_events
from uno.errors import Misconfigured, VersionConflict

_sequence = count(1)
_LAST = float("inf")
_NEVER = object()
Required = Literal["alone", "beside"] | None


@dataclass(slots=True, eq=False)
class Entry:
    """One entity. `original` is its state when the unit of work began to know it, `stored` the one in the database.

    `version` is the stored one, `read_version` that of `original`. `required` says that the commit checks the
    version even of what did not change: "alone" always, "beside" where there is something to commit.
    """

    plan: Plan
    entity: Any
    key: tuple[Any, ...]
    status: Literal["new", "loaded", "deleted"]
    original: Values | None
    stored: Values | None
    version: int | None
    sequence: float = _LAST
    next: Values | None = None
    complete: bool = True
    required: Required = None
    read_version: int | None = None
    # The entity was found to be as in `seen`, and still is unless `frozen.modified`.
    seen: Any = _NEVER
    frozen: Frozen | None = None

    @property
    def is_as_seen(self) -> bool:
        """Whether it is known without a comparison that there is nothing of it to write."""
        as_seen = self.seen is self.stored and self.status == "loaded" and not self.required
        return as_seen and self.frozen is not None and not self.frozen.modified

    def stamp(self) -> None:
        """Remember when the first change was made that depends on the order of changes."""
        if self.sequence == _LAST:
            self.sequence = next(_sequence)

    def return_to(self, entity: Any, fate: tuple[Any, ...], state: Values) -> None:
        """Come back to an earlier state, which is the stored one again."""
        self.entity, self.seen = entity, _NEVER
        self.status, self.original, self.stored, self.version, self.required = fate
        self.plan.restore(entity, state)
        if self.version is not None:
            self.plan.set_version(entity, self.version)
        if self.status == "loaded":
            self.plan.stored(entity)
        self.next, self.sequence = None, _LAST


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Entries with their entities, fates and values; how much was read and written, and a mark for events."""

    entries: list[tuple[Entry, Any, tuple[Any, ...], Values]]
    reads: int
    writes: int
    events: int


class Tracked:
    """All entities of one unit of work; never two objects for one row."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[Plan, tuple[Any, ...]], Entry] = {}
        self._by_entity: dict[int, Entry] = {}
        # What was read, with the object made of it, in order: some of it may be replaced later.
        self._read: list[tuple[Entry, Any]] = []
        self._writes = 0
        # Of each table what may be other than stored; of the rest it would have been told.
        self._restless: dict[Any, dict[Entry, None]] = {}
        self._told = Told()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_entity.values())

    def __len__(self) -> int:
        return len(self._by_entity)

    def find(self, plan: Plan, key: tuple[Any, ...]) -> Entry | None:
        return self._by_key.get((plan, key))

    def of(self, entity: Any) -> Entry | None:
        return self._by_entity.get(id(entity))

    def loaded(self, plan: Plan, values: Any) -> Any:
        """The entity of a row that was read: the one already known, or a new object."""
        entity = plan.build(values)
        key = plan.key_of(entity)
        known = self._by_key.get((plan, key))
        if known is not None:
            return known.entity
        state = plan.state(entity)
        version = plan.version(entity)
        entry = Entry(plan, entity, key, "loaded", state, state, version, read_version=version)
        self._put(entry)
        self._rest(entry)
        self._read.append((entry, entity))
        return entity

    def add(self, plan: Plan, entity: Any) -> Entry:
        """A new entity; one that replaces a deleted row of the same key becomes an update of it."""
        known = self.of(entity)
        if known is not None and known.status != "deleted":
            return known
        if not plan.complete(entity):
            plan.await_generated(entity)
        key = plan.key_of(entity)
        replaced = self._by_key.get((plan, key))
        if replaced is None or None in key:
            entry = Entry(plan, entity, key, "new", None, None, None, next(_sequence))
        elif replaced.status == "deleted":
            self._by_entity.pop(id(replaced.entity), None)
            entry = _replacing(replaced, entity)
        else:
            raise twin(plan, key)
        self._put(entry)
        return entry

    def refresh(self, entry: Entry, values: Any) -> None:
        """The row was locked and is `values` now; raises `VersionConflict` if it was changed here and elsewhere."""
        plan, row = entry.plan, entry.plan.build(values)
        state = plan.state(row)
        if entry.stored is None or (plan.version(row) == entry.version and not plan.changed(entry.stored, state)):
            return
        if _changed(entry):
            raise VersionConflict(plan.label, [plan.id_of(entry.key)], repeatable=True)
        plan.restore(entry.entity, state)
        entry.original = entry.stored = state
        entry.version = entry.read_version = plan.version(row)
        entry.sequence = _LAST
        if entry.version is not None:
            plan.set_version(entry.entity, entry.version)
        plan.stored(entry.entity)

    def settle(self) -> None:
        """Everything written is committed: what is stored now is where the next changes begin."""
        self._read.clear()
        for entry in list(self):
            entry.original, entry.read_version = entry.stored, entry.version
            if entry.status == "deleted":
                self._forget(entry)

    def replace(self, stored: Any, entity: Any) -> None:
        """`entity` takes the place of the object that was read for the same row."""
        entry = self._by_entity.pop(id(stored))
        expected = entry.plan.version(entity)
        if isinstance(entry.plan, MappedPlan):
            entry.plan.fill(entity, entry.plan.state(stored))
        entry.entity, entry.version = entity, entry.version if expected is None else expected
        entry.seen = _NEVER
        self._put(entry)

    def touches(self, plan: Plan) -> bool:
        """Whether anything of this plan's table was added, deleted or changed and not written."""
        # Every query asks, so what was read and left alone is not looked at.
        self._listen()
        return any(self._waits(entry) for entry in list(self._restless.get(plan.table, ())) if not entry.is_as_seen)

    def images(self, entity: Any) -> tuple[Values | None, Values | None] | None:
        """What is stored of an entity and what is to be, None where nothing is to be written."""
        entry = self.of(entity)
        if entry is None or entry.status == "new":
            return None if entry is None else (None, {})
        if entry.stored is None or entry.status == "deleted":
            return None if entry.stored is None else (entry.stored, None)
        changed = _changed(entry)
        return (entry.stored, {**entry.stored, **changed}) if changed else None

    def delete(self, entry: Entry) -> None:
        """Delete the row; an entity that was never stored is forgotten."""
        if entry.stored is None and entry.original is None:
            self._forget(entry)
            return
        entry.status = "deleted"
        entry.stamp()
        self._wake(entry)

    def require(self, entry: Entry, required: Literal["alone", "beside"]) -> None:
        """Check the version of what may not change."""
        entry.required = entry.required or required
        self._wake(entry)

    def _put(self, entry: Entry) -> None:
        self._by_entity[id(entry.entity)] = entry
        if None not in entry.key:
            self._by_key[entry.plan, entry.key] = entry
        if isinstance(entry.plan, MappedPlan) and entry.plan.ordered_names:
            inspect(entry.entity).info[ENTRY] = entry
        self._wake(entry)

    def _wake(self, entry: Entry) -> None:
        self._restless.setdefault(entry.plan.table, {})[entry] = None

    def _rest(self, entry: Entry) -> None:
        """It is as it is stored; look at it when its entity is changed, if that will be told."""
        if isinstance(entry.plan, MappedPlan):
            if self._told.hears_of(entry.entity):
                del self._restless[entry.plan.table][entry]
        elif entry.seen is not entry.stored or entry.frozen is not None:
            entry.seen, entry.frozen = entry.stored, entry.plan.frozen(entry.entity)

    def _listen(self) -> None:
        for entity in self._told.changed():
            entry = self.of(entity)
            if entry is not None:
                self._wake(entry)

    def _waits(self, entry: Entry) -> bool:
        """Whether there is something of it to write."""
        if self.of(entry.entity) is not entry:  # forgotten
            del self._restless[entry.plan.table][entry]
            return False
        if entry.status != "loaded":
            return entry.stored is not None or entry.status == "new"
        if _changed(entry):
            return True
        if not entry.required:
            self._rest(entry)
        return False

    def operations(self, *, told: bool = False) -> list[tuple[Entry, Operation]]:
        """What has to be written, at most one operation for each row, in the order of the changes.

        With `told` only what it was told of: not where a value was put into `__dict__`, past SQLAlchemy.
        """
        found = [(entry, op) for entry in self.candidates(told=told) if (op := _operation(entry)) is not None]
        return found if len(found) < 2 else for_foreign_keys(sorted(found, key=_turn))

    def candidates(self, *, told: bool = False) -> Iterable[Entry]:
        """What may have to be written; with `told` as with `operations`."""
        if not told:
            return self._by_entity.values()
        self._listen()
        restless = (entry for table in self._restless.values() for entry in table)
        return [e for e in restless if self.of(e.entity) is e and not e.is_as_seen]

    def written(self, entry: Entry) -> None:
        """The entry's operation is in the database (or in the open transaction)."""
        self._writes += 1
        if entry.status == "deleted":
            entry.stored = None
            return
        if entry.next is not None:
            entry.stored, entry.next = entry.next, None
            entry.version = None if entry.plan.version_key is None else (entry.version or 0) + 1
            if entry.version is not None:
                entry.plan.set_version(entry.entity, entry.version)
            entry.plan.stored(entry.entity)
        entry.status, entry.sequence, entry.required, entry.complete = "loaded", _LAST, None, True
        if (entry.plan, entry.key) not in self._by_key:
            entry.key = entry.plan.key_of(entry.entity)
            self._by_key[entry.plan, entry.key] = entry

    def release_mapped(self) -> list[Entry]:
        """The entries of mapped classes, which from now on are somebody else's."""
        released = [entry for entry in self if isinstance(entry.plan, MappedPlan)]
        for entry in released:
            self._forget(entry)
        return released

    def changes(self) -> list[Change]:
        """What changed since the beginning, whatever was written in between."""
        return [change for entry in self._by_entity.values() if (change := _change(entry)) is not None]

    def of_plan(self, plan: Plan) -> list[Entry]:
        """The entries of one class."""
        return [entry for entry in self if entry.plan is plan]

    def account(self, entries: Iterable[Entry]) -> list[Change]:
        """What changed so far, all of it written; from here on the entries count as unchanged."""
        found = [change for entry in entries if (change := _change(entry)) is not None]
        for entry in entries:
            entry.original, entry.read_version = entry.stored, entry.version
        return found

    def rewritten(self, plan: Plan, before: int | None, values: Any) -> None:
        """A statement changed a row, which had the version `before`; one that somebody else changed stays stale."""
        entry = self._by_key.get((plan, plan.key_of(plan.build(values))))
        if entry is not None and entry.status == "loaded" and entry.version == before:
            self._writes += 1
            self.refresh(entry, values)

    def removed(self, plan: Plan, key: tuple[Any, ...]) -> None:
        """A statement deleted a row."""
        entry = self._by_key.get((plan, key))
        if entry is not None:
            self._writes += 1
            entry.status, entry.original, entry.stored, entry.sequence = "deleted", None, None, _LAST

    def added_again(self, plan: Plan, keys: Collection[tuple[Any, ...]]) -> None:
        """A statement added rows; those of them that were deleted before are not deleted any more."""
        for entry in self.of_plan(plan):
            if entry.status == "deleted" and entry.key in keys:
                self._writes += 1
                self._forget(entry)

    def snapshot(self) -> Snapshot:
        """Everything needed to come back to this point."""
        entries = [
            (e, e.entity, (e.status, e.original, e.stored, e.version, e.required), e.plan.state(e.entity)) for e in self
        ]
        return Snapshot(entries, len(self._read), self._writes, mark_events())

    def restore(self, snapshot: Snapshot) -> list[Entry]:
        """Come back to a snapshot; returns the entries read since, which are as they were read.

        What was added since is forgotten, the events since then too.
        """
        for entry in self:
            forget_events(entry.entity, snapshot.events)
        self._by_key.clear()
        self._by_entity.clear()
        read = self._read[snapshot.reads :]
        since = [(e, entity, _as_read(e), e.original or {}) for e, entity in read]
        for entry, entity, fate, state in (*snapshot.entries, *since):
            entry.return_to(entity, fate, state)
            forget_events(entity, snapshot.events)
            self._put(entry)
        return [entry for entry, _ in read]

    def wrote_since(self, snapshot: Snapshot) -> bool:
        return self._writes != snapshot.writes

    async def read_again(self, entries: list[Entry], transaction: Transaction) -> None:
        """What was read may have been written in the same, undone part of the transaction: see what is stored."""
        for entry in entries:
            parameters = {f"k{n}": part for n, part in enumerate(entry.key)}
            values = (await transaction.execute(select_by_key(entry.plan), parameters)).one_or_none()
            if values is None:
                self._forget(entry)
            else:
                _correct(entry, entry.plan.build(values))

    def _forget(self, entry: Entry) -> None:
        self._by_entity.pop(id(entry.entity), None)
        self._by_key.pop((entry.plan, entry.key), None)


def _turn(pair: tuple[Entry, Operation]) -> tuple[float, str]:
    """The order of changes; where it does not matter, that of keys, so that writers wait for each other in turn."""
    entry, operation = pair
    return entry.sequence, f"{operation.table.fullname} {entry.key}" if entry.sequence == _LAST else ""


def _as_read(entry: Entry) -> tuple[Any, ...]:
    return "loaded", entry.original, entry.original, entry.read_version, None


def _correct(entry: Entry, row: Any) -> None:
    """Take over what is stored; a version that came later is somebody else's, and the commit has to meet it."""
    plan = entry.plan
    version, state = plan.version(row), plan.state(row)
    if version is not None and version > (entry.read_version or 0):
        return
    entry.read_version = version
    entry.return_to(entry.entity, ("loaded", state, state, version, None), state)


def twin(plan: Plan, key: tuple[Any, ...]) -> Misconfigured:
    """The error of two objects for one row."""
    return Misconfigured(f"{plan.label} {key[-1]!r} is already in this unit of work as another object.")


def _replacing(gone: Entry, entity: Any) -> Entry:
    """The entry of an entity that takes the key of a deleted one."""
    if gone.stored is None:  # the row is deleted already
        return Entry(gone.plan, entity, gone.key, "new", gone.original, None, None, next(_sequence))
    return Entry(gone.plan, entity, gone.key, "loaded", gone.original, gone.stored, gone.version, gone.sequence)


def _operation(entry: Entry) -> Operation | None:
    if entry.status == "new":
        return _insert(entry)
    changed = _changed(entry) if entry.status == "loaded" else {}
    if changed and entry.plan.formed(entry.entity, changed):
        changed = _changed(entry)  # what was stored so already is no change
    if not changed and entry.status == "loaded" and not entry.required:
        return None
    plan = entry.plan
    key = plan.key_row(entry.key)
    expect = {} if plan.version_key is None else {plan.version_key: entry.version}
    if entry.status == "deleted":
        return None if entry.stored is None else Operation("delete", plan.table, plan.label, key, {}, expect)
    if not changed:
        return Operation("guard", plan.table, plan.label, key, {}, expect)
    plan.touch(entry.entity, changed)
    entry.next = plan.checked(entry.entity, plan.state(entry.entity), changed)
    values = plan.update_row({name: entry.next[name] for name in changed}, entry.next)
    if plan.version_key is not None:
        values[plan.version_key] = (entry.version or 0) + 1
    ordered = any(name in changed for name in plan.unique_names)
    return Operation("update", plan.table, plan.label, key, values, expect, ordered=ordered)


def is_beside(entry: Entry, operation: Operation) -> bool:
    """Whether it is nothing but a check that matters beside something else."""
    return operation.kind == "guard" and entry.required == "beside"


def _insert(entry: Entry) -> Operation:
    plan = entry.plan
    entry.complete = plan.complete(entry.entity)
    entry.next = plan.checked(entry.entity, plan.state(entry.entity))
    key = entry.key = plan.key_of(entry.entity)
    values = plan.insert_row(entry.next, key)
    return Operation("insert", plan.table, plan.label, plan.key_row(key), values, {})


def _changed(entry: Entry) -> Values:
    if entry.stored is None:
        return {}
    if entry.plan.key_of(entry.entity) != entry.key:
        raise Misconfigured(
            f"The key of {entry.plan.label} {entry.key[-1]!r} was changed; delete it and add a new one."
        )
    return entry.plan.changed(entry.stored, entry.plan.state(entry.entity))


def _change(entry: Entry) -> Change | None:
    plan = entry.plan
    after = None if entry.status == "deleted" else entry.stored if entry.next is None else entry.next
    before = entry.original
    if before is None and after is None:
        return None
    if before is not None and after is not None and not plan.changed(before, after):
        return None
    key = entry.key if entry.status != "new" else plan.key_of(entry.entity)
    return Change(plan.component, record_id(plan, key), before, after, plan.marks)
