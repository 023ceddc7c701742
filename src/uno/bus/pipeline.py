"""The pipeline of one message type, composed once into one callable.

A middleware is `async def middleware(message, call_next)`; it awaits `call_next(message)` for the
`Result`, or gives back another. `per_message(factory)` makes one for each message type, so that
what depends on the type is worked out at start-up.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from uno.bus.promise import WrongResult, classes_of
from uno.errors import UnoError
from uno.messages import Message
from uno.resilience.groups import refusal
from uno.result import Failure, Success

Call: TypeAlias = Callable[[Any], Awaitable[Any]]
CallNext: TypeAlias = Call
Middleware: TypeAlias = Callable[[Any, Call], Awaitable[Any]]
# What is raised that may be an answer.
REFUSALS = (UnoError, ExceptionGroup)


class per_message:
    """Wraps `factory(message_type) -> middleware | None`."""

    def __init__(self, factory: Callable[[type[Message]], Middleware | None]) -> None:
        self.factory = factory

    async def __call__(self, message: Any, call_next: Call) -> Any:
        middleware = self.factory(type(message))
        return await (call_next(message) if middleware is None else middleware(message, call_next))


def as_result(value: Any) -> Any:
    """`value` as a `Result`."""
    return value if value.__class__ is Success or value.__class__ is Failure else Success(value)


def refused(error: Exception) -> Failure:
    """An error of the tree is an answer, also where tasks of a group raised it; a bug is raised again."""
    found = refusal(error)
    if found is None:
        raise error
    return Failure(found)


def _with_result(handler: Call, message_type: type[Any], promised: Any) -> Call:
    """`handler`, whose value is looked at before anything around it, as a transaction, takes it for a success."""
    wanted = classes_of(promised)

    async def call(message: Any) -> Any:
        try:
            found = await handler(message)
        except REFUSALS as error:
            return refused(error)
        if found.__class__ is Failure:
            return found
        value = found.value if found.__class__ is Success else found
        if wanted and value.__class__ is not wanted[0] and not isinstance(value, wanted):
            raise WrongResult(message_type, promised, value)
        return found if found.__class__ is Success else Success(found)

    return call


def _wrap(middleware: Middleware, call_next: Call) -> Call:
    def call(message: Any) -> Awaitable[Any]:
        return middleware(message, call_next)

    return call


def compose(
    handler: Call,
    message_type: type[Any],
    middleware: Sequence[Middleware],
    *,
    settled: bool = False,
    promised: Any = None,
) -> Call:
    """One callable: `middleware`, outermost first, around `handler`.

    A `settled` handler makes a `Failure` of uno's errors itself, and its middleware needs no `Success`.
    What is not as `promised` is a bug; without middleware nothing stands around that could store it.
    """
    made = [m.factory(message_type) if isinstance(m, per_message) else m for m in middleware]
    wrapping = [m for m in made if m is not None]
    # Without middleware the dispatcher itself makes the result.
    call = _with_result(handler, message_type, promised) if wrapping and not settled else handler
    for one in reversed(wrapping):
        call = _wrap(one, call)
    return call
