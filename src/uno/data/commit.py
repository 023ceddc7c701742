"""The commit: one statement where possible, an explicit transaction otherwise, never half.

It runs in a task of its own with its own time limit. A cancelled caller waits for it and gets the
cancellation once the outcome is known.
"""

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from uno import context, sync
from uno.data import capture, deadlines
from uno.data.changes import Operation
from uno.data.failures import is_lost
from uno.data.tracked import is_beside
from uno.data.unfit import raise_named
from uno.data.values import WRONG
from uno.data.writer import Writer, write_in_order
from uno.errors import Invalid, Misconfigured, OutcomeUnknown

if TYPE_CHECKING:
    from uno.data.tracked import Entry
    from uno.data.unit_of_work import UnitOfWork


async def commit(uow: "UnitOfWork") -> None:
    """Write everything the unit of work changed, or nothing."""
    if uow.direct is not None:
        if not uow.untouched:
            raise Misconfigured("Something else is to be written in a unit of work whose commit is one statement.")
        deadlines.left()
        await deadlines.run_commit(_in_time(uow, uow.direct.run(uow)))
        uow.direct = None
        return None
    if uow.explicit is not None:
        deadlines.left()
        return await deadlines.run_commit(_limited(uow, _in_a_transaction(uow)))
    pairs = uow.tracked.operations()
    if all(is_beside(*pair) for pair in pairs) and not uow.fenced and not uow.has_events():
        return None
    if pairs:
        uow.writable()
    deadlines.left()  # nothing is begun after it
    restricted = await uow.database.restricted_tables()
    writer = _writer(uow, pairs, restricted)
    if writer is None:
        return await deadlines.run_commit(_limited(uow, _in_a_transaction(uow)))
    changes = uow.collect()
    operations = [*(operation for _, operation in pairs), *uow.book_rows(changes)]
    if operations:
        await deadlines.run_commit(_limited(uow, _in_one_statement(uow, writer, operations, changes.context)))
        for entry, _ in pairs:
            uow.tracked.written(entry)


def _writer(
    uow: "UnitOfWork", pairs: Sequence[tuple["Entry", Operation]], restricted: Collection[str]
) -> Writer | None:
    """What writes it in one statement, None where that cannot be."""
    writer = uow.database.writer
    if uow.database.tenants.has(*(book.table for book in uow.books)):
        return None
    if writer is None or uow.database.commit != "auto" or not all(entry.complete for entry, _ in pairs):
        return None
    return writer if writer.possible([operation for _, operation in pairs], restricted) else None


async def _limited(uow: "UnitOfWork", work: Coroutine[Any, Any, None]) -> None:
    """The unit of work is used by this task meanwhile."""
    if sync.without_loop():  # SQLite's own limit holds
        return await work
    caller = uow.run_by(asyncio.current_task())
    try:
        await _in_time(uow, work)
    finally:
        uow.run_by(caller)


async def _in_time(uow: "UnitOfWork", work: Coroutine[Any, Any, None]) -> None:
    await deadlines.confirmed(work, uow.database.settings.commit_timeout)
    uow.stored = True


async def _in_a_transaction(uow: "UnitOfWork") -> None:
    if uow.asks:
        return await _events_of_a_query(uow)
    transaction = uow.explicit or await uow.transaction()
    if uow.database.captured and (context.get() is not None or transaction.said is None):
        await capture.say(transaction, context.current())
    await uow.write()
    await write_in_order(transaction, uow.book_rows(uow.collect()))
    await transaction.commit()


async def _events_of_a_query(uow: "UnitOfWork") -> None:
    """Its own transaction cannot write what it publishes; nothing else may be there."""
    await uow.write()
    rows = uow.book_rows(uow.collect())
    await uow.close()
    if rows:
        async with uow.database.transaction() as transaction:
            await write_in_order(transaction, rows)


async def _in_one_statement(
    uow: "UnitOfWork", writer: Writer, operations: Sequence[Operation], by: context.Context
) -> None:
    captured = uow.database.captured
    said = capture.setting(by) if any(one.table.fullname in captured for one in operations) else None
    try:
        statement = writer.one_statement(operations, said)
        rows = await run_statement(uow, statement.sql, statement.arguments)
    except (Invalid, *WRONG) as error:
        raise_named(error, operations, uow.database.dialect)
        raise
    statement.check(rows)


async def run_statement(uow: "UnitOfWork", sql: str, arguments: Sequence[Any]) -> Sequence[Any]:
    """The rows of the one statement that is the commit."""
    async with uow.database.lease() as lease:
        try:
            return await lease.fetch_text(sql, arguments)
        except Exception as error:  # whoever commits sees it, translated by the lease
            if is_lost(error):
                raise OutcomeUnknown("The connection was lost during the commit.") from error
            raise
