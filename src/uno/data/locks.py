"""Locks of `uno.aio` in PostgreSQL: advisory locks of a transaction, so that the server releases what nobody holds.

A lock of its own has a connection of its own, which tells both sides of the other's death: the server by TCP's
keepalives, uno by the end of the connection.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Hashable
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from uno import clock
from uno.aio import database_lock
from uno.aio.database_lock import Held, Place
from uno.bus.unit import ambient
from uno.data.failures import chain
from uno.data.lease import Transaction
from uno.data.lock_ends import Ends
from uno.errors import Misconfigured, TimedOut, Unavailable, UnoError

if TYPE_CHECKING:
    from uno.data.database import Database
    from uno.data.unit_of_work import UnitOfWork

_TRY = text("SELECT pg_try_advisory_xact_lock(:number)")
_WAIT = text("SELECT pg_advisory_xact_lock(:number)")
_LIMIT = text("SELECT set_config('lock_timeout', :milliseconds, true)")
_LIMITED = text("SELECT current_setting('lock_timeout')")
# It waits, and is held, for as long as the application wants. A holder that is cut off is found out in 25 s.
_PATIENT = text(
    "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true), "
    "set_config('idle_in_transaction_session_timeout', '0', true), set_config('tcp_keepalives_idle', '10', true), "
    "set_config('tcp_keepalives_interval', '5', true), set_config('tcp_keepalives_count', '3', true), "
    # Since PostgreSQL 17.
    "CASE WHEN current_setting('transaction_timeout', true) <> '' THEN set_config('transaction_timeout', '0', true) END"
)
_HOLDER = text(
    "SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds "
    "FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (classid::bigint << 32) | objid::bigint = :number"
)


# The same for this side's.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


def number_of(name: str) -> int:
    """The number of the advisory lock of this name, the same in every process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8, person=b"uno.lock").digest(), signed=True)


