"""What a message promises, as classes that a result can be compared with."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, NewType, Protocol, TypedDict, TypeVar

import pytest
from pydantic import BaseModel

from uno.bus import Bus, command_handler
from uno.bus.promise import WrongResult, classes_of
from uno.messages import Command
from uno.result import Success

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T] = []


class Shape(Protocol):
    x: int


class Row(TypedDict):
    x: int


@pytest.mark.parametrize(
    ("promised", "value", "fits"),
    [
        (int, "a", False),
        (int, True, True),
        (float, 1, True),
        (float, "1", False),
        (int | None, None, True),
        (int | str, 1.5, False),
        (list[int], [1], True),
        (list[int], (1,), False),
        (Sequence[int], (1,), True),
        (Annotated[int, "x"], "a", False),
        (Page[int], Page(items=[1]), True),
        (Page[int], Page[int](items=[1]), True),
        (Page[int], [1], False),
        (list[int], None, False),
        (type(None), None, True),
        (type(None), 1, False),
        *[(anything, "a", True) for anything in (Any, object, None, Shape, Row, Literal["b"], NewType("Id", int))],
        (int | Any, "a", True),
    ],
)
async def test_a_result_is_compared_with_what_is_certain(promised: Any, value: Any, fits: bool) -> None:
    assert (not (wanted := classes_of(promised)) or isinstance(value, wanted)) is fits


class Count(Command["Page[int]"]):
    pass


async def test_what_stands_around_a_handler_never_sees_what_was_not_promised() -> None:
    @command_handler(Count)
    async def count(message: Count) -> Any:
        return answers.pop()

    async def watch(message: Any, call_next: Any) -> Any:
        found = await call_next(message)
        seen.append(found)
        return found

    answers, seen = [Success("one"), "two", Page()], list[Any]()
    bus = Bus([count], middleware=[watch])
    assert await bus.dispatch(Count()) == Success(Page())
    for said in ("str", "str"):
        with pytest.raises(WrongResult, match=rf"Count returned {said}, but the message promises Page\[int\]"):
            await bus.dispatch(Count())
    assert seen == [Success(Page())]
