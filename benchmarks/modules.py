"""What the host of modules costs over calling the handler by hand."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.measure import Line, Section, in_turns, main, ratio, repeated
from uno.modules import Event, EventInput, EventOutput, Module, ModuleHost, ModuleHostConfig, handles
from uno.resilience import CircuitBreaker, RateLimiter, RetryPolicy

TIMES = 20_000


@dataclass
class AskInput(EventInput):
    number: int = 0
    text: str = ""


@dataclass
class AskOutput(EventOutput):
    number: int = 0


class Ask(Event[AskInput, AskOutput]):
    name = "bench.ask"


class Answering(Module):
    @handles(Ask, inline=True)
    def answer(self, input: AskInput) -> AskOutput:
        return AskOutput(input.number)


class Asked(Module):
    """Declares nothing, so it has to be asked."""

    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, Ask)

    def handle(self, event: Event[Any, Any]) -> None:
        event.output = AskOutput(event.input.number)
        event.handled = True


def other(number: int) -> Module:
    """A module that declares an event of its own."""
    event: Any = type(f"Ask{number}", (Event,), {"name": f"bench.ask{number}"})

    class Other(Module):
        @handles(event)
        def answer(self, input: Any) -> Any: ...

    return Other()


def everything() -> ModuleHostConfig:
    return ModuleHostConfig(
        enable_metrics=True,
        enable_tracing=True,
        rate_limiter=RateLimiter(rate=1e9, burst=1_000_000_000),
        circuit_breaker=CircuitBreaker(),
        retry_policy=RetryPolicy(),
    )


def a_host(*modules: Module, config: ModuleHostConfig | None = None) -> ModuleHost:
    host = ModuleHost(config or ModuleHostConfig())
    for module in modules:
        host.register(module)
    return host


Loop = Callable[[int], Awaitable[None]]


async def by_hand(times: int) -> None:
    handlers = {Ask: Answering().answer}
    for number in range(times):
        event = Ask(input=AskInput(number, "text"))
        handlers[event.__class__](event.input)


def through(host: ModuleHost) -> Loop:
    async def loop(times: int) -> None:
        for number in range(times):
            host.handle(Ask(input=AskInput(number, "text")))

    return loop


def awaited(host: ModuleHost) -> Loop:
    async def loop(times: int) -> None:
        for number in range(times):
            await host.handle_async(Ask(input=AskInput(number, "text")))

    return loop


async def measure(rounds: int) -> Section:
    loops: dict[str, Loop] = {
        "by hand": by_hand,
        "handle": through(a_host(Answering())),
        "all on": through(a_host(Answering(), config=everything())),
        "crowd": through(a_host(*map(other, range(99)), Answering())),
        "asked": through(a_host(Asked())),
        "handle_async": awaited(a_host(Answering())),
        "all on, handle_async": awaited(a_host(Answering(), config=everything())),
    }
    figures = await in_turns(3 * rounds, {name: repeated(TIMES, loop) for name, loop in loops.items()})
    note = {name: f"{median(found):.2f} µs" for name, found in figures.items()}
    more = (ratio(figures, "crowd", "handle") - 1) * 100

    def line(what: str, name: str, limit: float | None = None) -> Line:
        return Line(what, ratio(figures, name, "by hand"), limit=limit, note=note[name])

    return Section(
        "modules: CPU time of one event",
        [
            Line("construct, look up, call handler", median(figures["by hand"]), "µs"),
            line("host.handle", "handle", 4.0),
            line("metrics, tracing, limiter, breaker and retry all on", "all on", 10.0),
            Line("100 modules instead of 1", more, "%", limit=10.0),
            line("a module that has to be asked", "asked"),
            line("host.handle_async, inline handler", "handle_async"),
            line("the same, all on", "all on, handle_async"),
        ],
    )


if __name__ == "__main__":
    main(measure, rounds=5)
