"""SQL of one's own inside a unit of work."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Result

from uno.data import literal
from uno.data.failures import refuses_to_write
from uno.errors import Unavailable

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork


async def run(uow: "UnitOfWork", given: Any, parameters: literal.Parameters) -> Result[Any]:
    """The result; in the explicit transaction, unless there is none and the statement only reads."""
    uow.check_task()
    statement = literal.statement(given, parameters)
    if literal.writes(statement):
        uow.writable()
    await uow.flush()
    try:
        return await _run(uow, statement, parameters)
    except Unavailable as error:
        if refuses_to_write(error):
            uow.writable()
        raise


async def _run(uow: "UnitOfWork", statement: Any, parameters: literal.Parameters) -> Result[Any]:
    if uow.explicit is None and literal.reads(statement):
        return await uow.reading.read(statement, parameters)
    if uow.explicit is None and uow.asks:
        return await _refusing(uow, statement, parameters)
    transaction = await uow.transaction()
    result: Result[Any] = await transaction.execute(statement, parameters)
    return result


async def _refusing(uow: "UnitOfWork", statement: Any, parameters: literal.Parameters) -> Result[Any]:
    """What it gives where it only reads: text may call what writes, and only the database knows."""
    reading = await uow.reading.begin(writing=False)
    try:
        result: Result[Any] = await reading.execute(statement, parameters)
        return result.freeze()()
    finally:
        await reading.close()
