"""Entities one after another, in memory no more than a batch of them.

PostgreSQL reads them through a server-side cursor, SQLite steps through its own.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncResult

from uno import clock
from uno.data import deadlines
from uno.data.database import Plan
from uno.data.failures import ends_transaction, translate
from uno.data.lease import raise_translated
from uno.data.plan import MappedPlan
from uno.errors import TimedOut

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork

Statement = Callable[[Sequence[Any]], Any]
Stream = AsyncGenerator[Any, None]


async def stream(uow: "UnitOfWork", plan: Plan, statement: Statement, batch: int) -> Stream:
    """The entities that `statement`, given what to select, finds; it holds a connection until it is closed.

    What the unit of work knows already is that object; anything else is not remembered, so nobody compares it at
    the commit: `save` it to store a change.
    """
    uow.check_task()
    await uow.flush()
    rows = _objects if isinstance(plan, MappedPlan) and not plan.fast else _built
    try:
        async with _connection(uow) as connection:
            found = rows(uow, connection, plan, statement, {"yield_per": batch})
            on_server = uow.database.backend == "postgresql" and deadlines.to_wait() is not None
            timed = _in_time(found) if on_server else found
            try:
                async for entity in timed:
                    deadlines.left()
                    yield uow.known(plan, plan.key_of(entity)) or entity
            finally:
                await timed.aclose()
                await found.aclose()
    except Exception as error:  # whoever reads the stream sees it, translated
        if uow.explicit is not None and ends_transaction(error):
            uow.explicit.fail(translate(error) or error)
        raise_translated(error)
        raise


async def _in_time(found: Stream) -> Stream:
    """The same, as long as the deadline is not over."""
    while True:
        try:
            async with clock.timeout(deadlines.left() or 0.0):
                entity = await anext(found)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise TimedOut("The database did not answer before the deadline of the message.") from error
        yield entity


@asynccontextmanager
async def _connection(uow: "UnitOfWork") -> AsyncIterator[AsyncConnection]:
    """That of the explicit transaction, where there is one."""
    if uow.database.in_memory:  # whose one connection everybody else inside the stream needs too
        await uow.transaction()
    if uow.explicit is not None:
        yield uow.explicit.connection
        return
    reading = await uow.reading.begin(writing=False)
    try:
        yield reading.connection
    finally:
        await reading.close()


async def _built(
    _uow: "UnitOfWork", connection: AsyncConnection, plan: Plan, statement: Statement, options: dict[str, Any]
) -> Stream:
    result: AsyncResult[Any] = await connection.stream(statement(plan.columns), execution_options=options)
    try:
        async for row in result:
            yield plan.build(row)
    finally:
        await result.close()


async def _objects(
    uow: "UnitOfWork", connection: AsyncConnection, plan: Plan, statement: Statement, options: dict[str, Any]
) -> Stream:
    """As SQLAlchemy loads them: with what belongs to them, from several tables."""
    session = uow.database.new_session(connection)
    try:
        result = await session.stream_scalars(statement((plan.cls,)), execution_options=options)
        try:
            async for entity in result:
                session.expunge(entity)
                yield entity
        finally:
            await result.close()
    finally:
        session.expunge_all()
