"""Typed events in an App without a database: its host, its lifespan, its problems."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from uno.app import App, Route
from uno.bus import Bus, command_handler
from uno.errors import Forbidden, Misconfigured
from uno.messages import Command
from uno.modules import (
    Event,
    EventHandlingError,
    EventInput,
    EventOutput,
    ExternalEvent,
    Module,
    ModuleHost,
    ModuleHostConfig,
    handles,
    module,
)
from uno.resilience import RateLimiter, RateLimitExceeded
from uno.result import Success
from uno.settings import HostSettings, Settings
from uno.telemetry.prometheus import exposition


@dataclass
class GreetInput(EventInput):
    name: str = "World"


@dataclass
class GreetOutput(EventOutput):
    message: str = ""


class Greet(Event[GreetInput, GreetOutput]):
    name = "test.greet"


class Louder(Greet):
    pass


class Ask(Command[str]):
    name_of: str


@command_handler(Ask)
async def ask(command: Ask, bus: Bus) -> str:
    answer = await bus.dispatch(Greet(input=GreetInput(command.name_of)))
    return answer.unwrap().message


@module(name="Greeter")
class Greeter(Module):
    handlers = [ask]

    @handles(Greet)
    async def greet(self, input: GreetInput) -> GreetOutput:
        return GreetOutput(f"Hello, {input.name}!")


class Hearing(Module):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def can_handle(self, event: Event[Any, Any]) -> bool:
        return isinstance(event, ExternalEvent)

    def handle(self, event: Event[Any, Any]) -> None:
        self.heard.append(event.name)
        event.handled = True


def an_app(*modules: Module, **options: Any) -> App:
    return App(*modules, settings=Settings(), **options)


async def test_command_handlers_and_event_handlers_are_on_one_bus() -> None:
    async with an_app(Greeter()) as app:
        assert await app.bus.dispatch(Ask(name_of="Ann")) == Success("Hello, Ann!")


async def test_a_subclass_of_a_declared_event_finds_its_way() -> None:
    async with an_app(Greeter()) as app:
        found = await app.bus.dispatch(Louder(input=GreetInput("Bob")))
        assert found == Success(GreetOutput("Hello, Bob!"))


async def test_the_middleware_of_the_application_is_around_events() -> None:
    seen: list[Any] = []

    async def guard(message: Any, call_next: Any) -> Any:
        seen.append(message)
        if isinstance(message, Greet) and message.input.name == "Eve":
            raise Forbidden("Not for Eve.")
        return await call_next(message)

    async with an_app(Greeter(), middleware=[guard]) as app:
        event = Greet(input=GreetInput("Ann"))
        assert (await app.host.handle_async(event)).handled
        assert seen == [event]
        with pytest.raises(Forbidden):
            await app.host.handle_async(Greet(input=GreetInput("Eve")))


async def test_modules_are_loaded_in_their_order_and_unloaded_in_reverse() -> None:
    told: list[str] = []

    class First(Module):
        async def on_load(self) -> None:
            told.append("first loads")

        def on_unload(self) -> None:
            told.append("first unloads")

    class Second(Module):
        def on_load(self) -> None:
            told.append("second loads")

        async def on_unload(self) -> None:
            await asyncio.sleep(0)
            told.append("second unloads")

    first = First()
    app = an_app(first, Second())
    assert first.host is None
    async with app:
        assert first.host is app.host
        assert app.host.get_module(First) is first
    assert first.host is None
    assert told == ["first loads", "second loads", "second unloads", "first unloads"]


async def test_a_module_that_could_not_be_loaded_has_no_host_and_those_before_it_are_unloaded() -> None:
    class Broken(Module):
        works = False

        async def on_load(self) -> None:
            if not self.works:
                raise ValueError("no key")

    broken, first = Broken(), Greeter()
    app = an_app(first, broken)
    with pytest.raises(ValueError, match="no key"):
        await app.__aenter__()
    assert first.host is broken.host is None
    broken.works = True
    async with app:
        assert broken.host is app.host


async def test_errors_of_on_unload_are_logged_and_the_others_still_unload(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    class Broken(Module):
        def on_unload(self) -> None:
            raise ValueError("stuck")

    class Leaving(Module):
        async def on_unload(self) -> None:
            told.append("left")

    broken = Broken()
    async with an_app(Leaving(), broken):
        pass
    assert (told, broken.host) == (["left"], None)
    assert "on_unload of module broken failed" in caplog.text
    assert "ValueError: stuck" in caplog.text


async def test_an_application_may_run_again() -> None:
    app = an_app(Greeter())
    for _ in range(2):
        async with app:
            assert (await app.host.handle_async(Greet(input=GreetInput()))).handled


async def test_an_application_that_does_not_run_says_so() -> None:
    app = an_app(Greeter())
    with pytest.raises(Misconfigured, match="does not run"):
        await app.host.handle_async(Greet(input=GreetInput()))


async def test_the_modules_of_an_application_are_given_to_it() -> None:
    async with an_app(Greeter()) as app:
        with pytest.raises(Misconfigured, match=r"give hearing to App\(\.\.\.\)"):
            app.host.register(Hearing())
        with pytest.raises(Misconfigured, match=r"leave Greeter out of App\(\.\.\.\)"):
            app.host.unregister(app.modules[0])


async def test_the_host_is_configured_by_settings_or_by_hand() -> None:
    by_settings = App(settings=Settings(host=HostSettings(max_workers=2, enable_metrics=True)))
    assert (by_settings.host.config.max_workers, by_settings.host.metrics is None) == (2, False)
    assert an_app(host=ModuleHostConfig(max_workers=3)).host.config.max_workers == 3


async def test_the_host_is_injected() -> None:
    class Counting(Module):
        @handles(Greet)
        async def greet(self, input: GreetInput, host: ModuleHost) -> GreetOutput:
            return GreetOutput(str(len(host.modules)))

    async with an_app(Counting()) as app:
        assert await app.bus.dispatch(Greet(input=GreetInput())) == Success(GreetOutput("1"))


async def test_a_bug_is_raised_by_the_bus_and_wrapped_by_the_host() -> None:
    class Broken(Module):
        @handles(Greet)
        def greet(self, input: GreetInput) -> GreetOutput:
            raise KeyError(input.name)

    async with an_app(Broken()) as app:
        with pytest.raises(KeyError):
            await app.bus.dispatch(Greet(input=GreetInput()))
        with pytest.raises(EventHandlingError, match="Cause: KeyError"):
            await app.host.handle_async(Greet(input=GreetInput()))


async def test_without_a_database_a_payload_is_delivered_at_once() -> None:
    hearing = Hearing()
    async with an_app(hearing) as app:
        assert await app.host.publish("user.seen", {"id": 1})
        assert hearing.heard == ["user.seen"]


def test_two_modules_that_declare_one_event_are_a_problem() -> None:
    class Other(Module):
        @handles(Greet)
        def hello(self, input: GreetInput) -> GreetOutput: ...

    with pytest.raises(Misconfigured, match=r"Greet has 2 handlers: .*Greeter\.greet, .*Other\.hello; keep one"):
        an_app(Greeter(), Other())


def test_two_modules_with_one_method_are_told_apart() -> None:
    class Second(Greeter):
        name = "second"

    with pytest.raises(Misconfigured, match=r"2 handlers: module Greeter: .*\.greet, module second: .*\.greet; keep"):
        an_app(Greeter(), Second())


def test_what_a_handler_asks_for_has_to_be_provided() -> None:
    class Lamp:
        pass

    class Needy(Module):
        @handles(Greet)
        def greet(self, input: GreetInput, lamp: Lamp) -> GreetOutput: ...

    # The annotation is read at start-up, where local names are not seen.
    Needy.greet.__annotations__["lamp"] = Lamp
    with pytest.raises(Misconfigured, match=r"missing provider: Lamp\n   Needy\.greet needs it as `lamp`"):
        an_app(Needy())


def test_an_event_that_is_declared_but_not_handled_is_a_problem() -> None:
    class Listed(Module):
        events = [Greet]

    with pytest.raises(Misconfigured, match="listed declares Greet, but nothing handles it"):
        an_app(Listed())


def test_a_route_to_an_event_that_nobody_handles_is_a_problem() -> None:
    with pytest.raises(Misconfigured, match="missing handler: Greet"):
        an_app(Module("front", routes=[Route(Greet)]))
    assert [e.path for e in an_app(Greeter(), Module("front", routes=[Greet])).endpoints]


# ── figures ──


async def figures(app: App) -> dict[str, Any]:
    return {one.gauge.name: one.values for one in await app.metrics.figures()}


async def test_what_the_host_counts_is_on_the_metrics_page_of_its_application() -> None:
    async with an_app(Greeter(), Hearing(), host=ModuleHostConfig(enable_metrics=True)) as app:
        await app.host.handle_async(Greet(input=GreetInput()))
        await app.host.publish("told")
        found = await figures(app)
        page = (await exposition(app.metrics)).decode()
    assert found["uno_host_modules"] == {"": 2}
    assert {name: n for name, n in found["uno_host_events"].items() if n} == {
        "dispatched": 2,
        "handled": 2,
        "published": 1,
    }
    assert 'uno_host_events_total{outcome="published"} 1.0' in page
    assert "# TYPE uno_host_events_total counter" in page
    assert "# TYPE uno_host_modules gauge" in page


async def test_a_host_that_counts_nothing_is_not_on_the_page() -> None:
    async with an_app(Greeter(), host=ModuleHostConfig()) as app:
        assert [name for name in await figures(app) if name.startswith("uno_host")] == []


async def test_a_payload_that_the_host_of_an_application_refuses_is_not_published() -> None:
    config = ModuleHostConfig(enable_metrics=True, rate_limiter=RateLimiter(rate=0.001, burst=1))
    async with an_app(Hearing(), host=config) as app:
        await app.host.publish("first")
        with pytest.raises(RateLimitExceeded):
            await app.host.publish("second")
        assert app.host.metrics is not None
        assert app.host.metrics.events_published == 1
