"""The two middleware of the data layer: one unit of work around each message, and its repetition."""

from collections.abc import Awaitable, Callable
from typing import Any

from uno.bus.pipeline import CallNext, Middleware
from uno.bus.unit import ambient
from uno.data.aggregates import contended
from uno.data.unit_of_work import UnitOfWork
from uno.errors import Conflict, Misconfigured, UnoError
from uno.messages import Message, Query
from uno.result import Failure

ATTEMPTS = 3


def transactional(open_unit: Callable[..., UnitOfWork]) -> Callable[[type[Message]], Middleware]:
    """For each message type, the middleware that commits on success and rolls back on `Failure`.

    A nested message joins: its `Failure` marks the whole as not to be written.
    """

    def for_message(message_type: type[Message]) -> Middleware:
        options = {"read_only": True} if issubclass(message_type, Query) else {}

        async def transaction(message: Any, call_next: CallNext) -> Any:
            outer = ambient()
            if isinstance(outer, UnitOfWork):
                return await _joined(outer, message, call_next)
            uow = open_unit(**options)
            token = uow.begin()
            try:
                result = await call_next(message)
                if result.__class__ is Failure:
                    return result
                if isinstance(uow.doomed, UnoError) and not isinstance(uow.doomed, Misconfigured):
                    return Failure(uow.doomed)
                await uow.commit()
            finally:
                await uow.end(token)
            await uow.tell()
            return result

        return transaction

    return for_message


async def _joined(outer: UnitOfWork, message: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
    outer.check_task()
    try:
        with outer.only_reading(isinstance(message, Query)):
            result = await call_next(message)
    except BaseException as error:
        outer.doom(error)
        raise
    if result.__class__ is Failure:
        outer.doom(result.error)
    return result


def repeated(message_type: type[Message]) -> Middleware | None:
    """The middleware that runs a message again whose changes clashed with somebody else's.

    Only where the database rolled everything back: a conflict that the handler itself raised is
    its answer. Queries cannot clash.
    """
    return None if issubclass(message_type, Query) else _repeat


async def _repeat(message: Any, call_next: CallNext) -> Any:
    if ambient() is not None:
        return await call_next(message)
    again = None
    try:
        for _ in range(ATTEMPTS - 1):
            try:
                result = await call_next(message)
            except Conflict as error:
                if not error.repeatable:
                    raise
            else:
                if not (result.__class__ is Failure and _is_repeatable(result.error)):
                    return result
            again = again or contended.set(True)
        return await call_next(message)
    finally:
        if again is not None:
            contended.reset(again)


def _is_repeatable(error: Exception) -> bool:
    return isinstance(error, Conflict) and error.repeatable
