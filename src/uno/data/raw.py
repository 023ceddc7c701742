"""SQL of one's own inside a unit of work."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Result

from uno.data import literal

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork


async def run(uow: "UnitOfWork", given: Any, parameters: literal.Parameters) -> Result[Any]:
    """The result; in the explicit transaction, unless there is none and the statement only reads."""
    uow.check_task()
    statement = literal.statement(given, parameters)
    if literal.writes(statement):
        uow.writable()
    await uow.flush()
    if uow.explicit is None and (uow.reads_only or literal.reads(statement)):
        return await uow.reading.read(statement, parameters)
    transaction = await uow.transaction()
    result: Result[Any] = await transaction.execute(statement, parameters)
    return result
