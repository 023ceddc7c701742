"""The unit of work: everything that changes together.

Optimistic by default: reads hold a connection for one statement, nothing is written before the
commit, and the commit is one statement where that is possible. It becomes an explicit transaction
when someone asks for the session, a lock, a savepoint or a flush.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Any, LiteralString, Self, TypeVar, cast
from weakref import WeakSet

from sqlalchemy import Executable, Result

from uno import clock, context, sync
from uno.bus.unit import ambient, current_unit
from uno.data import asked, capture, hooks, raw
from uno.data.changes import Book, Change, Changes, Operation
from uno.data.commit import commit
from uno.data.database import Database, Plan
from uno.data.guards import Reads
from uno.data.lazy import count_in
from uno.data.lease import Transaction
from uno.data.literal import Parameters
from uno.data.lookups import Lookups, Row, name_refused
from uno.data.orm import Session
from uno.data.plan import MappedPlan
from uno.data.rounds import Rounds
from uno.data.savepoints import savepoint
from uno.data.session_path import SessionPath
from uno.data.strangers import Strangers
from uno.data.telling import keep_outcome, tell, tell_the_rest
from uno.data.tracked import Tracked
from uno.data.writing import is_mapped, write_tracked
from uno.domain.aggregate import Numbered, numbered, numbered_events
from uno.errors import Conflict, Invalid, Misconfigured, TimedOut
from uno.messages import DomainEvent

if TYPE_CHECKING:
    from uno.data.direct import Direct
    from uno.data.repository import Repository

T = TypeVar("T")
R = TypeVar("R", bound="Repository[Any]")
AfterCommit = Callable[[Changes], Awaitable[None]]


class UnitOfWork:
    """Use it with `async with`, or let the pipeline open one around each message.

    Inside, `Repository` and `publish` find it by themselves. Entering it again, or another one of
    the same database, joins it. `books` turn changes into rows of the same transaction, `after` is
    awaited with the changes once they are stored; by default those of the application whose database it is.
    One that ended well may be used again.
    """

    def __init__(
        self,
        database: Database,
        *,
        books: Sequence[Book] | None = None,
        after: Sequence[AfterCommit] | None = None,
        read_only: bool = False,
    ) -> None:
        self.database = asked.database_of(database)
        self.books = books or ()
        self.after = after or ()
        # As opened; what only reads inside another may write.
        self.asks = self._read_only = read_only
        # Where rows are read from: what only reads may be a little late.
        self.reading = database.replica or database if read_only else database
        self.tracked = Tracked()
        self.lookups = Lookups()
        self.reads = Reads(database.guards)
        self.strangers = Strangers()
        self.recorded: list[Numbered] = []
        self._fences: list[Operation] = []
        self._transaction: Transaction | None = None
        # In place of the usual commit, where nothing else is to be written.
        self.direct: Direct | None = None
        self._session: SessionPath | None = None
        # A before hook opened the session; what was tracked then goes there once it is written.
        self.apart = False
        self._rounds: Rounds | None = None
        self._task: Any = None
        # For whom it reads and writes, where the database tells tenants apart.
        self._tenant: str | None = None
        # For each time it was joined, whether it only read before.
        self._joined: list[bool] = []
        self._begun = False
        self._token: Any = None
        self._streams: WeakSet[AsyncGenerator[Any, None]] | None = None
        # What is being committed, whether that is in the database, and what was before, of which nobody was told yet.
        self.outcome: Changes | None = None
        self.stored = False
        self.outcomes: list[Changes] = []
        self.doomed: BaseException | None = None
        self.over = False
        if books is None and after is None and database.furnish is not None:
            database.furnish(self)

    # -- life

    async def __aenter__(self) -> Self:
        outer = ambient()
        if isinstance(outer, UnitOfWork) and outer.database is self.database:
            outer._joined.append(outer._read_only)
            outer._read_only = outer._read_only or self._read_only
            return cast(Self, outer)
        self._token = self.begin()
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        outer = ambient()
        if isinstance(outer, UnitOfWork) and outer._joined:
            outer._read_only = outer._joined.pop()
            if error is not None:
                outer.doom(error)
            return
        try:
            try:
                if error is None:
                    await self.commit()
            finally:
                await self.end(self._token)
            if error is None:
                await self.tell()
        finally:
            tell_the_rest(self)

    def begin(self) -> Any:
        """Become the ambient unit of work of this task; returns what `end` takes."""
        if self._begun:  # and not told that it ended well
            raise Misconfigured("This unit of work ended with an error, or is open elsewhere; make another UnitOfWork.")
        self.over, self._begun, self._tenant = False, True, None
        self._task = sync.runner()
        return current_unit.set(self)

    async def end(self, token: Any) -> None:
        current_unit.reset(token)
        self.over, self._task = True, None
        if self._transaction is not None or self._streams:
            await self.close()

    def doom(self, error: BaseException) -> None:
        """Nothing of this unit of work will be written; `error` says why."""
        if isinstance(error, asyncio.CancelledError):
            # Who cancelled the inner message may go on; the outer one must not look cancelled for it.
            error = TimedOut("A message inside was cancelled; put `async with uow.savepoint():` around it to go on.")
        self.doomed = self.doomed or error

    async def close(self) -> None:
        """Roll back what is not committed and let go of the connection."""
        transaction, self._transaction = self._transaction, None
        session, self._session = self._session, None
        try:
            await self._close_streams()
            if session is not None:
                await session.close()
        finally:
            if transaction is not None:
                await sync.shielded(transaction.close())

    async def _close_streams(self) -> None:
        streams, self._streams = self._streams or (), None
        for stream in list(streams):
            await stream.aclose()

    def check_task(self) -> None:
        """Two tasks, two threads or two tenants must not share one unit of work."""
        self._check_runner()
        if self.database.tenants.possible:
            self._tenant = self.database.tenants.one(self._tenant)

    def _check_runner(self) -> None:
        if self._task is None or sync.runner() is not self._task:
            raise asked.not_here(is_open=self._task is not None)

    # -- what handlers use

    def record(self, event: DomainEvent) -> None:
        """Publish `event` when the commit has made it a fact."""
        self.check_task()
        self.recorded.append(numbered(event))

    def repository(self, entity: type[T]) -> "Repository[T]":
        """The repository of a class."""
        from uno.data.repository import Repository

        return Repository(entity)

    def get_repository(self, repository: type[R]) -> R:
        """A repository of one's own class."""
        return repository()

    def require(self, entity: Any, *, beside: bool = False) -> None:
        """Commit only if this entity, which was only read, is still as it was read.

        `beside`: that matters only where something else is written or published.
        """
        entry = self.tracked.of(entity)
        session = self._session if entry is None and self._session is not None else None
        if entry is None and (session is None or entity not in session.session):
            raise Misconfigured("require() takes an entity that was read in this unit of work.")
        plan = self.database.plan(type(entity))
        if plan.version_key is None:
            raise Misconfigured(f"{plan.label} has no version that could be required.")
        if entry is not None:
            self.tracked.require(entry, "beside" if beside else "alone")
        elif session is not None:
            session.require(entity)

    async def session(self) -> Session:
        """SQLAlchemy's session on this unit of work's transaction; loaded objects are attached to it."""
        path = await self._session_path()
        if self.apart:
            raise Misconfigured(
                "A before hook cannot open the session while other entities wait to be written; do it in an after "
                "hook, or open the session before."
            )
        return path.session

    async def execute(self, statement: Executable | LiteralString, parameters: Parameters = None) -> Result[Any]:
        """The result of SQL of your own: `await uow.execute("SELECT … WHERE id = :id", {"id": id})`.

        What has changed so far is written first. What writes is done in an explicit transaction, and is not audited.
        """
        return await raw.run(self, statement, parameters)

    async def flush(self) -> None:
        """Write what has changed so far, in an explicit transaction, and run the hooks of it."""
        self.check_task()
        if self._transaction is not None:
            self._transaction.check()
        if self.preparing:
            raise Misconfigured("A before hook runs before anything is written; flush in an after hook.")
        try:
            with self.writing_before():
                await (self.rounds.flush(told=True) if hooks.registered else self.write(told=True))
        except (Conflict, Invalid) as error:
            name_refused(error, self._inserts(), self.database.plans)
            raise
        self.strangers.tell_all()

    async def write(self, *, told: bool = False) -> None:
        """The same without hooks, which have run."""
        if self._session is not None:
            await self._session.write()
        await write_tracked(self, self.tracked.operations(told=told))

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Changes inside the block are undone by an exception, or by a `Failure` of a message inside."""
        return savepoint(self)

    # -- what repositories use

    async def transaction(self) -> Transaction:
        """The explicit transaction, opened now if there is none."""
        self.check_task()
        if self._transaction is None:
            await self.database.restricted_tables()
            self._transaction = await self.reading.begin(writing=not self.asks)
        self._transaction.check()
        if self.database.captured and self._transaction.said is None:
            await capture.say(self._transaction, context.current())
        return self._transaction

    def take_events(self, events: Iterable[Numbered]) -> None:
        """Publish them with the commit; their aggregates are not known here, or not any more."""
        self.recorded.extend(events)

    @property
    def explicit(self) -> Transaction | None:
        return self._transaction

    async def read(self, statement: Any) -> Sequence[Any]:
        """The rows of a query: in the transaction if there is one, else on a connection of its own."""
        if self._transaction is not None:
            return (await self._transaction.execute(statement)).all()  # type: ignore[no-any-return]
        return await self.reading.query(statement)

    async def path(self, plan: Plan) -> SessionPath | None:
        """The session, if objects of this plan go through it."""
        self.check_task()
        if not isinstance(plan, MappedPlan):
            return None
        opened = self._session is not None and not self.apart
        if opened or not plan.fast or self.database.commit == "session":
            return await self._session_path()
        return None

    def writable(self) -> None:
        if self._read_only:
            raise Misconfigured("A query changes nothing; make it a command.")

    @contextmanager
    def only_reading(self, wanted: bool) -> Iterator[None]:
        """Whether writing is an error inside the block; it stays one where it is already."""
        before, self._read_only = self._read_only, self._read_only or wanted
        try:
            yield
        finally:
            self._read_only = before

    @contextmanager
    def writing_before(self) -> Iterator[None]:
        """What was changed before a block that only reads is written in it, so that it is read."""
        before, self._read_only = self._read_only, self.asks
        try:
            yield
        finally:
            self._read_only = before

    def known(self, plan: Plan, key: tuple[Any, ...]) -> Any:
        """The object of this key that the unit of work has, or None."""
        entry = self.tracked.find(plan, key)
        if entry is not None:
            return entry.entity
        mapped = self._session is not None and isinstance(plan, MappedPlan)
        return self._session.known(plan, key) if mapped and self._session is not None else None

    def streaming(self, stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """The same; it is closed at the end, unless nobody reads it any more before that."""
        if self._streams is None:
            self._streams = WeakSet()
        self._streams.add(stream)
        return stream

    def fence(self, operation: Operation) -> None:
        """Commit only together with this guarded operation."""
        self._fences.append(operation)

    @property
    def rounds(self) -> Rounds:
        """Its hooks; made only where there are any."""
        if self._rounds is None:
            self._rounds = Rounds(self)
        return self._rounds

    @property
    def preparing(self) -> bool:
        """Whether before hooks run: nothing is written before they are through."""
        return self._rounds is not None and self._rounds.preparing

    @property
    def any_session(self) -> SessionPath | None:
        """The session, if there is one, whatever is attached to it."""
        return self._session

    @property
    def opened(self) -> SessionPath | None:
        """The session, if there is one and mapped entities are attached to it."""
        return None if self.apart else self._session

    async def _session_path(self) -> SessionPath:
        if self._session is None:
            await self._write_mapped()
        if self._session is None:  # nor did a hook open it meanwhile
            session = SessionPath(self.database, await self.transaction(), self.rounds, self.flush, self.lookups)
            count_in(session.session, self.reads)
            self._session, self.apart = session, True
            if not self.preparing or not any(map(is_mapped, self.tracked)):
                self.attach()
        return self._session

    async def _write_mapped(self) -> None:
        """Documents stay where they are."""
        with self.writing_before():
            if hooks.registered:
                await self.rounds.flush(is_mapped)
            else:
                await write_tracked(self, [pair for pair in self.tracked.operations() if is_mapped(pair[0])])

    def attach(self) -> bool:
        """Hand mapped entities, which are written, over to the session; whether it did not have them."""
        if self._session is None or not self.apart:
            return False
        self.apart = False
        for entry in self.tracked.release_mapped():
            self._session.adopt(entry)
        return True

    # -- commit

    async def commit(self) -> None:
        """Write everything, or nothing.

        Raises `VersionConflict` and `Conflict` where the database says so, `OutcomeUnknown` where
        the connection was lost meanwhile. A cancelled caller waits for the outcome.
        """
        self._check_runner()
        self.stored = False
        if self.doomed is not None:
            raise self.doomed
        if self._transaction is not None:
            self._transaction.check()
        try:
            if hooks.registered:
                await self._run_hooks()
            await commit(self)
        except BaseException as error:
            if isinstance(error, Conflict | Invalid):
                name_refused(error, self._inserts(), self.database.plans)
            if isinstance(error, Conflict):
                error.repeatable = error.repeatable or self.lookups.explain(error, self._inserts())
            self.doom(error)
            raise
        await self._settle()

    async def _run_hooks(self) -> None:
        await self.rounds.prepare()
        if self.doomed is not None:  # by a message in a hook
            raise self.doomed

    def _inserts(self) -> list[Row]:
        """The rows that are new and not written yet."""
        session = [] if self._session is None else self._session.inserts()
        direct = () if self.direct is None else self.direct.inserts
        return [*direct, *session, *((entry.plan, entry.key) for entry in self.tracked if entry.status == "new")]

    async def _settle(self) -> None:
        """What is committed is not written again by another commit."""
        keep_outcome(self)
        self._fences = []
        self.strangers.settle()
        self.tracked.settle()
        if self._session is not None:
            self._session.settle()
        elif self._transaction is not None:
            transaction, self._transaction = self._transaction, None
            await sync.shielded(transaction.close())

    async def tell(self) -> None:
        """Tell those who wait for the commit; called once it is over and ended well."""
        self._begun = False
        await tell(self)

    def collected_events(self) -> list[DomainEvent]:
        """The events of all aggregates and those that were published, each once."""
        # What was added and deleted again never was, so nothing happened to it.
        lived = (entry for entry in self.tracked if entry.original is not None or entry.status != "deleted")
        found = [pair for entry in lived if entry.plan.has_events for pair in numbered_events(entry.entity)]
        if self._session is not None:
            found += self._session.events()
        recorded, self.recorded = self.recorded, []
        return [event for _, event in sorted([*found, *recorded], key=itemgetter(0))]

    def net_changes(self) -> list[Change]:
        session = self._session.changes() if self._session is not None else []
        return [*session, *self.tracked.changes()]

    def book_rows(self, changes: Changes) -> list[Operation]:
        """The rows of all books, and the guarded operations that go with the commit."""
        rows = [(book.table, row) for book in self.books for row in book.rows(changes)]
        required = [] if self._session is None else self._session.guards()
        return [*self._fences, *required, *(Operation("insert", table, table.name, {}, row, {}) for table, row in rows)]

    @property
    def fenced(self) -> bool:
        return bool(self._fences)

    @property
    def untouched(self) -> bool:
        """Whether nothing was read, changed, published or opened yet, and nothing goes with the commit."""
        waits = self.recorded or self._fences or self._read_only or self.doomed is not None
        return not (waits or len(self.tracked) or self._transaction is not None or self._session is not None)

    def has_events(self) -> bool:
        """Whether events wait to be published, without collecting them."""
        return bool(self.recorded) or any(e.plan.has_events and "_events" in e.entity.__dict__ for e in self.tracked)

    def collect(self) -> Changes:
        """The changes and events of this commit, computed once."""
        events = tuple(self.collected_events())
        changes, captured = tuple(self.net_changes()), self.database.captured
        self.outcome = Changes(changes, events, context.current(), clock.now(), captured)
        return self.outcome

    def also(self, book: Book) -> None:
        """Write the rows of one more book with the commit."""
        self.books = (*self.books, book)

    def run_by(self, task: Any) -> Any:
        """The unit of work is used by this task, or thread, from now on; returns the one before."""
        before, self._task = self._task, task
        return before


def ambient_unit() -> UnitOfWork:
    """The unit of work of this task; `Misconfigured` where none is open."""
    unit = ambient()
    if not isinstance(unit, UnitOfWork):
        raise Misconfigured(
            "No unit of work is open; use a repository in a handler, or inside `async with UnitOfWork(database)`. What "
            "a cache loads, or a batch or a background task does, is outside of that of its caller, and opens its own."
        )
    return unit
