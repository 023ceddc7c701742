"""Connections, held only while used. Nothing else in uno takes one from the pool.

A connection that is closed, in a transaction, or left by anything but an error PostgreSQL itself
reported is thrown away: without that, one terminated backend poisons the pool for ever.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import asyncpg
from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError, MissingGreenlet, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util.concurrency import in_greenlet

from uno import clock, sync
from uno.data import deadlines, literal, parting
from uno.data.failures import chain, ends_transaction, is_lost, translate
from uno.data.guards import Guards
from uno.data.held import Watch
from uno.data.lock_ends import Ends
from uno.data.pool import WatchedPool
from uno.data.sqlite import MAY_WRITE
from uno.data.statement import Prepared
from uno.data.tenants import OPTION, Tenants, opening
from uno.data.watched import watched
from uno.errors import OutcomeUnknown, TimedOut
from uno.telemetry import trace

# How a transaction is told that it only reads.
_READING = {"postgresql": {"postgresql_readonly": True}, "sqlite": {"uno_read": True}}


def raise_translated(error: BaseException) -> None:
    """Raise the error of uno's tree for a database error; return for anything else.

    A value that the column's type refused is the same error as without SQLAlchemy around it.
    """
    known = translate(error) if isinstance(error, Exception) else None
    if known is not None and known is not error:
        raise known from error
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError) and error.orig is not None:
        raise error.orig from None


def connect_in_greenlet(*_: Any) -> None:
    """For SQLAlchemy's do_connect event: refuses in time, before there is a coroutine that nobody awaits."""
    if not in_greenlet():
        raise MissingGreenlet("A connection can be opened only where it can be awaited.")


class Lease:
    """One connection of the pool, driven without SQLAlchemy: every statement is its own transaction."""

    __slots__ = ("_ceiling", "_engine", "_pool", "_raw", "_record", "driver")

    def __init__(self, engine: AsyncEngine, ceiling: float) -> None:
        self._engine = engine
        # Seconds after which the server has fallen silent, which would have stopped the statement before.
        self._ceiling = ceiling

    async def __aenter__(self) -> Self:
        # The engine may get another one meanwhile.
        pool: Any = self._engine.pool
        self._pool = pool
        # One that somebody else opened is of another kind.
        self._record: Any = pool.take() if isinstance(pool, WatchedPool) else None
        if self._record is not None:
            self.driver: Any = self._record.driver_connection
            return self
        try:
            self._raw = await self._engine.raw_connection()
        except Exception as error:  # everyone who asks for a connection sees it, translated
            raise_translated(error)
            raise
        self.driver = self._raw.driver_connection
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, asyncpg.PostgresError) or deadlines.was_late(error):
            self._give_back(error)
        else:
            try:
                await sync.shielded(parting.part_from(self.driver))
            finally:  # cancelled meanwhile, its place in the pool must not be lost
                self._invalidate(error)
        if error is not None:
            raise_translated(error)

    def _give_back(self, error: BaseException | None) -> None:
        driver = self.driver
        if driver.is_closed() or driver.is_in_transaction() or self._surplus():
            driver.terminate()
            self._invalidate(error)
        else:
            self._close()

    def _close(self) -> None:
        if self._record is not None:
            self._pool.give_back(self._record)
        else:
            self._raw.close()

    def _invalidate(self, error: BaseException | None) -> None:
        if self._record is not None:
            self._pool.discard(self._record, error)
        else:
            self._raw.invalidate(error)

    def _surplus(self) -> bool:
        """Whether the pool is full, so that it would close the connection; it cannot do that without awaiting."""
        found: bool = self._pool.checkedin() >= self._pool.size()
        return found

    async def fetch(self, prepared: Prepared, parameters: dict[str, Any]) -> Sequence[Any]:
        """The rows of one statement, as the driver gives them."""
        work = self.driver.fetch(prepared.sql, *prepared.arguments(parameters), timeout=deadlines.left(self._ceiling))
        tracer = trace.detail
        rows: Sequence[Any] = await (work if tracer is None else watched(tracer, prepared.sql, "postgresql", work))
        return rows

    async def fetch_of(self, tenant: str, prepared: Prepared, parameters: dict[str, Any]) -> Sequence[Any]:
        """The same in a transaction of a tenant, which its first statement sets."""
        await self.driver.execute(opening(tenant), timeout=deadlines.left(self._ceiling))
        try:
            rows = await self.fetch(prepared, parameters)
        except asyncpg.PostgresError:
            with suppress(Exception):  # one that is still in its transaction is thrown away
                await self.driver.execute("ROLLBACK", timeout=parting.SECONDS)
            raise
        await self.driver.execute("COMMIT", timeout=deadlines.left(self._ceiling))
        return rows

    async def fetch_text(self, sql: str, arguments: Sequence[Any]) -> Sequence[Any]:
        """The rows of a statement whose text uno made from declared columns."""
        work = self.driver.fetch(sql, *arguments, timeout=deadlines.left(self._ceiling))
        tracer = trace.detail
        rows: Sequence[Any] = await (work if tracer is None else watched(tracer, sql, "postgresql", work))
        return rows


