"""The inventory at a glance: counted at most every few seconds, and anew after a change."""

from collections import Counter
from collections.abc import Iterable

from pydantic import Field

from uno.aio import AsyncCache, cache_key
from uno.bus import invalidates, query_handler
from uno.data import Database, Repository, UnitOfWork
from uno.domain import ValueObject
from uno.examples.inventory.packages import (
    Package,
    PackageApproved,
    PackageDiscovered,
    PackageRejected,
    PackageRemoved,
    PackageUpdated,
)
from uno.messages import Query

# Of what another process changes, such as a worker that classifies, nobody here is told.
SECONDS = 5.0
_CHANGES = (PackageDiscovered, PackageUpdated, PackageRemoved, PackageApproved, PackageRejected)


class InventorySummary(ValueObject):
    """How many packages there are, by what was decided about them, and by the class of their licence."""

    packages: int
    by_status: dict[str, int] = Field(examples=[{"pending": 70, "approved": 3}])
    by_licence: dict[str, int] = Field(examples=[{"permissive": 60, "unknown": 13}])


class SummariseInventory(Query[InventorySummary]):
    """How many packages there are, of which kind; up to five seconds old where another process has changed them."""


class Summaries:
    """The last summary. However many ask at once, it is counted once."""

    def __init__(self) -> None:
        self.cache = AsyncCache(ttl=SECONDS, name="inventory.summary")
        self.handlers = [invalidates(event, self.cache) for event in _CHANGES]

    async def get(self, database: Database) -> InventorySummary:
        async def count(_key: str) -> InventorySummary:
            # Its own: what a transaction has not committed gets into no cache.
            async with UnitOfWork(database, read_only=True):
                return _summary(await Repository(Package).find())

        return await self.cache.get(cache_key("summary"), count)


@query_handler(SummariseInventory)
async def summarise_inventory(query: SummariseInventory, summaries: Summaries, database: Database) -> InventorySummary:
    return await summaries.get(database)


def _summary(packages: Iterable[Package]) -> InventorySummary:
    seen = list(packages)
    statuses = Counter(package.status.value for package in seen)
    licences = Counter(package.licence.value if package.licence else "unclassified" for package in seen)
    return InventorySummary(packages=len(seen), by_status=statuses, by_licence=licences)
