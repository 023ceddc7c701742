"""What newcomers write, and what they are told."""

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest

from uno.app import App
from uno.errors import Misconfigured
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
    module,
)


@dataclass
class GreetInput(EventInput):
    name: str = ""


@dataclass
class GreetOutput(EventOutput):
    message: str = ""


class Greet(Event[GreetInput, GreetOutput]):
    name = "mistakes.greet"


class Maybe(Event[GreetInput | None, GreetOutput]):
    pass


class Half(Event[float, GreetOutput]):
    pass


class Greeter(Module):
    @handles(Greet)
    def greet(self, input: GreetInput) -> GreetOutput:
        return GreetOutput(f"Hello, {input.name.upper()}!")

    @handles(Maybe)
    def maybe(self, input: Any) -> GreetOutput:
        raise AttributeError("a bug")

    @handles(Half)
    def half(self, input: Any) -> GreetOutput:
        raise TypeError("a bug")


def a_host(*modules: Module) -> ModuleHost:
    host = ModuleHost(ModuleHostConfig())
    for one in modules:
        host.register(one)
    return host


def refused(made: Module) -> str:
    """The sentence of a host, which is that of an application, too."""
    with pytest.raises(ModuleRegistrationError) as alone:
        a_host(made)
    with pytest.raises(Misconfigured) as together:
        App(type(made)())
    assert str(alone.value) in {problem.message for problem in together.value.problems}
    return str(alone.value)


# ── methods that handle ──


def test_two_methods_for_one_event_are_refused() -> None:
    class Twice(Module):
        @handles(Greet)
        def first(self, input: GreetInput) -> GreetOutput:
            return GreetOutput("1")

        @handles(Greet)
        def second(self, input: GreetInput) -> GreetOutput:
            return GreetOutput("2")

    assert refused(Twice()).endswith(
        "Twice handles Greet more than once, by first and second; let one of them handle it."
    )


def test_one_method_under_two_names_is_one() -> None:
    class Renamed(Greeter):
        hello = Greeter.greet

    assert a_host(Renamed()).handle(Greet(input=GreetInput("Ann"))).output == GreetOutput("Hello, ANN!")


class Static(Module):
    @staticmethod
    @handles(Greet)  # type: ignore[arg-type]
    def above(input: GreetInput) -> GreetOutput:
        return GreetOutput(input.name)

    @handles(Maybe)  # pyright: ignore
    @staticmethod
    def below(input: GreetInput | None) -> GreetOutput:
        return GreetOutput("below")


class OfTheClass(Module):
    @classmethod
    @handles(Greet)
    async def above(cls, input: GreetInput) -> GreetOutput:
        return GreetOutput(input.name)

    @handles(Maybe)
    @classmethod
    def below(cls, input: GreetInput | None) -> GreetOutput:
        return GreetOutput("below")


@pytest.mark.parametrize("kind", [Static, OfTheClass])
async def test_static_and_class_methods_handle_events_too(kind: type[Module]) -> None:
    with ModuleHost(ModuleHostConfig()) as host:
        host.register(kind())
        assert (await host.handle_async(Greet(input=GreetInput("Ann")))).output == GreetOutput("Ann")
        assert (await host.handle_async(Maybe())).output == GreetOutput("below")
    async with App(kind()) as app:
        assert (await app.bus.dispatch(Greet(input=GreetInput("Bob")))).unwrap() == GreetOutput("Bob")
        assert (await app.bus.dispatch(Maybe())).unwrap() == GreetOutput("below")


def test_a_method_that_overrides_another_without_its_mark_is_named() -> None:
    class Louder(Greeter):
        def greet(self, input: GreetInput) -> GreetOutput:
            return GreetOutput("HELLO")

    what = "Louder.greet overrides that of Greeter, which handles Greet, and is not marked itself"
    assert refused(Louder()).endswith(f"{what}; write @handles(Greet) above it.")


# ── names ──


def test_modules_of_one_name_are_told_apart_by_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    @module(name="greeter")
    class Other(Module):
        pass

    with caplog.at_level(logging.WARNING, "uno.modules"):
        host = a_host(Other(), Other())
        assert caplog.messages == []
        host.register(Greeter())
    [told] = caplog.messages
    assert told.startswith("Two modules are called greeter, ")
    assert told.endswith(f".Other and {__name__}.Greeter; give each its own name.")


