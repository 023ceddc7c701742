"""At run time the application is not on the path of a message, however many handlers there are."""

import gc
import inspect
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uno.app
from uno.app import App, Module
from uno.bus import command_handler, event_handler, query_handler
from uno.data import Repository
from uno.domain import AggregateRoot
from uno.messages import Command, DomainEvent, Query
from uno.result import Success
from uno.settings import Settings

ROOM = str(Path(inspect.getfile(uno.app)).parent)


class Look(Command[list[str]]):
    pass


def files_on_the_stack() -> list[str]:
    files, frame = [], inspect.currentframe()
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return files


@command_handler(Look)
async def look(message: Look) -> list[str]:
    return files_on_the_stack()


class Sight(AggregateRoot[str]):
    def __init__(self, id: str) -> None:
        super().__init__(id=id)


class SightStored(DomainEvent):
    sight_id: str


class StoreSight(Command[list[str]]):
    sight_id: str


class GetSight(Query[list[str]]):
    sight_id: str


@command_handler(StoreSight)
async def store_sight(command: StoreSight, sights: Repository[Sight]) -> list[str]:
    sight = await sights.add(Sight(command.sight_id))
    sight.register_event(SightStored(sight_id=sight.id))
    return files_on_the_stack()


@query_handler(GetSight)
async def get_sight(query: GetSight, sights: Repository[Sight]) -> list[str]:
    await sights.get(query.sight_id)
    return files_on_the_stack()


noticed: list[list[str]] = []


@event_handler(SightStored)
async def notice(event: SightStored) -> None:
    noticed.append(files_on_the_stack())


def with_database() -> App:
    return App(
        Module("sights", models=[Sight], handlers=[store_sight, get_sight, notice]),
        database="sqlite://",
        settings=Settings(),
    )


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


async def test_no_frame_of_the_application_is_on_the_stack_where_there_is_a_database() -> None:
    noticed.clear()
    async with with_database() as app:
        written = (await app.bus.dispatch(StoreSight(sight_id="one"))).unwrap()
        read = (await app.bus.dispatch(GetSight(sight_id="one"))).unwrap()
    [told] = noticed
    for files in (written, read, told):
        assert any(f.endswith("bus.py") for f in files)
        assert [f for f in files if f.startswith(ROOM)] == []


async def test_nothing_of_the_application_is_called_where_there_is_a_database() -> None:
    async with with_database() as app:
        bus = app.bus

        async def both(sight_id: str) -> None:
            (await bus.dispatch(StoreSight(sight_id=sight_id))).unwrap()
            (await bus.dispatch(GetSight(sight_id=sight_id))).unwrap()

        # Repositories are made once, for the first message that needs one.
        await both("first")
        noticed.clear()
        called = await calls_during(lambda: both("second"))
    assert len(noticed) == 1
    assert any(f.endswith("unit_of_work.py") for f in called)
    assert [f for f in called if f.startswith(ROOM)] == []


async def calls_during(work: Callable[[], Any]) -> set[str]:
    called: set[str] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            called.add(frame.f_code.co_filename)

    before = sys.getprofile()
    gc.disable()  # of which others are told
    sys.setprofile(note)
    try:
        await work()
    finally:
        sys.setprofile(before)
        gc.enable()
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
