"""At run time the application is not on the path of a message, however many handlers there are."""

import inspect
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uno.app
from uno.app import App, Module
from uno.bus import command_handler
from uno.messages import Command
from uno.result import Success

ROOM = str(Path(inspect.getfile(uno.app)).parent)


class Look(Command[list[str]]):
    pass


@command_handler(Look)
async def look(message: Look) -> list[str]:
    """The files on the stack while a message is handled."""
    files, frame = [], inspect.currentframe()
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return files


def test_the_room_is_where_this_test_believes_it_is() -> None:
    assert Path(ROOM, "wiring.py").is_file()


async def test_no_frame_of_the_application_is_on_the_stack_of_a_handler() -> None:
    async with App(Module("shop", handlers=[look])) as app:
        files = (await app.bus.dispatch(Look())).unwrap()
    assert any(f.endswith("bus.py") for f in files)
    assert [f for f in files if f.startswith(ROOM)] == []


async def test_nothing_of_the_application_is_called_while_a_message_is_dispatched() -> None:
    async with App(Module("shop", handlers=[look])) as app:
        bus = app.bus
        called = await calls_during(lambda: bus.dispatch(Look()))
    assert any(f.endswith("observe.py") for f in called)
    assert [f for f in called if f.startswith(ROOM)] == []


async def calls_during(work: Callable[[], Any]) -> set[str]:
    called: set[str] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            called.add(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        await work()
    finally:
        sys.setprofile(before)
    return called


def numbered(n: int) -> tuple[type[Command[int]], Any]:
    message = type(f"Count{n}", (Command,), {"__module__": __name__})

    async def count(message: Any) -> int:
        return n

    return message, command_handler(message)(count)


def shape(call: Any) -> Any:
    """Which code a pipeline is made of, from the outside in."""
    cells = [cell.cell_contents for cell in getattr(call, "__closure__", None) or ()]
    return (call.__qualname__, [shape(inner) for inner in cells if inspect.isfunction(inner)])


async def test_three_hundred_handlers_have_the_same_pipeline_as_one() -> None:
    made = [numbered(n) for n in range(300)]
    async with (
        App(Module("one", handlers=[made[0][1]])) as alone,
        App(Module("all", handlers=[handler for _, handler in made])) as together,
    ):
        assert await together.bus.dispatch(made[299][0]()) == Success(299)
        expected = await calls_during(partial(alone.bus.dispatch, made[0][0]()))
        for n in (0, 150, 299):
            assert await calls_during(partial(together.bus.dispatch, made[n][0]())) == expected
        shapes = [str(shape(call)) for call in together.bus._calls.values()]
    assert len(shapes) == 300
    assert len(set(shapes)) == 1
    assert shapes[0] == str(shape(next(iter(alone.bus._calls.values()))))