def test_events_of_one_name_are_told_apart_by_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    class Greeting(Event[GreetInput, GreetOutput]):
        name = "mistakes.greet"

    class Other(Module):
        @handles(Greeting)
        def greet(self, input: GreetInput) -> GreetOutput:
            return GreetOutput("other")

    with caplog.at_level(logging.WARNING, "uno.modules"):
        host = a_host(Greeter(), Other())
    [told] = caplog.messages
    assert told.startswith("Two events are called mistakes.greet, Greet and ")
    assert host.handle(Greeting(input=GreetInput())).output == GreetOutput("other")


# ── what an event is made of ──


@dataclass
class Dated(Event[GreetInput, GreetOutput]):
    day: int = 0


@pytest.mark.parametrize("given", [GreetInput("x"), {"name": "x"}, {}, None, 0])
@pytest.mark.parametrize("kind", [Greet, Dated])
def test_an_input_in_the_place_of_the_name_is_refused(kind: Any, given: Any) -> None:
    sentence = (
        f"The name of {kind.__name__} is a text, not {type(given).__name__}: write {kind.__name__}\\(input=...\\)."
    )
    with pytest.raises(Misconfigured, match=sentence):
        kind(given)


def test_a_name_may_come_first_and_be_a_member_of_an_enumeration() -> None:
    class Name(StrEnum):
        TRACK = "track"

    assert (Event("track").name, Event(Name.TRACK).name, Greet("").name) == ("track", "track", "mistakes.greet")


WRONG: list[Any] = [
    (Greet(input={"name": "x"}), "Greet takes GreetInput, not dict: write Greet(input=GreetInput(...))."),  # type: ignore[arg-type]
    (Greet(), "Greet takes GreetInput, and was given none: write Greet(input=GreetInput(...))."),
]


@pytest.mark.parametrize(("event", "sentence"), WRONG)
async def test_a_handler_that_fails_over_another_input_says_so_beside_its_bug(event: Any, sentence: str) -> None:
    with a_host(Greeter()) as host:
        for raised in (host.handle, host.handle_async):
            with pytest.raises(EventHandlingError) as caught:
                found = raised(event)
                if found is not event:
                    await found
            assert isinstance(caught.value.original_error, AttributeError)
            assert caught.value.original_error.__notes__ == [sentence]
            assert str(caught.value).endswith(f" | {sentence}")
    async with App(Greeter()) as app:
        with pytest.raises(AttributeError, match="no attribute") as bug:
            await app.bus.dispatch(event)
        assert sentence in bug.value.__notes__


@pytest.mark.parametrize("event", [Maybe(), Maybe(input=GreetInput()), Half(input=1)])
def test_a_bug_with_an_input_that_may_be_right_is_left_alone(event: Any) -> None:
    with pytest.raises(EventHandlingError, match="a bug$") as caught:
        a_host(Greeter()).handle(event)
    assert getattr(caught.value.original_error, "__notes__", []) == []


def test_a_handler_that_does_not_mind_gets_any_input() -> None:
    class Easy(Module):
        @handles(Greet)
        def greet(self, input: Any) -> GreetOutput:
            return GreetOutput(str(input))

    host = a_host(Easy())
    assert host.handle(Greet()).output == GreetOutput("None")
    assert host.handle(Greet(input={"a": 1})).output == GreetOutput("{'a': 1}")  # type: ignore[arg-type]


# ── decorators and lists ──


def test_the_decorator_of_a_module_is_called() -> None:
    with pytest.raises(Misconfigured, match=r'write @module\(\) or @module\(name="..."\) above the class'):

        @module  # type: ignore[arg-type]
        class Bare(Module):
            pass


@pytest.mark.parametrize(("given", "fix"), [(Greet, "[Greet]"), ("Greet", "['Greet']"), (None, "[None]")])
def test_the_events_of_a_module_are_a_list(given: Any, fix: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        type("Telling", (Module,), {"events": given})
    assert str(caught.value) == f"The events of Telling are a list: write events = {fix}."


def test_the_events_of_a_module_are_classes() -> None:
    with pytest.raises(
        Misconfigured, match=r"The events of Telling are classes of events, as in \[GreetEvent\], not 'x'"
    ):
        type("Telling", (Module,), {"events": [Greet, "x"]})
