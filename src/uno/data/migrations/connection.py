"""The connection that changes the schema: one process at a time, and all of it or nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from uno import clock
from uno.data.database import Database
from uno.data.lease import raise_translated
from uno.errors import Conflict

T = TypeVar("T")
# Not the one of uno's own schema: both may be wanted at once.
_LOCK = text("SELECT pg_try_advisory_lock(7305808869231650817)")
_POLL_SECONDS = 0.1


async def reading(database: Database, work: Callable[[Any], T]) -> T:
    """What `work(connection)` gives; what it changed is undone."""
    transaction = await database.begin()
    try:
        return await transaction.connection.run_sync(work)
    finally:
        await transaction.close()


async def changing(database: Database, work: Callable[[Any], T]) -> T:
    """What `work(connection)` gives, when nobody else changes the schema."""
    only = _on_postgres if database.backend == "postgresql" else _on_sqlite
    async with only(database) as connection:
        return await connection.run_sync(work)


@asynccontextmanager
async def _on_postgres(database: Database) -> AsyncIterator[AsyncConnection]:
    """Alembic opens the transaction, so that it can leave it: for an index that is made concurrently."""
    connection = await _connected(database)
    try:
        await _wait_for_turn(database, connection)
        # Of the pool's connections it is for requests; a table of many rows takes its time.
        await connection.execute(text("SET statement_timeout = 0"))
        await connection.commit()
        yield connection
    finally:
        # With it go the lock and the setting.
        await asyncio.shield(_throw_away(connection))


async def _wait_for_turn(database: Database, connection: AsyncConnection) -> None:
    """By asking again: one that waits in the server would hold up an index that is made concurrently."""
    told = False
    while not (await connection.execute(_LOCK)).scalar():
        await connection.commit()
        if not told and database.progress is not None:
            database.progress("Waiting for somebody else who migrates this database")
        told = True
        await clock.sleep(_POLL_SECONDS)
    await connection.commit()


@asynccontextmanager
async def _on_sqlite(database: Database) -> AsyncIterator[AsyncConnection]:
    """Tables are copied to be changed, and the old one dropped: what refers to it must not notice."""
    connection = await _connected(database)
    try:
        await connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        await connection.commit()
        await connection.execution_options(uno_begin=True)
        async with connection.begin():
            yield connection
            _refuse_dangling((await connection.exec_driver_sql("PRAGMA foreign_key_check")).all())
    finally:
        await asyncio.shield(_back(connection))


def _refuse_dangling(found: Any) -> None:
    if found:
        raise Conflict(f"Rows of {found[0][0]} would refer to rows of {found[0][2]} that are not there.")


async def _connected(database: Database) -> AsyncConnection:
    try:
        return await database.engine.connect()
    except Exception as error:  # whoever migrates sees it, translated
        raise_translated(error)
        raise


async def _throw_away(connection: AsyncConnection) -> None:
    await connection.invalidate()
    await connection.close()


async def _back(connection: AsyncConnection) -> None:
    await connection.execution_options(uno_begin=False)
    await connection.exec_driver_sql("PRAGMA foreign_keys=ON")
    await connection.close()
