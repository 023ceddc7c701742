"""What the bus costs over calling the handler by hand, and what other buses cost."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from statistics import median
from typing import Any

import dishka
from pydantic import create_model

from benchmarks import peers
from benchmarks.measure import Line, Section, in_turns, main, ratio, repeated
from uno.app import App, Module
from uno.bus import Bus, command_handler
from uno.di import ServiceProvider, scoped
from uno.messages import Command
from uno.settings import Settings

TIMES = 20_000
PEER_TIMES = 2_000
SCOPED_TIMES = 5_000

Loop = Callable[[int], Awaitable[None]]


class Ask(Command[int]):
    number: int
    text: str


@command_handler(Ask)
async def answer(message: Ask) -> int:
    return message.number


class AskScoped(Ask):
    """Its handler has a scoped dependency."""


class AskClosed(Ask):
    """Its handler has one that has to be closed."""


@scoped
class Service:
    pass


class Resource:
    pass


@scoped
async def resource() -> AsyncIterator[Resource]:
    yield Resource()


@command_handler(AskScoped)
async def answer_scoped(message: AskScoped, service: Service) -> int:
    return message.number


@command_handler(AskClosed)
async def answer_closed(message: AskClosed, resource: Resource) -> int:
    return message.number


def others(count: int) -> list[Any]:
    """`count` handlers, each of a message of its own."""
    return [_handler(create_model(f"Ask{n}", __base__=Command, number=(int, ...))) for n in range(count)]


def _handler(message: Any) -> Any:
    @command_handler(message)
    async def handle(message: Any) -> int:
        return message.number  # type: ignore[no-any-return]

    handle.__qualname__ = f"handle_{message.__name__}"
    return handle


async def by_hand(times: int) -> None:
    handlers = {Ask: answer}
    for number in range(times):
        message = Ask(number=number, text="text")
        await handlers[message.__class__](message)


def through(bus: Bus, message: type[Ask] = Ask) -> Loop:
    async def loop(times: int) -> None:
        for number in range(times):
            await bus.dispatch(message(number=number, text="text"))

    return loop


def dishka_scope(wanted: type, scopes: Any = dishka.Scope, scope: Any = dishka.Scope.REQUEST) -> Loop:
    """dishka alone: enter a scope, get the service, leave it."""
    provider = dishka.Provider()
    provider.provide(Service, scope=scope)
    provider.provide(resource, scope=scope)
    container = dishka.make_async_container(provider, scopes=scopes)

    async def loop(times: int) -> None:
        for _ in range(times):
            async with container() as inner:
                await inner.get(wanted)

    return loop


class TwoScopes(dishka.BaseScope):
    """The two levels uno has."""

    APP = dishka.new_scope("APP")
    MESSAGE = dishka.new_scope("MESSAGE")


async def overhead(bare: Bus, app: App, rounds: int) -> list[Line]:
    """The bus against the handler by hand, in one run with the others."""
    figures = await in_turns(
        rounds,
        {
            "by hand": repeated(TIMES, by_hand),
            "bare": repeated(TIMES, through(bare)),
            "default": repeated(TIMES, through(app.bus)),
            "mediatr": repeated(PEER_TIMES, peers.mediatr),
            "python-cqrs": repeated(PEER_TIMES, peers.python_cqrs()),
            "lato": repeated(PEER_TIMES, peers.lato()),
        },
    )
    note = {name: f"{median(found):.2f} µs" for name, found in figures.items()}
    return [
        Line("construct, look up, await handler", median(figures["by hand"]), "µs"),
        Line("uno, no middleware", ratio(figures, "bare", "by hand"), limit=1.8, note=note["bare"]),
        Line("uno, default pipeline", ratio(figures, "default", "by hand"), limit=4.0, note=note["default"]),
        *(Line(name, ratio(figures, name, "by hand"), note=note[name]) for name in ("mediatr", "python-cqrs", "lato")),
    ]


async def crowd(app: App, rounds: int) -> Line:
    """One message among 300 handlers, through the same pipeline."""
    crowded = App(Module("crowd", handlers=[answer, *others(299)]), settings=Settings())
    async with crowded:
        variants = {"one": repeated(TIMES, through(app.bus)), "crowd": repeated(TIMES, through(crowded.bus))}
        figures = await in_turns(max(rounds, 9), variants)
    more = (ratio(figures, "crowd", "one") - 1) * 100
    return Line("300 handlers instead of 1, default pipeline", more, "%", limit=10.0)


async def scopes(rounds: int) -> Sequence[Line]:
    """What a scoped dependency adds, against dishka's own scope."""
    bus = Bus([answer, answer_scoped, answer_closed], provider=ServiceProvider([Service, resource]))
    await bus.start()
    loops = {
        "without": through(bus),
        "scoped": through(bus, AskScoped),
        "closed": through(bus, AskClosed),
        "dishka": dishka_scope(Service),
        "dishka, two scopes": dishka_scope(Service, TwoScopes, TwoScopes.MESSAGE),
        "dishka, closed": dishka_scope(Resource),
    }
    figures = await in_turns(3 * rounds, {name: repeated(SCOPED_TIMES, loop) for name, loop in loops.items()})
    for name in ("scoped", "closed"):
        figures[name] = [a - b for a, b in zip(figures[name], figures["without"], strict=True)]
    note = {name: f"{median(found):.2f} µs" for name, found in figures.items()}
    return [
        Line("dishka: enter scope, get, leave", median(figures["dishka"]), "µs", note="its six scopes"),
        Line("the same with two scopes", median(figures["dishka, two scopes"]), "µs", note="as uno configures it"),
        Line("a scoped dependency adds", ratio(figures, "scoped", "dishka"), limit=1.0, note=note["scoped"]),
        Line("dishka: the same with an async generator", median(figures["dishka, closed"]), "µs"),
        Line("a scoped async generator adds", ratio(figures, "closed", "dishka, closed"), note=note["closed"]),
    ]


async def measure(rounds: int) -> Section:
    bare = Bus([answer])
    await bare.start()
    app = App(Module("bench", handlers=[answer]), settings=Settings())
    async with app:
        lines = [*await overhead(bare, app, rounds), await crowd(app, rounds), *await scopes(rounds)]
    return Section("bus: CPU time of one message", lines)


if __name__ == "__main__":
    main(measure, rounds=9)
