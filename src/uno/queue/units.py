"""The units of work of an application: what they write beside the changes, and whom they tell afterwards."""

from collections.abc import Sequence

from uno.bus import Bus
from uno.data import Changes, Database, UnitOfWork
from uno.data.changes import Book
from uno.queue.fence import attach, passed
from uno.queue.hint import Notifier
from uno.queue.outbox import DeliveryBook


class Units:
    """Opens units of work over `database`; `connect` it to the bus before the first."""

    def __init__(self, database: Database, books: Sequence[Book] = ()) -> None:
        self.database = database
        self.notifier = Notifier(database, self._is_durable)
        self._books = (*books, DeliveryBook(self._durable_subscribers))
        # The delivery in hand ends with the commit; what subscribers do afterwards is not part of it.
        self._after = (passed, self.notifier.committed, self._tell)

    def connect(self, bus: Bus) -> None:
        self._bus = bus
        self.database.furnish = self._furnish

    def open(self, *, read_only: bool = False) -> UnitOfWork:
        """A unit of work; in a worker it completes the delivery in hand."""
        return UnitOfWork(self.database, read_only=read_only)

    def _furnish(self, uow: UnitOfWork) -> None:
        uow.books, uow.after = self._books, self._after
        attach(uow)

    def _durable_subscribers(self, event: type) -> tuple[str, ...]:
        return self._bus.durable_subscribers(event)

    def _is_durable(self, event: type) -> bool:
        return bool(self._bus.durable_subscribers(event))

    async def _tell(self, changes: Changes) -> None:
        if changes.events:
            await self._bus.notify(changes.events)
