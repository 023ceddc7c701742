"""The ledgers of what is written many rows at a time: by one statement where a book can, else by its rows."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uno import clock, context
from uno.data.changes import Book, Change, Changes, Operation, SetBook
from uno.data.lease import Transaction
from uno.data.plan import MappedPlan
from uno.data.writer import write_in_order
from uno.domain.aggregate import numbered_events

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Books:
    """Those that write their rows in SQL, and those that make them of `Changes`."""

    in_sql: tuple[SetBook, ...]
    of_changes: tuple[Book, ...]
    captured: Collection[str]


def books_for(uow: "UnitOfWork", plan: MappedPlan) -> Books:
    if uow.database.backend != "postgresql":
        return Books((), tuple(uow.books), ())
    columns = [a.column for a in plan.attributes if a.name in plan.state_names]
    key = [a.column for a in plan.attributes if a.name in plan.key_names]
    in_sql = [book for book in uow.books if isinstance(book, SetBook) and book.selects(columns, key)]
    others = tuple(book for book in uow.books if book not in in_sql)
    return Books(tuple(in_sql), others, uow.database.captured)


async def enter(
    transaction: Transaction, books: Iterable[Book], changes: Iterable[Change], captured: Collection[str]
) -> None:
    """Write the rows of `books`, now."""
    found = Changes(tuple(changes), (), context.current(), clock.now(), captured)
    if found.changes:
        rows = [(book.table, row) for book in books for row in book.rows(found)]
        await write_in_order(transaction, [Operation("insert", t, t.name, {}, row, {}) for t, row in rows])


async def enter_so_far(uow: "UnitOfWork", plan: MappedPlan) -> None:
    """Enter what objects of this class became until now, so that the ledgers keep the order of what happened."""
    entries = uow.tracked.of_plan(plan)
    for entry in entries if plan.has_events else ():
        if entry.status == "deleted" and entry.original is not None:
            uow.take_events(numbered_events(entry.entity))
    changes = uow.tracked.account(entries)
    if changes:
        await enter(await uow.transaction(), uow.books, changes, uow.database.captured)
