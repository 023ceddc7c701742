"""The two middleware of the data layer: one unit of work around each message, and its repetition."""

from collections.abc import Awaitable, Callable
from typing import Any

from uno.bus.idempotency import current_key
from uno.bus.pipeline import CallNext, Middleware
from uno.bus.unit import ambient
from uno.data.aggregates import contended
from uno.data.telling import tell_the_rest
from uno.data.unit_of_work import UnitOfWork
from uno.errors import Conflict, Misconfigured, OutcomeUnknown, UnoError
from uno.messages import Message, Query
from uno.result import Failure

ATTEMPTS = 3


def transactional(open_unit: Callable[..., UnitOfWork]) -> Callable[[type[Message]], Middleware]:
    """For each message type, the middleware that commits on success and rolls back on `Failure`.

    A nested message joins: its `Failure` marks the whole as not to be written.
    """

    def for_message(message_type: type[Message]) -> Middleware:
        options = {"read_only": True} if issubclass(message_type, Query) else {}

        # Not async: what it gives back is awaited, without a coroutine in between.
        def transaction(message: Any, call_next: CallNext) -> Awaitable[Any]:
            outer = ambient()
            if isinstance(outer, UnitOfWork):
                return _joined(outer, message, call_next)
            return in_unit(open_unit(**options), message, call_next)

        return transaction

    return for_message


async def in_unit(uow: UnitOfWork, message: Any, call_next: CallNext) -> Any:
    """Commit what `call_next` does, unless it fails."""
    token = uow.begin()
    try:
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
    finally:
        tell_the_rest(uow)
    return result


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
    its answer. With an idempotency key also where the outcome of the commit is not known. Queries cannot clash.
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
            except (Conflict, OutcomeUnknown) as error:
                if not _may_repeat(error):
                    raise
            else:
                if not (result.__class__ is Failure and _is_clash(result.error)):
                    return result
            again = again or contended.set(True)
        return await call_next(message)
    finally:
        if again is not None:
            contended.reset(again)


def _is_clash(error: Exception) -> bool:
    return isinstance(error, Conflict) and error.repeatable


def _may_repeat(error: Conflict | OutcomeUnknown) -> bool:
    """What was rolled back; and a commit that may have happened, where the row of an idempotency key tells."""
    return error.repeatable if isinstance(error, Conflict) else current_key.get() is not None
