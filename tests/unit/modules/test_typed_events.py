"""Events: their fields, their names, the modules and metadata around them."""

from dataclasses import dataclass, fields
from typing import Any

import pytest
from pydantic import BaseModel

from uno.messages import message_name
from uno.modules import (
    AsyncEventHandler,
    Event,
    EventHandler,
    EventInput,
    EventLike,
    EventOutput,
    ExternalEvent,
    ExternalEventInput,
    Module,
    ModuleMetadata,
    handles,
    input_type,
    module,
    output_type,
)


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


class Question(BaseModel):
    text: str


class Ask(Event[Question, int]):
    name = "test.ask"


def test_the_fields_of_an_event_stand_in_their_order_with_their_defaults() -> None:
    assert [f.name for f in fields(Event)] == ["name", "input", "output", "handled", "meta"]
    event = Event[Any, Any]()
    assert (event.name, event.input, event.output, event.handled, event.meta) == ("", None, None, False, {})
    assert event.meta is not Event[Any, Any]().meta


def test_an_instance_has_the_name_of_its_class() -> None:
    assert Greet().name == "test.greet"
    assert Wave().name == ""
    assert Event(name="track", input=EventInput()).name == "track"
    assert Greet(name="other").name == "other"


def test_a_subclass_may_be_a_dataclass_with_more_fields() -> None:
    @dataclass
    class Shout(Greet):
        volume: int = 3

    loud = Shout(input=GreetInput("Ann"), volume=11)
    assert (loud.name, loud.volume, loud.handled, loud.meta) == ("test.greet", 11, False, {})


def test_events_are_equal_where_their_fields_are_and_say_them() -> None:
    assert Greet(input=GreetInput("a")) == Greet(input=GreetInput("a"))
    assert Greet(input=GreetInput("a")) != Greet(input=GreetInput("b"))
    assert "GreetInput(name='a')" in repr(Greet(input=GreetInput("a")))


def test_a_pydantic_model_may_be_the_input() -> None:
    assert Ask(input=Question(text="why")).input.text == "why"
    assert (input_type(Ask), output_type(Ask)) == (Question, int)


def test_input_and_output_are_known_of_subclasses_and_unknown_of_the_plain_event() -> None:
    class Louder(Greet):
        pass

    assert (input_type(Louder), output_type(Louder)) == (GreetInput, GreetOutput)
    assert (input_type(Event), output_type(Event)) == (None, None)
    assert input_type(ExternalEvent) is ExternalEventInput


def test_events_are_stored_under_their_own_name_or_that_of_their_class() -> None:
    class Louder(Greet):
        pass

    assert message_name(Greet) == "test.greet"  # type: ignore[arg-type]
    assert message_name(Wave).endswith("Wave")  # type: ignore[arg-type]
    assert message_name(Louder).endswith("Louder")  # type: ignore[arg-type]


def test_an_event_is_like_an_event_and_other_things_are_not() -> None:
    class Almost:
        name, input, output, handled = "", None, None, False

    assert isinstance(Greet(), EventLike)
    assert not isinstance(Almost(), EventLike)


def test_a_handler_needs_both_methods() -> None:
    class Both:
        def can_handle(self, event: Any) -> bool:
            return True

        async def handle(self, event: Any) -> None: ...

    class One:
        def handle(self, event: Any) -> None: ...

    assert isinstance(Both(), EventHandler)
    assert isinstance(Both(), AsyncEventHandler)
    assert isinstance(Module(), EventHandler)
    assert not isinstance(One(), EventHandler)


def test_metadata_says_what_the_decorator_was_given() -> None:
    @module(name="Greeter", description="Greets", version="2.0.0", inline=True)
    class Named(Module):
        pass

    @module()
    class Unnamed(Module):
        pass

    assert Named.metadata == ModuleMetadata("Greeter", "Greets", "2.0.0", inline=True)
    assert Named().name == "Greeter"
    assert Unnamed().metadata.name == "Unnamed"


def test_undecorated_modules_share_one_empty_metadata() -> None:
    class One(Module):
        pass

    class Two(Module):
        pass

    assert One().metadata is Two().metadata
    assert (One().metadata.name, One().metadata.version, One().name) == ("", "1.0.0", "one")


def test_a_module_may_leave_out_super_init() -> None:
    class Careless(Module):
        def __init__(self, size: int) -> None:
            self.size = size

    made = Careless(3)
    assert (made.size, made.name, made.host, list(made.handlers)) == (3, "careless", None, [])


def test_marked_methods_declare_events_beside_those_that_are_listed() -> None:
    class Listed(Module):
        events = [Wave]

        @handles(Greet)
        @handles(Ask)
        def greet(self, input: Any) -> Any: ...

    class Child(Listed):
        pass

    class Silent(Listed):
        def greet(self, input: Any) -> Any: ...

    assert set(Listed.events) == {Wave, Greet, Ask}
    assert set(Child.events) == {Wave, Greet, Ask}
    assert Listed().can_handle(Greet())
    assert not Module().can_handle(Greet())
    assert Silent._marked == ()


def test_a_module_without_handle_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Module overrides no handle"):
        Module().handle(Greet())
