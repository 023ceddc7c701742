"""Events that greet, modules that handle them, and hosts of these."""

import asyncio
from dataclasses import dataclass
from typing import Any

from uno.modules import Event, EventInput, EventOutput, Module, ModuleHost, ModuleHostConfig, handles, module


@dataclass
class GreetInput(EventInput):
    name: str = "World"


@dataclass
class GreetOutput(EventOutput):
    message: str = ""


class Greet(Event[GreetInput, GreetOutput]):
    name = "test.greet"


class Wave(Event[GreetInput, GreetOutput]):
    pass


@module(name="Greeter")
class Greeter(Module):
    @handles(Greet)
    def greet(self, input: GreetInput) -> GreetOutput:
        return GreetOutput(f"Hello, {input.name}!")


class Later(Module):
    @handles(Greet)
    async def greet(self, input: GreetInput) -> GreetOutput:
        await asyncio.sleep(0)
        return GreetOutput(f"Later, {input.name}!")


class Asked(Module):
    """Has to be asked, and leaves out super().__init__()."""

    def __init__(self, answer: str = "Hi", *, handled: bool = True) -> None:
        self.answer = answer
        self.handles = handled
        self.calls = 0

    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, Greet)

    def handle(self, event: Event[Any, Any]) -> None:
        self.calls += 1
        event.output = GreetOutput(self.answer)
        event.handled = self.handles


def a_host(*modules: Module, **config: Any) -> ModuleHost:
    host = ModuleHost(ModuleHostConfig(**config))
    for one in modules:
        host.register(one)
    return host


def greet(name: str = "Ann") -> Greet:
    return Greet(input=GreetInput(name))
