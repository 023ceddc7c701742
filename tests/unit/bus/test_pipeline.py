"""The pipeline: middleware in order, per message and per type, composed before the first message."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from uno.bus import Bus, Middleware, command_handler, event_handler, per_message, query_handler
from uno.errors import Conflict, Forbidden, Unavailable
from uno.messages import Command, DomainEvent, Message, Query
from uno.result import Failure, Success

Next = Callable[[Any], Awaitable[Any]]


class Buy(Command[str]):
    how: str = "well"


class Look(Query[str]):
    pass


class Bought(DomainEvent):
    pass


class Path:
    """What passed by, in order."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def noting(self, name: str) -> Middleware:
        async def note(message: Any, call_next: Next) -> Any:
            self.steps.append(f"{name}>")
            try:
                return await call_next(message)
            finally:
                self.steps.append(f"<{name}")

        return note


@query_handler(Look)
async def look(message: Look) -> str:
    return "nice"


def buying(path: Path, *middleware: Middleware) -> Any:
    @command_handler(Buy, middleware=middleware)
    async def buy(message: Buy) -> str:
        path.steps.append("handler")
        if message.how == "badly":
            raise Conflict("sold out")
        return message.how

    return buy


async def test_the_first_middleware_is_the_outermost_and_the_handlers_own_the_innermost() -> None:
    path = Path()
    buy = buying(path, path.noting("c"), path.noting("d"))
    bus = Bus([buy, look], middleware=[path.noting("a"), path.noting("b")])
    assert await bus.dispatch(Buy()) == Success("well")
    assert path.steps == ["a>", "b>", "c>", "d>", "handler", "<d", "<c", "<b", "<a"]
    path.steps.clear()
    assert await bus.dispatch(Look()) == Success("nice")
    assert path.steps == ["a>", "b>", "<b", "<a"]


async def test_a_subscriber_runs_through_the_same_pipeline() -> None:
    path = Path()

    @event_handler(Bought, middleware=[path.noting("own")])
    async def note(event: Bought) -> None:
        path.steps.append("subscriber")

    await Bus([note], middleware=[path.noting("all")]).publish(Bought())
    assert path.steps == ["all>", "own>", "subscriber", "<own", "<all"]


async def test_a_middleware_sees_a_result_whatever_the_handler_did() -> None:
    seen: list[Any] = []

    async def see(message: Any, call_next: Next) -> Any:
        seen.append(await call_next(message))
        return seen[-1]

    bus = Bus([buying(Path())], middleware=[see])
    await bus.dispatch(Buy())
    await bus.dispatch(Buy(how="badly"))
    assert seen[0] == Success("well")
    assert isinstance(seen[1], Failure)
    assert isinstance(seen[1].error, Conflict)


@pytest.mark.parametrize("answer", ["early", Success("early")])
async def test_a_middleware_may_answer_itself(answer: Any) -> None:
    path = Path()

    async def early(message: Any, call_next: Next) -> Any:
        return answer

    bus = Bus([buying(path)], middleware=[path.noting("a"), early])
    assert await bus.dispatch(Buy()) == Success("early")
    assert path.steps == ["a>", "<a"]


async def test_a_middleware_may_refuse_by_raising() -> None:
    async def refuse(message: Any, call_next: Next) -> Any:
        raise Forbidden("not you")

    path = Path()
    result = await Bus([buying(path)], middleware=[path.noting("a"), refuse]).dispatch(Buy())
    assert isinstance(result.error, Forbidden)
    assert path.steps == ["a>", "<a"]


async def test_a_middleware_may_change_message_and_result() -> None:
    async def change(message: Buy, call_next: Next) -> Any:
        result = await call_next(message.model_copy(update={"how": "twice"}))
        return result.map(str.upper)

    assert await Bus([buying(Path())], middleware=[change]).dispatch(Buy()) == Success("TWICE")


async def test_a_middleware_may_call_the_rest_again() -> None:
    tries: list[int] = []

    @command_handler(Buy)
    async def buy(message: Buy) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise Unavailable("busy")
        return "at last"

    async def retry(message: Any, call_next: Next) -> Any:
        result = await call_next(message)
        while result.is_failure:
            result = await call_next(message)
        return result

    assert await Bus([buy], middleware=[retry]).dispatch(Buy()) == Success("at last")


async def test_a_factory_makes_one_middleware_per_type_before_the_first_message() -> None:
    made: list[type[Message]] = []
    path = Path()

    def factory(message_type: type[Message]) -> Middleware | None:
        made.append(message_type)
        return path.noting(message_type.__name__) if message_type is Buy else None

    bus = Bus([buying(path), look], middleware=[per_message(factory)])
    await bus.start()
    assert made == [Buy, Look]
    for _ in range(3):
        await bus.dispatch(Buy())
        await bus.dispatch(Look())
    assert made == [Buy, Look]
    assert path.steps == ["Buy>", "handler", "<Buy"] * 3


async def test_a_factory_works_inside_another_middleware_too() -> None:
    path = Path()
    inner = per_message(lambda message_type: path.noting("x") if message_type is Buy else None)

    async def outer(message: Any, call_next: Next) -> Any:
        return await inner(message, call_next)

    bus = Bus([buying(path), look], middleware=[outer])
    assert await bus.dispatch(Buy()) == Success("well")
    assert await bus.dispatch(Look()) == Success("nice")
    assert path.steps == ["x>", "handler", "<x"]
