"""SQLite in the thread of its caller: over `sqlite3`, by coroutines that never suspend.

SQLAlchemy's asynchronous API stands on it as on any other driver, and `uno.sync.drive` runs it to its end.
"""

import sqlite3
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.base import SQLiteExecutionContext
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import QueuePool
from sqlalchemy.util.concurrency import await_

from uno.data.database import Database
from uno.data.pool import WatchedPool
from uno.data.sqlite import SqliteConnection, sqlite_engine


class _Now:
    """Awaited, it is there at once."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


_NOW = _Now()


class _Cursor(sqlite3.Cursor):
    """It takes all rows at once, as that of an asynchronous driver does, and refuses where none could be awaited."""

    _rows: deque[Any] = deque()

    def execute(self, sql: str, parameters: Any = ()) -> "_Cursor":
        await_(_NOW)
        super().execute(sql, parameters)
        if self.description:
            self._rows = deque(super().fetchall())
        return self

    def executemany(self, sql: str, parameters: Any) -> "_Cursor":
        await_(_NOW)
        super().executemany(sql, parameters)
        return self

    def fetchone(self) -> Any:
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        wanted = self.arraysize if size is None else size
        return [self._rows.popleft() for _ in range(min(wanted, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        rows, self._rows = list(self._rows), deque()
        return rows

    async def _async_soft_close(self) -> None:
        """Nothing: its rows are here."""


class _Stepping(sqlite3.Cursor):
    """One that steps through the table, for a stream."""

    def execute(self, sql: str, parameters: Any = ()) -> "_Stepping":
        await_(_NOW)
        super().execute(sql, parameters)
        return self


class _Connection(SqliteConnection):
    def cursor(self, factory: Any = None, /) -> Any:
        return super().cursor(factory or _Cursor)


class _Driver:
    """A connection as leases use it: the part of aiosqlite that they need."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    async def execute_fetchall(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        cursor = self._connection.cursor(sqlite3.Cursor)
        try:
            return cursor.execute(sql, parameters).fetchall()
        finally:
            cursor.close()

    async def rollback(self) -> None:
        self._connection.rollback()

    async def close(self) -> None:
        self._connection.close()


class _Execution(SQLiteExecutionContext):
    def create_server_side_cursor(self) -> Any:
        connection: Any = self._dbapi_connection
        return connection.cursor(_Stepping)


class Direct(SQLiteDialect_pysqlite):
    driver = "uno"
    is_async = True
    supports_statement_cache = True
    supports_server_side_cursors = True
    execution_ctx_cls = _Execution

    def get_driver_connection(self, connection: Any) -> Any:
        return _Driver(connection)


registry.register("sqlite.uno", __name__, Direct.__name__)


class _Pool(WatchedPool):
    """For threads: who waits blocks."""

    _queue_class = QueuePool._queue_class

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._opening = threading.Lock()
        super().__init__(*arguments, **options)

    def _create_connection(self) -> Any:
        # SQLAlchemy lets the first connection of an asynchronous engine be alone by a lock of an event loop.
        with self._opening:
            return super()._create_connection()


class _AsyncConnection(AsyncConnection):
    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Engine(AsyncEngine):
    _connection_cls = _AsyncConnection


class DirectDatabase(Database):
    """The database of a file, as `of` is, for threads without an event loop."""

    def __init__(self, of: Database) -> None:
        self._of = of
        self._turn_of_threads = threading.Lock()
        super().__init__(of.url, settings=of.settings, commit=of.commit, read_only=of.read_only)

    def _replica(self) -> "Database | None":
        return None if self._of.replica is None else DirectDatabase(self._of.replica)

    def _new_engine(self, url: URL) -> AsyncEngine:
        options = {"factory": _Connection, "check_same_thread": False}
        made = sqlite_engine(url.set(drivername="sqlite+uno"), self.settings, _Pool, options)
        return _Engine(made.sync_engine)

    @property
    def engine(self) -> AsyncEngine:
        """Opened again where it was closed: nothing has to be awaited for that."""
        with self._turn_of_threads:
            if self._engine is None:
                self._open_engine(self._parsed)
        return super().engine

    def _one_at_a_time(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext()  # who drives it sees to that

    async def _dispose(self, engine: AsyncEngine) -> None:
        await engine.dispose()
