"""The pool, which also knows how many wait."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import AsyncAdaptedQueuePool


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Connections: `limit` at most, `open` now, `in_use` of them; `waiting` were asked for and not yet given."""

    limit: int
    open: int
    in_use: int
    waiting: int

    def figures(self) -> dict[str, float]:
        return {"limit": self.limit, "open": self.open, "in_use": self.in_use, "waiting": self.waiting}


class WatchedPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's own, counting those that wait."""

    waiting = 0

    def connect(self) -> Any:
        self.waiting += 1
        try:
            return super().connect()
        finally:
            self.waiting -= 1

    def use(self, limit: int) -> PoolUse:
        """How it is used now, where there may be `limit` connections."""
        in_use = self.checkedout()
        return PoolUse(limit, in_use + self.checkedin(), in_use, self.waiting)
