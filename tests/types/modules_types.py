"""Never run: what mypy and pyright have to agree on about events and modules; see bus_types.py."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from dataclasses import dataclass
from typing import Any, assert_type

from uno.bus import Bus, CommandBus
from uno.modules import Event, EventInput, EventOutput, Module, ModuleHost, handles, module
from uno.result import Failure, Result, Success


@dataclass
class GreetInput(EventInput):
    name: str = ""


@dataclass
class GreetOutput(EventOutput):
    message: str = ""


class Greet(Event[GreetInput, GreetOutput]):
    name = "types.greet"


# ── what comes back ──


async def dispatching(bus: Bus, commands: CommandBus, host: ModuleHost) -> None:
    assert_type(await bus.dispatch(Greet(input=GreetInput())), Result[GreetOutput])
    assert_type(await commands.dispatch(Greet(input=GreetInput())), Result[GreetOutput])
    assert_type(host.handle(Greet(input=GreetInput())), Greet)
    assert_type((await host.handle_async(Greet(input=GreetInput()))).output, GreetOutput)
    assert_type(await host.publish("greeted", {"name": "Ann"}), str)
    assert_type(host.get_module(Greeter), "Greeter | None")


async def what_is_refused(bus: Bus, host: ModuleHost) -> None:
    Greet(input=GreetOutput())  # type: ignore[arg-type]
    await bus.dispatch(GreetInput())  # type: ignore[arg-type]
    host.handle(GreetInput())  # type: ignore[type-var]
    host.register(Greet())  # type: ignore[arg-type]


# ── handlers ──


@module(name="Greeter")
class Greeter(Module):
    @handles(Greet)
    def greet(self, input: GreetInput) -> GreetOutput:
        return GreetOutput(input.name)


class Careful(Module):
    @handles(Greet, inline=True)
    async def greet(self, input: GreetInput, bus: Bus) -> Success[GreetOutput] | Failure:
        return Success(GreetOutput(input.name))

    async def on_load(self) -> None: ...

    def on_unload(self) -> None: ...


class Asked(Module):
    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, Greet)

    async def handle(self, event: Event[Any, Any]) -> None:
        if isinstance(event, Greet):
            assert_type(event.input, GreetInput)
            event.output = GreetOutput(event.input.name)


class Wrong(Module):
    @handles(Greet)  # type: ignore[arg-type]
    def other_output(self, input: GreetInput) -> int:
        return 1

    @handles(Greet)  # type: ignore[arg-type]
    def other_input(self, input: int) -> GreetOutput:
        return GreetOutput()
