"""The pool, which also knows how many wait, and how long."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import AsyncAdaptedQueuePool
from sqlalchemy.exc import MissingGreenlet

from uno import clock
from uno.aio import resource_manager
from uno.data import deadlines
from uno.settings import DatabaseSettings

if TYPE_CHECKING:
    from uno.data.database import Database


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Connections: `limit` at most, `open` now, `in_use` of them; `waiting` were asked for and not yet given.

    `waited` is how many seconds all callers together have waited until they were given one, or gave up.
    """

    limit: int
    open: int
    in_use: int
    waiting: int
    waited: float = field(default=0.0, compare=False)

    def figures(self) -> dict[str, float]:
        return {"limit": self.limit, "open": self.open, "in_use": self.in_use, "waiting": self.waiting}


class WatchedPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's own, counting those that wait, and their time."""

    waiting = 0
    waited = 0.0

    def connect(self) -> Any:
        self.waiting += 1
        since = clock.monotonic()
        try:
            seconds = deadlines.to_wait()
            return super().connect() if seconds is None else deadlines.in_time(super().connect, seconds)
        finally:
            self.waiting -= 1
            self.waited += clock.monotonic() - since

    def take(self) -> Any:
        """The record of a connection that waits in the pool, None where there is none, or it has to be opened again.

        For leases, which give it back themselves: what SQLAlchemy puts around a connection costs as much as
        a tenth of a short read. Where somebody listens to the pool, it is told as ever.
        """
        if not self.checkedin() or self.dispatch.checkout or self.dispatch.checkin or self._should_log_debug():
            return None
        record: Any = self._do_get()
        usable = False
        try:
            usable = record.get_connection() is not None
        except MissingGreenlet:  # it was thrown away
            return None
        finally:
            if not usable:
                self.discard(record, None)
        return record

    def give_back(self, record: Any) -> None:
        """Put it back."""
        self._do_return_conn(record)

    def discard(self, record: Any, error: BaseException | None) -> None:
        """Put back its place; the connection is thrown away."""
        try:
            record.invalidate(error)
        finally:
            self._do_return_conn(record)

    def use(self, limit: int) -> PoolUse:
        """How it is used now, where there may be `limit` connections."""
        in_use = self.checkedout()
        return PoolUse(limit, in_use + self.checkedin(), in_use, self.waiting, self.waited)


class PostgresPool(WatchedPool):
    """It gives nobody a connection that the server has closed meanwhile, as when it was started anew."""

    def _do_get(self) -> Any:
        record: Any = super()._do_get()
        driver = record.driver_connection
        if driver is not None and driver.is_closed():
            record.dbapi_connection = None  # so that one is opened; nothing of this one is left to be closed
        return record


def _configured() -> "Database | None":
    """The database of UNO_DB_URL; None where there is no such variable."""
    from uno.data.database import Database  # it stands on this file

    settings = DatabaseSettings()
    return None if settings.url is None else Database(settings=settings)


resource_manager.fill(_configured)
