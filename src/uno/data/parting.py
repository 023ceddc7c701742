"""Letting go of a connection waits for its server no longer than `SECONDS`; then the connection is cut off.

Its place in the pool is free then, and nothing is lost by it: the server rolls back what it was not told to commit.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from uno import sync
from uno.errors import TimedOut
from uno.telemetry.logs import get_logger

log = get_logger("uno.data")
SECONDS = 2.0


def part_in_time(dialect: Dialect) -> None:
    """Have a dialect of PostgreSQL roll back, undo savepoints and close within the limit."""
    changed: Any = dialect
    roll_back, undo, close = changed.do_rollback, changed.do_rollback_to_savepoint, changed.do_close

    def roll_back_in_time(connection: Any) -> None:
        _in_time(lambda: roll_back(connection), connection)

    def undo_in_time(connection: Any, name: str) -> None:
        _in_time(lambda: undo(connection, name), connection.connection)

    def close_in_time(connection: Any) -> None:
        with suppress(TimedOut):
            _in_time(lambda: close(connection), connection)

    changed.do_rollback = roll_back_in_time
    changed.do_rollback_to_savepoint = undo_in_time
    changed.do_close = close_in_time


def _in_time(call: Callable[[], None], connection: Any) -> None:
    """Do what waits in a greenlet of SQLAlchemy. Raises `TimedOut`, by which SQLAlchemy throws the connection away."""
    if sync.without_loop():  # then nothing can wait
        return call()
    driver, late = connection.driver_connection, False

    def cut_off() -> None:
        nonlocal late
        late = True
        log.warning("a connection was cut off, because the server did not answer when it was let go")
        driver.terminate()

    timer = asyncio.get_running_loop().call_later(SECONDS, cut_off)
    try:
        call()
    except Exception:
        if not late:
            raise
    finally:
        timer.cancel()
    if late:
        # As a statement that is interrupted: see `deadlines.was_missed`.
        raise TimedOut(f"The database did not answer within {SECONDS:g} s, so its connection was cut off.") from (
            TimeoutError()
        )


async def part_from(driver: Any) -> None:
    """Close a connection that may still do something, which the server is told to stop."""
    try:
        await driver.close(timeout=SECONDS)
    except Exception:  # it is gone, or does not answer
        driver.terminate()


def cut_off(drivers: Iterable[Any]) -> None:
    """Close what an event loop left open that is closed; one of uvloop has closed its sockets itself."""
    for driver in list(drivers):
        with suppress(RuntimeError):  # the loop does nothing any more
            driver.terminate()
        with suppress(OSError, TypeError):
            driver._transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


async def let_go(connection: AsyncConnection) -> None:
    """Close it; where that fails, it is thrown away, and whoever used it has what it asked for."""
    with suppress(TimedOut, DBAPIError):
        await connection.__aexit__(None, None, None)
