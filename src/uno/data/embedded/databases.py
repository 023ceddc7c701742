"""Databases of an embedded server."""

from contextlib import suppress

import asyncpg

from uno.data.embedded.server import EmbeddedServer
from uno.errors import Invalid, Unavailable

NAME_BYTES = 63


async def ensure_database(server: EmbeddedServer, name: str) -> str:
    """Create the database if it is missing; its URL. `Invalid` if PostgreSQL would change the name."""
    if not name or "\0" in name or len(name.encode()) > NAME_BYTES:
        raise Invalid.field("database", f"a database's name has 1 to {NAME_BYTES} bytes, {name!r} has not.")
    try:
        connection = await asyncpg.connect(server.url)
    except (OSError, asyncpg.PostgresError) as error:
        raise Unavailable(f"The PostgreSQL server in {server.folder} does not answer: {error}.") from error
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await _create(connection, name)
    finally:
        await connection.close()
    return server.url_for(name)


async def _create(connection: "asyncpg.Connection", name: str) -> None:
    quoted = name.replace('"', '""')
    # Another process may create it at the same moment.
    with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        await connection.execute(f'CREATE DATABASE "{quoted}"')
