"""An embedded server that died comes back while a database that uses it is open.

Whoever met the failure gets it; the server is started again behind their backs, for those who come later.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from uno.data.failures import is_lost
from uno.errors import UnoError

if TYPE_CHECKING:  # only those who use it need the server's binaries
    from uno.data.embedded import EmbeddedServer, Lease

PAUSE = 2.0  # seconds between two attempts

_log = logging.getLogger("uno.data")


class Revival:
    """Watches the connections of `engine` to the server of `lease`; `moved` is told of a new server."""

    def __init__(self, lease: "Lease", engine: AsyncEngine, moved: "Callable[[EmbeddedServer], None]") -> None:
        self._lease = lease
        self._engine = engine
        self._moved = moved
        self._attempt: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._closed = False
        event.listen(engine.sync_engine, "do_connect", self._connect)
        event.listen(engine.sync_engine, "invalidate", self._invalidated)

    async def close(self) -> None:
        """Begin no attempt any more, and wait for one that runs."""
        self._closed = True
        if self._attempt is not None and not self._attempt.done():
            await asyncio.wait([self._attempt])

    def _connect(self, dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*arguments, **{**options, "port": self._lease.server.port})
        except BaseException as error:
            # Also given up: another program, which has the port now, may accept and say nothing.
            self._begin(lost=isinstance(error, Exception))
            raise

    def _invalidated(self, _connection: Any, _record: Any, error: BaseException | None) -> None:
        # Without it, every connection of the pool would fail once before a new one is tried.
        if isinstance(error, Exception) and is_lost(error):
            self._begin(lost=True)

    def _begin(self, *, lost: bool) -> None:
        loop = asyncio.get_running_loop()
        running = self._attempt is not None and not self._attempt.done()
        if not (self._closed or running or loop.time() < self._not_before):
            self._attempt = loop.create_task(self._revive(lost=lost))

    async def _revive(self, *, lost: bool) -> None:
        before = self._lease.server
        try:
            if lost:
                await self._engine.dispose()  # before the server is back, or those who come then get dead connections
            server = await asyncio.to_thread(self._lease.revive)
            if server != before:
                self._moved(server)
                await self._engine.dispose()
                _log.warning("embedded PostgreSQL died and was started again")
        except UnoError as error:
            _log.warning("embedded PostgreSQL cannot be started again: %s", error)
        finally:
            self._not_before = asyncio.get_running_loop().time() + PAUSE
