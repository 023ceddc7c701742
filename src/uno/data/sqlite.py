"""Connections to SQLite that leave nothing open, whenever their callers are cancelled."""

import asyncio
import sqlite3
from functools import partial
from typing import Any

import aiosqlite
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util.concurrency import await_

from uno import clock
from uno.data import letters
from uno.data.culprit import count_rows, find_refused
from uno.data.narrow import keep_blanks
from uno.data.pool import WatchedPool
from uno.data.sqlite_moments import keep_moments
from uno.data.sqlite_numbers import keep_digits
from uno.settings import DatabaseSettings

LOCK_SECONDS = 10.0
# A connection refuses to write in between.
ONLY_READS, MAY_WRITE = "PRAGMA query_only=ON", "PRAGMA query_only=OFF"
# That are fetched at once.
_ROWS = 64


class SqliteConnection(sqlite3.Connection):
    """One whose transaction ends when it is closed; SQLite itself waits until the last cursor is gone."""

    _closed = False

    def close(self) -> None:
        # Closing twice is allowed, as everywhere: SQLAlchemy and a cancelled caller may both do it.
        if not self._closed and self.in_transaction:
            self.rollback()
        self._closed = True
        super().close()


def prepare(cursor: Any) -> None:
    """Set a new connection up, in SQLAlchemy's greenlet."""
    _use_wal(cursor)
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=NORMAL")


def _use_wal(cursor: Any) -> None:
    """SQLite does not wait for the lock of this switch: several may open a new file at the same moment."""
    deadline = clock.monotonic() + LOCK_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or clock.monotonic() > deadline:
                raise
        await_(clock.sleep(0.01))


class _Connection(aiosqlite.Connection):
    """One that may be closed twice, and at once: aiosqlite would wait for a thread that has ended."""

    _stopping: asyncio.Future[Any] | None = None

    def stop(self) -> asyncio.Future[Any] | None:
        """What is waiting is done before."""
        if self._stopping is None:
            self._stopping = super().stop()
        return self._stopping

    async def close(self) -> None:
        stopping = self.stop()
        if stopping is not None:
            await asyncio.shield(stopping)


async def connect(*arguments: Any, **options: Any) -> aiosqlite.Connection:
    """A new connection; aiosqlite itself forgets one that its thread opens for a cancelled caller."""
    connection = _Connection(partial(sqlite3.connect, *arguments, **options), _ROWS)
    connection._thread.daemon = True  # as SQLAlchemy has it: a process ends without closing everything
    opening = asyncio.ensure_future(_opened(connection))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            await connection.close()
        raise


async def _opened(connection: aiosqlite.Connection) -> aiosqlite.Connection:
    return await connection


def sqlite_engine(
    url: URL, settings: DatabaseSettings, pool: type[WatchedPool], options: dict[str, Any]
) -> AsyncEngine:
    """The engine of a SQLite file; `options` say how the driver connects."""
    # What is in memory is gone with its connection, so there is exactly one, used by one task at a time.
    memory = url.database in (None, "", ":memory:")
    engine = create_async_engine(
        url,
        hide_parameters=True,
        pool_reset_on_return=None,
        connect_args={"isolation_level": None, "timeout": LOCK_SECONDS, **options},
        poolclass=pool,
        pool_size=1 if memory else settings.pool_size,
        max_overflow=0 if memory else settings.max_overflow,
        pool_timeout=settings.acquire_timeout,
    )
    keep_moments(engine.dialect)
    keep_digits(engine.dialect)
    keep_blanks(engine.dialect)
    sync: Any = engine.sync_engine
    count_rows(sync)
    find_refused(sync)

    @event.listens_for(sync, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        prepare(cursor)
        cursor.close()
        letters.teach(connection)

    @event.listens_for(sync, "handle_error")
    def _cancelled(context: Any) -> None:
        # What is in memory is gone with its connection, which does one thing after another.
        if memory:
            context.is_disconnect = False

    @event.listens_for(sync, "begin")
    def _begin(connection: Any) -> None:
        # Readers begin nothing; a writer takes the lock at once, so that it cannot deadlock later.
        options = connection.get_execution_options()
        if options.get("uno_begin"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif options.get("uno_read"):
            connection.exec_driver_sql(ONLY_READS)

    return engine
