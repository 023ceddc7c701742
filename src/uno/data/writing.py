"""What a unit of work tracks becomes rows in its explicit transaction, before the commit or for it."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

from uno.data.changes import Operation
from uno.data.lease import Transaction
from uno.data.plan import MappedPlan
from uno.data.tracked import Entry
from uno.data.writer import insert_returning, write_in_order
from uno.errors import Conflict, Invalid

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork

Pairs: TypeAlias = Sequence[tuple[Entry, Operation]]


async def write_tracked(uow: "UnitOfWork", pairs: Pairs) -> None:
    """Write these, in their order."""
    if not pairs:
        return
    uow.writable()
    transaction = await uow.transaction()
    try:
        for complete, run in groupby(pairs, lambda pair: pair[0].complete):
            if complete:
                await _write(uow, transaction, list(run))
            else:
                for entry, operation in run:
                    await _generate(uow, transaction, entry, operation)
    except BaseException as error:
        transaction.fail(error)
        raise


async def _write(uow: "UnitOfWork", transaction: Transaction, pairs: Pairs) -> None:
    refused: list[Operation] = []
    try:
        await write_in_order(transaction, [operation for _, operation in pairs], refused)
    except (Conflict, Invalid):
        uow.rounds.refused = next((entry.entity for entry, operation in pairs if operation in refused), None)
        raise
    for entry, _ in pairs:
        uow.tracked.written(entry)


async def _generate(uow: "UnitOfWork", transaction: Transaction, entry: Entry, operation: Operation) -> None:
    """Insert a row of which the database generates some columns."""
    try:
        row = await insert_returning(transaction, operation)
    except (Conflict, Invalid):
        uow.rounds.refused = entry.entity
        raise
    assert isinstance(entry.plan, MappedPlan)
    entry.plan.take_generated(entry.entity, row)
    entry.next = entry.plan.state(entry.entity)
    uow.tracked.written(entry)


def is_mapped(entry: Entry) -> bool:
    return isinstance(entry.plan, MappedPlan)
