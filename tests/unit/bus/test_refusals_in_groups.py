"""What tasks of a group refuse is refused, as if the handler had done so itself."""

from collections.abc import Callable
from typing import Any

import pytest

from uno.aio import TaskGroup
from uno.bus import Bus
from uno.bus.registry import command_handler, event_handler
from uno.errors import Conflict, Misconfigured, NotFound
from uno.messages import Command, DomainEvent, Envelope
from uno.result import Failure


class Import(Command[None]):
    errors: list[str] = []


class Imported(DomainEvent):
    pass


ERRORS: dict[str, Callable[[], Exception]] = {
    "conflict": lambda: Conflict("taken"),
    "not found": lambda: NotFound("Order", 7),
    "bug": ZeroDivisionError,
    "wrong": lambda: Misconfigured("wrong"),
}


async def refuse(error: str) -> None:
    raise ERRORS[error]()


@command_handler(Import)
async def load(command: Import) -> None:
    async with TaskGroup(on_error="collect") as group:
        for error in command.errors:
            group.create_task(refuse(error))


@event_handler(Imported, durable=True, name="tell")
async def tell(_event: Imported) -> None:
    async with TaskGroup():
        raise Conflict("told already")


async def passing(message: Any, call_next: Callable[[Any], Any]) -> Any:
    return await call_next(message)


async def grouping(message: Any, call_next: Callable[[Any], Any]) -> Any:
    async with TaskGroup() as group:
        task = group.create_task(call_next(message))
    return task.result()


@pytest.mark.parametrize("middleware", [[], [passing], [grouping]])
async def test_a_group_of_refusals_is_the_failure_that_came_first(middleware: list[Any]) -> None:
    result = await Bus([load], middleware=middleware).dispatch(Import(errors=["conflict", "not found"]))
    assert isinstance(result, Failure)
    assert repr(result.error) == "Conflict('taken')"
    assert isinstance(result.error.__cause__, ExceptionGroup)
    assert [type(error) for error in result.error.__cause__.exceptions] == [Conflict, NotFound]


@pytest.mark.parametrize("bug", ["bug", "wrong"])
@pytest.mark.parametrize("middleware", [[], [passing]])
async def test_a_group_with_a_bug_in_it_is_raised(middleware: list[Any], bug: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await Bus([load], middleware=middleware).dispatch(Import(errors=["conflict", bug]))
    assert len(caught.value.exceptions) == 2


async def test_a_durable_subscriber_that_refuses_in_a_group_fails_as_without() -> None:
    bus = Bus([tell], open_unit=lambda: pytest.fail("no unit"))
    result = await bus.deliver(Envelope(Imported(), "tell"))
    assert repr(result.error) == "Conflict('told already')"  # type: ignore[union-attr]
