"""Functions that give back a coroutine, and coroutine functions that do not look like one: handlers and hooks."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import pytest

from uno.app import App
from uno.errors import Forbidden, Misconfigured
from uno.modules import (
    Event,
    EventHandlingError,
    EventInput,
    EventOutput,
    Module,
    ModuleHost,
    ModuleHostConfig,
    ModuleRegistrationError,
    handles,
)
from uno.result import Failure, Success
from uno.settings import Settings
from uno.sync import is_async


@dataclass
class LookInput(EventInput):
    number: int = 0


@dataclass
class LookOutput(EventOutput):
    number: int = 0


class Look(Event[LookInput, LookOutput]):
    name = "coroutines.look"


def look(number: int = 1) -> Look:
    return Look(input=LookInput(number))


async def found(number: int) -> LookOutput:
    await asyncio.sleep(0)
    if number < 0:
        raise Forbidden("Nothing below zero.")
    return LookOutput(number)


class Asked(Module):
    @handles(Look)
    def look(self, input: LookInput) -> Any:
        return found(input.number)


class AskedInline(Module):
    @handles(Look, inline=True)
    def look(self, input: LookInput) -> Any:
        return found(input.number)


class Told(Module):
    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, Look)

    def handle(self, event: Event[Any, Any]) -> Any:
        return self.later(event)

    async def later(self, event: Event[Any, Any]) -> None:
        event.output = await found(event.input.number)
        event.handled = True


class ToldInline(Told):
    metadata = Told.metadata.__class__("told", inline=True)


EVERY = pytest.mark.parametrize("kind", [Asked, AskedInline, Told, ToldInline])


@EVERY
async def test_the_coroutine_that_a_function_gives_back_is_awaited_where_a_loop_runs(kind: type[Module]) -> None:
    async with ModuleHost() as host:
        host.register(kind())
        assert (await host.handle_async(look(3))).output == LookOutput(3)
        with pytest.raises(EventHandlingError, match="Cause: Forbidden: Nothing below zero"):
            await host.handle_async(look(-1))


@EVERY
async def test_so_it_is_in_an_application(kind: type[Module]) -> None:
    async with App(kind(), settings=Settings()) as app:
        assert await app.bus.dispatch(look(3)) == Success(LookOutput(3))
        assert isinstance(await app.bus.dispatch(look(-1)), Failure)


@EVERY
def test_without_a_loop_it_is_an_error_that_names_the_method(kind: type[Module]) -> None:
    with ModuleHost() as host:
        host.register(kind())
        event = look()
        with pytest.raises(
            EventHandlingError, match=r"(look|handle) is a function that gives back a coroutine"
        ) as told:
            host.handle(event)
    assert isinstance(told.value.original_error, Misconfigured)
    assert (event.handled, event.output) == (False, None)


def passing(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def around(*given: Any) -> Any:
        return method(*given)

    return around


def to_its_end(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def around(*given: Any) -> Any:
        return asyncio.run(method(*given))

    return around


@pytest.mark.parametrize("decorator", [passing, to_its_end])
async def test_a_decorator_may_pass_a_coroutine_on_or_run_it_to_its_end(decorator: Any) -> None:
    class Decorated(Module):
        @handles(Look)
        @decorator
        async def look(self, input: LookInput) -> LookOutput:
            return await found(input.number)

    def without_a_loop() -> Any:
        with ModuleHost() as host:
            return host.register(Decorated()).handle(look(2)).output

    assert await asyncio.to_thread(without_a_loop) == LookOutput(2)
    async with ModuleHost() as host:
        assert (await host.register(Decorated()).handle_async(look(2))).output == LookOutput(2)
    async with App(Decorated(), settings=Settings()) as app:
        assert await app.bus.dispatch(look(2)) == Success(LookOutput(2))


# ── hooks ──


class Opening(Module):
    opened = False

    def on_load(self) -> Any:
        return self.open()

    async def open(self) -> None:
        await asyncio.sleep(0)
        self.opened = True


def test_the_coroutine_that_on_load_gives_back_is_run() -> None:
    opening = Opening()
    with ModuleHost() as host:
        host.register(opening)
    assert opening.opened


async def test_inside_a_loop_it_has_to_be_awaited() -> None:
    opening = Opening()
    with pytest.raises(ModuleRegistrationError, match=r"Opening\.on_load has to be awaited, .*register_async"):
        ModuleHost().register(opening)
    assert opening.host is None
    async with ModuleHost() as host:
        await host.register_async(opening)
    assert opening.opened


class Watching:
    async def __call__(self, *given: Any) -> None: ...


@pytest.mark.parametrize("hook", ["on_error", "on_event_start", "on_event_end"])
@pytest.mark.parametrize("watching", [found, Watching()])
def test_a_hook_that_nobody_would_await_is_refused(hook: str, watching: Any) -> None:
    with pytest.raises(Misconfigured, match=f"{hook} is a coroutine function"):
        ModuleHostConfig(**{hook: watching})


def test_a_hook_may_run_a_coroutine_function_to_its_end() -> None:
    seen: list[str] = []

    @to_its_end
    async def watch(event: Event[Any, Any]) -> None:
        seen.append(event.name)

    ModuleHost(ModuleHostConfig(on_event_start=watch)).handle(look())
    assert seen == ["coroutines.look"]


def test_of_a_callable_counts_what_is_called() -> None:
    assert is_async(found)
    assert is_async(Watching())
    assert is_async(Watching().__call__)
    assert is_async(passing(passing)) is is_async(passing(found)) is is_async(None) is False
    # A call of the class makes an instance.
    assert not is_async(Watching)