class Locks:
    """The locks of a database, each with a connection of its own.

    At most half of the pool's connections hold locks: what is done under them needs some, too. Who would be one too
    many waits as long as for a connection.
    """

    joins = False

    def __init__(self, database: "Database") -> None:
        self._database = database
        self._room: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        self._held: set[_Own] = set()

    @property
    def key(self) -> Hashable:
        return self._database

    def check(self) -> None:
        """Raises `Misconfigured` where there are no such locks."""
        if self._database.backend != "postgresql":
            raise Misconfigured(
                'A lock with scope="database" needs PostgreSQL, and this is SQLite: use scope="process", or write in a '
                "transaction, of which SQLite has one at a time."
            )
        if self._database.read_only:
            raise Misconfigured("A replica has locks of its own, which others do not see: use the primary's Database.")

    async def take(self, name: str, seconds: float | None, lost: Callable[[], None]) -> Held:
        """See `uno.aio.database_lock.Place`."""
        room = await self._enter()
        try:
            own = await _Own(self._database, lost).begin(number_of(name), seconds)
        except BaseException:
            room.release()
            raise
        self._held.add(own)
        own.ending.add_done_callback(lambda _: self._held.discard(own))
        own.ending.add_done_callback(lambda _: room.release())
        return own

    async def close(self) -> None:
        """End those that are held, as the connections do; who has one is told that it is lost."""
        for own in list(self._held):
            own.lose()
            await own.release()

    async def _enter(self) -> asyncio.Semaphore:
        loop, settings = asyncio.get_running_loop(), self._database.settings
        most = max(1, (settings.pool_size + settings.max_overflow) // 2)
        if self._room is None or self._room[0] is not loop:
            self._room = loop, asyncio.Semaphore(most)
        room = self._room[1]
        try:
            async with clock.timeout(settings.acquire_timeout):
                await room.acquire()
        except TimeoutError as error:
            raise Unavailable(
                f"Locks hold {most} connections, half of those there may be; more need a larger UNO_DB_POOL_SIZE."
            ) from error
        return room


class _Own:
    """A lock with a transaction of its own."""

    def __init__(self, database: "Database", lost: Callable[[], None]) -> None:
        # Without guards it only reads; it is meant to be held open.
        self._transaction = Transaction(database.engine, None)
        self._lost = lost
        self._driver: Any = None
        self._is_released = False
        # Done once it is given back.
        self.ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def begin(self, number: int, seconds: float | None) -> "_Own":
        await self._transaction.begin()
        try:
            await self._transaction.execute(_PATIENT)
            await _take(self._transaction, number, seconds)
            self._driver = (await self._transaction.connection.get_raw_connection()).driver_connection
            self._driver.add_termination_listener(self._terminated)
            _keep_alive(self._driver)
        except BaseException:
            await self._transaction.close()
            raise
        return self

    def _terminated(self, _driver: object) -> None:
        self.lose()

    def lose(self) -> None:
        if not self._is_released:
            self._lost()

    async def release(self) -> None:
        if self._is_released:  # the database is closed meanwhile
            await asyncio.shield(self.ending)
            return
        self._is_released = True
        self._driver.remove_termination_listener(self._terminated)
        try:
            await self._transaction.close()
        finally:
            self.ending.set_result(None)


class _OfUnit:
    """The locks of a unit of work: they are of its transaction, and end with it."""

    joins = True

    def __init__(self, uow: "UnitOfWork") -> None:
        self._uow = uow
        self.key: Hashable = uow.database

    async def take(self, name: str, seconds: float | None, lost: Callable[[], None]) -> Held:
        """See `uno.aio.database_lock.Place`."""
        transaction = await self._uow.transaction()
        await _take(transaction, number_of(name), seconds)
        return _Joined(transaction.lock_ends, lost)


class _Joined:
    """A lock of a transaction, which alone releases it."""

    def __init__(self, ends: Ends, lost: Callable[[], None]) -> None:
        self._ends = ends
        self._lost = lost
        ends.add(lost)

    async def release(self) -> None:
        """Nobody has to be told any more."""
        self._ends.remove(self._lost)


async def _take(transaction: Transaction, number: int, seconds: float | None) -> None:
    """Take it now, or wait for it; after `TimedOut` the transaction can go on."""
    if (await transaction.execute(_TRY, {"number": number})).scalar_one():
        return
    if seconds is None:
        await transaction.execute(_WAIT, {"number": number})
        return
    if seconds > 0 and await _waited(transaction, number, seconds):
        return
    raise TimedOut(await _holder(transaction, number))


async def _waited(transaction: Transaction, number: int, seconds: float) -> bool:
    """Whether it came in time: the server stops the statement, and a savepoint keeps what was before it."""
    savepoint = await transaction.connection.begin_nested()
    try:
        before = (await transaction.execute(_LIMITED)).scalar_one()
        await transaction.execute(_LIMIT, {"milliseconds": str(max(1, round(seconds * 1000)))})
        await transaction.execute(_WAIT, {"number": number})
    except UnoError as error:
        if not _is_lock_timeout(error):
            # Nobody else knows of it: left open it would be taken for a later one.
            with suppress(SQLAlchemyError, UnoError, OSError):
                await savepoint.rollback()
            raise
        transaction.broken = None
        await savepoint.rollback()
        return False
    await transaction.execute(_LIMIT, {"milliseconds": before})
    await savepoint.commit()
    return True


def _is_lock_timeout(error: BaseException) -> bool:
    return any(getattr(one, "sqlstate", None) == "55P03" for one in chain(error))


async def _holder(transaction: Transaction, number: int) -> str:
    """Who has it, of whatever process."""
    row = (await transaction.execute(_HOLDER, {"number": number})).first()
    if row is None:
        return "In the database it has just become free."
    of = f" of {row.application_name!r}" if row.application_name else ""
    return f"In the database the server process {row.pid}{of} has it, in a transaction of {row.seconds or 0.0:.3g} s."


def _keep_alive(driver: Any) -> None:
    """Have this side notice, too, that the other one is cut off."""
    given = driver._transport.get_extra_info("socket")
    if given is None or given.family not in (socket.AF_INET, socket.AF_INET6):
        return
    # Of a twin, as that of uvloop is not a socket in every respect.
    with socket.socket(given.family, fileno=os.dup(given.fileno())) as twin:
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # not on every system
                twin.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def place_of(database: object | None) -> Place:
    """Where a lock of this database is taken: in the unit of work of this task, if it is one of the same database."""
    unit: Any = ambient()
    around = getattr(unit, "database", None)
    wanted = around if database is None else database
    if wanted is None:
        raise Misconfigured(
            'A lock with scope="database" needs a database: AsyncLock(name, scope="database", database=database), or '
            "use it in a unit of work, whose transaction has it then."
        )
    locks = getattr(wanted, "locks", None)
    if not isinstance(locks, Locks):
        raise Misconfigured(f"The database of an AsyncLock is a uno.data.Database, not a {type(wanted).__name__}.")
    locks.check()
    # What only reads may do so somewhere else, where nobody else looks for locks.
    return _OfUnit(unit) if wanted is around and unit.reading is around else locks


database_lock.fill(place_of)