class SqliteLease(Lease):
    """The same over aiosqlite, which is in autocommit mode."""

    __slots__ = ()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Its connection does one thing after another, so that an interrupted statement harms nobody.
        if self.driver.in_transaction or self._surplus():
            # Here and now: a thread that closes it later may find the event loop gone.
            try:
                await sync.shielded(self.driver.close())
            finally:  # cancelled meanwhile, its place in the pool must not be lost
                self._invalidate(error)
        else:
            self._close()
        if error is not None:
            raise_translated(error)

    async def fetch(self, prepared: Prepared, parameters: dict[str, Any]) -> Sequence[Any]:
        return await self.fetch_text(prepared.sql, prepared.arguments(parameters))

    async def fetch_text(self, sql: str, arguments: Sequence[Any]) -> Sequence[Any]:
        tracer = trace.detail
        seconds = deadlines.to_wait()
        work = self._rows(sql, arguments) if seconds is None else self._in_time(sql, arguments, seconds)
        return await (work if tracer is None else watched(tracer, sql, "sqlite", work))

    async def _rows(self, sql: str, arguments: Sequence[Any]) -> Sequence[Any]:
        # At once: a cursor left half read by a cancelled caller would keep what the connection sees from ageing.
        rows: Sequence[Any] = await self.driver.execute_fetchall(sql, arguments)
        return rows

    async def _in_time(self, sql: str, arguments: Sequence[Any], seconds: float) -> Sequence[Any]:
        try:
            async with clock.timeout(seconds):
                return await self._rows(sql, arguments)
        except TimeoutError:
            await self.driver.interrupt()
            raise


class Transaction:
    """One explicit transaction on one connection, through SQLAlchemy.

    Without `guards` it only reads, which the database sees to: it locks nothing on SQLite, and may be held for long.
    """

    def __init__(self, engine: AsyncEngine, guards: Guards | None, tenants: Tenants | None = None) -> None:
        self._engine = engine
        self._guards = guards
        self._tenants = tenants
        self.watch: Watch | None = None
        self._connection: AsyncConnection | None = None
        self._committed = False
        self._lock_ends: Ends | None = None
        # What the triggers of the audit trail were told.
        self.said: str | None = None
        # The first error after which nothing more is done in it, until a savepoint is undone.
        self.broken: BaseException | None = None

    @property
    def connection(self) -> AsyncConnection:
        if self._connection is None:
            raise RuntimeError("The transaction is not open.")
        return self._connection

    @property
    def lock_ends(self) -> Ends:
        """Who is told when locks of it end; made only where there are any."""
        if self._lock_ends is None:
            self._lock_ends = Ends(self.connection)
        return self._lock_ends

    async def begin(self) -> Self:
        try:
            self._connection = await self._engine.connect()
            told: dict[str, Any] = {OPTION: self._tenants}
            if self._guards is not None:
                watched = self._guards.transaction_idle and not sync.without_loop()
                watch = self.watch = Watch(self._guards) if watched else None
                await self._connection.execution_options(uno_begin=True, uno_watch=watch, **told)
            else:
                await self._connection.execution_options(**_READING[self._connection.dialect.name], **told)
            await self._connection.begin()
        except BaseException as error:
            await self.close()
            raise_translated(error)
            raise
        return self

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        self._committed = False
        if self.watch is not None:
            self.watch.check()
        with self._told():
            return await self.connection.execute(literal.statement(statement, parameters), parameters)

    def check(self) -> None:
        """Raise what broke it, also where somebody has caught that."""
        if self.broken is not None:
            raise self.broken

    def fail(self, error: BaseException) -> None:
        """Nothing more is done in it; the first error counts, in the words that were found for it since."""
        if self.broken is None or self.broken in chain(error):
            if isinstance(error, asyncio.CancelledError):
                error = TimedOut("A statement of this transaction was cancelled, so that nothing of it is stored.")
            self.broken = error

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A statement, whose error is raised translated."""
        self.check()
        try:
            try:
                yield
            except Exception as error:  # whoever runs the statement sees it, translated
                raise_translated(error)
                raise
        except BaseException as error:
            if ends_transaction(error):
                self.fail(error)
            raise

    async def copy(self, table: Table, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> None:
        """Append rows by PostgreSQL's COPY; `columns` are names in the database, values are the driver's."""
        self._committed = False
        with self._told():
            await self._copied(table, columns, records)

    async def _copied(self, table: Table, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> None:
        driver: Any = (await self.connection.get_raw_connection()).driver_connection
        if not driver.is_in_transaction():  # SQLAlchemy begins with the first statement of its own
            await self.connection.exec_driver_sql("SELECT 1")
        work = driver.copy_records_to_table(
            table.name, schema_name=table.schema, columns=columns, records=records, timeout=deadlines.left()
        )
        tracer = trace.detail
        await (work if tracer is None else watched(tracer, f"COPY {table.fullname}", "postgresql", work))

    async def commit(self) -> None:
        """Make it so; `OutcomeUnknown` where the connection is lost meanwhile."""
        self.said = None
        if self.watch is not None:
            self.watch.check()
        try:
            await self.connection.commit()
            self._committed = True
        except Exception as error:  # whoever commits sees it, translated
            if is_lost(error):
                raise OutcomeUnknown("The connection was lost during the commit.") from error
            raise_translated(error)
            raise

    async def close(self) -> None:
        """Roll back what was not committed and give the connection back."""
        connection, self._connection = self._connection, None
        if self.watch is not None:
            self.watch.stop()
        if connection is not None:
            await sync.shielded(_close(connection, clean=self._committed, reads=self._guards is None))


async def _close(connection: AsyncConnection, *, clean: bool, reads: bool) -> None:
    try:
        if not clean:
            await connection.rollback()
            if not connection.invalidated:  # or another one would be opened
                await _end(connection)
        if reads and connection.dialect.name == "sqlite" and not connection.invalidated:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.execute_fetchall(MAY_WRITE)
        await connection.close()
    except Exception:  # a connection that cannot even roll back is thrown away; nothing is lost by it
        await connection.invalidate()


async def _end(connection: AsyncConnection) -> None:
    """End a transaction whose beginning was cancelled, so that SQLAlchemy does not know of it."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if connection.dialect.name == "sqlite":
        await driver.rollback()
    elif driver.is_closed() or driver.is_in_transaction():
        await connection.invalidate()
