"""LISTEN and NOTIFY, as hints only: a worker that misses one polls.

A NOTIFY inside a transaction takes a lock over the whole server at commit, so it is sent after the
commit, by itself, and at most once in `PAUSE` seconds.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncpg

from uno import clock
from uno.data import Changes, Database
from uno.errors import TimedOut, Unavailable
from uno.messages import DomainEvent
from uno.telemetry.logs import get_logger

CHANNEL = "uno_delivery"
PAUSE = 0.02
RECONNECT = 1.0
log = get_logger("uno.queue")


class Notifier:
    """Tells the workers of other processes that there is something to deliver."""

    def __init__(self, database: Database, is_durable: Callable[[type[DomainEvent]], bool]) -> None:
        self._database = database
        self._is_durable = is_durable
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self.here: list[Callable[[], None]] = []

    async def committed(self, changes: Changes) -> None:
        """After a commit: send the hint, without waiting for it."""
        if not any(self._is_durable(type(event)) for event in changes.events):
            return
        for wake in self.here:
            wake()
        self._again = True
        if self._database.backend == "postgresql" and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._send(), name="uno.notify")

    async def _send(self) -> None:
        while self._again:
            self._again = False
            try:
                async with self._database.lease() as lease:
                    await lease.fetch_text("SELECT pg_notify($1, '')", (CHANNEL,))
            except (Unavailable, TimedOut) as error:
                log.warning("notify failed, workers will poll: %s", error)
            await clock.sleep(PAUSE)

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def listen(database: Database, wake: Callable[[], None]) -> None:
    """Call `wake` for every hint, until cancelled; a lost connection is made again."""
    while True:
        connection = None
        try:
            connection = await asyncpg.connect(database.dsn, timeout=int(database.settings.connect_timeout) or 1)
            gone = asyncio.Event()
            connection.add_termination_listener(lambda *_, gone=gone: gone.set())
            await connection.add_listener(CHANNEL, lambda *_: wake())
            wake()
            await gone.wait()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            log.warning("cannot listen for deliveries, polling instead: %s", error)
        finally:
            if connection is not None:
                connection.terminate()
        await clock.sleep(RECONNECT)
