"""The database for synchronous code: scripts, tasks of other queues, plain functions in threads.

Nothing is written twice: every call runs the asynchronous one to its end. SQLite is driven in the calling
thread, without an event loop. What cannot be driven runs in the event loop that the database is open in,
which another thread runs: the portal's, unless an application has opened it in its own.
"""

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from contextvars import Context, copy_context
from functools import partial
from inspect import iscoroutine, iscoroutinefunction
from typing import Any, LiteralString, ParamSpec, Self, TypeVar, cast
from weakref import WeakSet

from sqlalchemy import CursorResult, Executable, MetaData, Result

from uno import sync
from uno.bus.unit import ambient, current_unit
from uno.data import scopes
from uno.data.changes import Changes
from uno.data.database import Database
from uno.data.facades import BlockingGroup, BlockingRepository, BlockingSession, BlockingUnit, Facade
from uno.data.literal import Parameters
from uno.data.orm import Session
from uno.data.repository import Repository
from uno.data.scopes import SessionOperationGroup
from uno.data.sqlite_direct import DirectDatabase
from uno.data.unit_of_work import AfterCommit, UnitOfWork
from uno.errors import Misconfigured

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
# Rows of a stream that are fetched at once, where it does not say how many.
BATCH = 1000


class Blocking:
    """`database.blocking`: made once for a database, used from any thread without a running event loop.

    It opens what it needs when it is first used; `close` it, or use it with `with`, or leave that to the end of
    the process. Each thread has units of work of its own.
    """

    def __init__(self, database: Database) -> None:
        self.asynchronous = database
        drivable = not database.embedded and database.backend == "sqlite" and not database.in_memory
        self._direct = DirectDatabase(database) if drivable else None
        if self._direct is not None:
            self._direct.furnish = self._furnish
        self._turn = threading.Lock()
        self._opened = False
        # They have no state: one of each class serves all threads.
        self._repositories: dict[type, BlockingRepository[Any]] = {}
        _all.add(self)

    @property
    def database(self) -> Database:
        """What its units of work stand on; for SQLite that is another `Database` of the same file."""
        return self._direct or self.asynchronous

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections; the next call opens it again."""
        self.closed()
        if self._opened and self.asynchronous.loop is not None:
            sync.wait_in(self.asynchronous.loop, self.asynchronous.close)
        self._opened = False

    def closed(self) -> None:
        """Close what it has beside the database, which is closed."""
        if self._direct is not None:
            sync.drive(self._direct.close())

    # -- what is used

    def transaction(self) -> AbstractContextManager[BlockingUnit]:
        """`uno.data.transaction(database)`: a unit of work in an open transaction, or the one of this thread."""
        return self.block(scopes.transaction, "async with transaction(database)")

    def unit_of_work(self) -> AbstractContextManager[BlockingUnit]:
        """`async with UnitOfWork(database)`: optimistic, without a transaction as long as it only reads."""
        return self.block(scopes.unit, "async with UnitOfWork(database)", still=True)

    def session(self) -> AbstractContextManager[BlockingSession]:
        """`uno.data.session(database)`: SQLAlchemy's session of a unit of work."""
        return self.block(scopes.session, "async with session(database)")

    def group(self) -> AbstractContextManager[BlockingGroup]:
        """`uno.data.SessionOperationGroup(database)`."""
        return self.block(SessionOperationGroup, "async with SessionOperationGroup(database)")

    def repository(self, of: type[T] | Repository[T]) -> BlockingRepository[T]:
        """The repository of a class, or one of your own class: `repository(Orders())`."""
        if isinstance(of, Repository):
            return BlockingRepository(self, of)
        found = self._repositories.get(of)
        if found is None:
            found = self._repositories[of] = BlockingRepository(self, Repository(of))
        return found

    def execute(self, statement: Executable | LiteralString, parameters: Parameters = None) -> Result[Any]:
        """The result of SQL of your own, in the unit of work of this thread or in one of its own."""
        refuse_loop("await uow.execute(…)")
        with self.unit_of_work() as uow:
            result = uow.execute(statement, parameters)
            kept = isinstance(result, CursorResult) and result.returns_rows
            return result.freeze()() if kept else result

    def create_tables(self, metadata: Iterable[MetaData]) -> None:
        """Create the tables that do not exist yet."""
        self.wait(partial(self.database.create_tables, metadata), "await database.create_tables(…)")

    def run(self, call: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """What `await call(…)` gives, in the event loop that the database is open in: for anything else of uno.

        Inside a unit of work of this thread it takes part in it, by the same driver.
        """
        name = getattr(call, "__qualname__", "call")
        work, instead = partial(_awaited, call, *args, **kwargs), f"await {name}(…)"
        if self._direct is None or self.unit_here() is not None:
            return self.wait(work, instead)
        refuse_loop(instead)
        return sync.wait_in(self._home(), work)

    # -- the two drivers

    def wait(self, call: Callable[[], Coroutine[Any, Any, R]], instead: str, context: Context | None = None) -> R:
        """What the coroutine of `call()` gives, in a copy of this context or in `context`."""
        refuse_loop(instead)
        unit = self.unit_here()
        if self._direct is not None:
            return sync.drive(call(), context)
        return sync.wait_in(self._home(), partial(_handed, unit, call), context)

    def unit_here(self) -> UnitOfWork | None:
        """The unit of work of this thread; raises `Misconfigured` where it is of another thread or of a task."""
        unit = ambient()
        if not isinstance(unit, UnitOfWork) or unit.database not in (self.asynchronous, self.database):
            return None
        unit.check_task()
        return unit

    def _home(self) -> asyncio.AbstractEventLoop:
        """The event loop that the database is open in; opened in the portal where it is in none."""
        loop = self.asynchronous.loop
        if loop is not None and loop.is_running():
            return loop
        with self._turn:
            if self.asynchronous.loop is None:
                sync.wait_in(sync.portal().loop, self.asynchronous.open)
                self._opened = True
                # Behind the end of the portal, so before it when the process ends.
                atexit.unregister(_close_all)
                atexit.register(_close_all)
        if self.asynchronous.loop is None or not self.asynchronous.loop.is_running():
            raise Misconfigured(
                "The database was opened in an event loop that does not run any more; close it there, or use "
                "another Database."
            )
        return self.asynchronous.loop

    def _furnish(self, uow: UnitOfWork) -> None:
        if self.asynchronous.furnish is not None:
            self.asynchronous.furnish(uow)
            uow.after = (partial(self._tell, uow.after),)

    async def _tell(self, those: Iterable[AfterCommit], changes: Changes) -> None:
        """Subscribers of events use the database itself, so they are told where it is open."""
        if changes.events:
            sync.wait_in(self._home(), partial(_tell, those, changes))
        else:
            await _tell(those, changes)

    def forked(self) -> None:
        """In a process that was forked: the parent's connections are not used, and not closed either."""
        self._turn = threading.Lock()
        if self._direct is not None:
            _inherited.append(self._direct.leave())
        if self._opened:
            self._opened = False
            _inherited.append(self.asynchronous.leave())

    # -- dress

    def block(self, manager: Callable[[Database], Any], instead: str, still: bool = False) -> "Block":
        """What `manager(database)` gives for `async with`, for `with`; `still`: entering it waits for nothing."""
        return Block(self, manager, instead, still)

    def dress(self, given: Any) -> Any:
        """What an asynchronous call gave, for synchronous code."""
        if isinstance(given, UnitOfWork):
            return BlockingUnit(self, given)
        if isinstance(given, Session):
            return BlockingSession(self, given)
        if isinstance(given, SessionOperationGroup):
            return BlockingGroup(self, given)
        if isinstance(given, Repository):
            return BlockingRepository(self, given)
        return given

    def inside(self) -> None:
        """Raise `Misconfigured` outside of a unit of work of this database."""
        if self.unit_here() is None:
            raise Misconfigured(
                "No unit of work of this database is open; use its repositories inside "
                "`with database.blocking.transaction():`."
            )

    def call(
        self, call: Callable[P, Awaitable[R]], instead: str, check: Callable[[], None] = lambda: None
    ) -> Callable[P, R]:
        """`call`, run to its end."""

        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            refuse_loop(instead)
            check()
            return self.wait(lambda: _awaited(call, *args, **kwargs), instead)

        return run

    def stream(
        self, call: Callable[P, AsyncGenerator[R, None]], instead: str, check: Callable[[], None]
    ) -> Callable[P, Generator[R, None, None]]:
        def run(*args: P.args, **kwargs: P.kwargs) -> Generator[R, None, None]:
            refuse_loop(instead)
            check()
            size = cast(int, kwargs.get("batch", BATCH))
            return self.steps(call(*args, **kwargs), size, instead)

        return run

    def steps(self, source: AsyncIterator[R], size: int, instead: str) -> Generator[R, None, None]:
        """The same one after another, fetched `size` at a time; closed when it is left."""
        done = False
        try:
            while not done:
                rows: list[R] = []
                error = None
                try:
                    done = self.wait(partial(_some, source, rows, size), instead)
                except Exception as raised:  # raised below, behind the rows that came before it
                    error, done = raised, True
                yield from rows
                if error is not None:
                    raise error
        finally:
            if not done:
                self._leave(source)

    def _leave(self, source: Any) -> None:
        close = partial(_awaited, source.aclose if hasattr(source, "aclose") else source.close)
        loop = self.asynchronous.loop
        if self._direct is not None:
            sync.drive(close())
        elif loop is None or not loop.is_running():
            return
        elif sync.without_loop():
            sync.wait_in(loop, close)
        else:  # the garbage collector may find it in the thread of that very loop
            asyncio.run_coroutine_threadsafe(close(), loop)

    def dressed(self, call: Callable[..., Any], instead: str) -> Callable[..., Any]:
        """The same for anything that can be called, whatever it gives."""
        if iscoroutinefunction(call):
            awaited: Callable[..., Any] = self.call(call, instead)
            return lambda *args, **kwargs: self.dress(awaited(*_bare(args), **kwargs))

        def run(*args: Any, **kwargs: Any) -> Any:
            refuse_loop(instead)
            given = self.dress(call(*_bare(args), **kwargs))
            if isinstance(given, Facade):
                return given
            if iscoroutine(given):
                return self.dress(self.wait(lambda: given, instead))
            if isinstance(given, AbstractAsyncContextManager):
                return self.block(lambda _: given, instead)
            return self.steps(given, BATCH, instead) if isinstance(given, AsyncIterator) else given

        return run


class Block(AbstractContextManager[Any]):
    """An asynchronous context manager as a synchronous one; its unit of work is that of the thread inside."""

    def __init__(self, blocking: Blocking, manager: Callable[[Database], Any], instead: str, still: bool) -> None:
        self._blocking = blocking
        self._still = still
        self._make = manager
        self._instead = instead

    def __enter__(self) -> Any:
        refuse_loop(self._instead)
        blocking = self._blocking
        blocking.unit_here()
        self._manager = self._make(blocking.database)
        # What it sets in its context it also takes back there.
        self._context = copy_context()
        enter = partial(_awaited, self._manager.__aenter__)
        if self._still:
            found = sync.drive(enter(), self._context)
        else:
            found = blocking.wait(enter, self._instead, self._context)
        unit = self._context.get(current_unit)
        if isinstance(unit, UnitOfWork):
            unit.run_by(sync.runner())
        self._token = current_unit.set(unit)
        return blocking.dress(found)

    def __exit__(self, *exc: Any) -> bool | None:
        leave = partial(_awaited, self._manager.__aexit__, *exc)
        try:
            return cast("bool | None", self._blocking.wait(leave, self._instead, self._context))
        finally:
            current_unit.reset(self._token)


def refuse_loop(instead: str) -> None:
    """Raise `Misconfigured` where an event loop runs in this thread: it would stop."""
    if not sync.without_loop():
        raise Misconfigured(f"This would stop the event loop that runs here; in asynchronous code: `{instead}`.")


def _bare(args: tuple[Any, ...]) -> list[Any]:
    return [one.asynchronous if isinstance(one, Facade) else one for one in args]


async def _awaited(call: Callable[..., Awaitable[R]], *args: Any, **kwargs: Any) -> R:
    return await call(*args, **kwargs)


async def _handed(unit: UnitOfWork | None, call: Callable[[], Awaitable[R]]) -> R:
    """The thread that waits lends its unit of work to the task that works for it."""
    if unit is None:
        return await call()
    thread = unit.run_by(sync.runner())
    try:
        return await call()
    finally:
        unit.run_by(thread)


async def _some(source: AsyncIterator[R], rows: list[R], size: int) -> bool:
    """Take at most `size` of them; whether there are no more."""
    async for one in source:
        rows.append(one)
        if len(rows) == size:
            return False
    return True


async def _tell(those: Iterable[AfterCommit], changes: Changes) -> None:
    for one in those:
        await one(changes)


_all: WeakSet[Blocking] = WeakSet()
# Connections of a parent process: kept, for their end would be that of the parent's.
_inherited: list[Any] = []


def _forked() -> None:
    current_unit.set(None)
    for one in list(_all):
        one.forked()


def _close_all() -> None:
    for one in list(_all):
        with suppress(Exception):  # the process ends, and nobody would see it
            one.close()


os.register_at_fork(after_in_child=_forked)
atexit.register(_close_all)
