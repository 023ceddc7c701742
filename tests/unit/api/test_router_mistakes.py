"""What newcomers write about the routes of events, and what they are told."""

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from uno.api import HTTPMethod, ModuleRouter, RouteConvention, RouteInfo, api_endpoint
from uno.app import App
from uno.errors import Misconfigured
from uno.messages import Command
from uno.modules import Event, EventInput, EventOutput, Module, ModuleHost, ModuleHostConfig, Route, handles


@dataclass
class ThingInput(EventInput):
    thing_id: str


class GetThing(Event[ThingInput, EventOutput]):
    pass


class Things(Module):
    @handles(GetThing)
    def get(self, input: ThingInput) -> EventOutput:
        return EventOutput()


class MakeThing(Command[None]):
    pass


def a_router(**options: Any) -> ModuleRouter:
    return ModuleRouter(ModuleHost(ModuleHostConfig()), **options)


def problems(event: type[Event[Any, Any]]) -> set[str]:
    """What a router says of an event; an application says the same."""
    with pytest.raises(Misconfigured) as alone:
        a_router().register_event(event)
    told = {problem.message for problem in alone.value.problems}

    class Holding(Module):
        @handles(event)
        def handle_it(self, input: Any) -> EventOutput:
            return EventOutput()

    with pytest.raises(Misconfigured) as together:
        App(Holding())
    assert told <= {problem.message for problem in together.value.problems}
    return told


def test_a_path_that_names_no_field_is_a_mistake() -> None:
    @api_endpoint(path="/x/{foo}", method="GET")
    class GetWrong(Event[ThingInput, EventOutput]):
        pass

    [told] = problems(GetWrong)
    assert told.endswith("GetWrong has no field 'foo'; add it or change the path.")


def test_a_convention_may_name_what_is_no_field(caplog: pytest.LogCaptureFixture) -> None:
    class Flat(RouteConvention):
        def get_route(self, event_class: type[Event[Any, Any]]) -> RouteInfo:
            return RouteInfo("/rpc/{key}", HTTPMethod.GET)

    with caplog.at_level(logging.INFO, "uno.api"):
        assert len(a_router(convention=Flat()).register_event(GetThing).discovered_events) == 1
    assert "the input of GetThing has no field key: it is in event.meta" in caplog.messages


def test_a_method_that_nobody_calls_with_is_a_mistake() -> None:
    @api_endpoint(method="fetch")
    class GetOther(Event[ThingInput, EventOutput]):
        pass

    [told] = problems(GetOther)
    what = "GetOther has the method FETCH; make it one of GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS."
    assert told.endswith(what)


def test_the_method_of_a_route_is_looked_at_too() -> None:
    with pytest.raises(Misconfigured, match="GetThing has the method LOOK; make it one of GET, "):
        App(type("Looking", (Things,), {"routes": [Route(GetThing, method="look")]})())


NO_EVENTS: list[tuple[Any, str]] = [
    (GetThing(input=ThingInput("1")), "register_event takes the class of an event: register_event(GetThing)."),
    (Things, "register_event takes the class of an event, and Things is none: derive it from Event[In, Out]."),
    (MakeThing, "register_event takes the class of an event, and MakeThing is none: derive it from Event[In, Out]."),
    ("GetThing", "register_event takes the class of an event, and str is none: derive it from Event[In, Out]."),
]


@pytest.mark.parametrize(("given", "sentence"), NO_EVENTS)
def test_only_classes_of_events_are_registered(given: Any, sentence: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        a_router().register_event(given)
    assert str(caught.value) == sentence


NO_HOSTS: list[tuple[Any, str]] = [
    (App(Things()), "ModuleRouter takes a ModuleHost, not App: the endpoints of an App come with asgi(app)."),
    (Things(), "ModuleRouter takes a ModuleHost, not Things: ModuleRouter(ModuleHost())."),
    (ModuleHost, "ModuleRouter takes a ModuleHost, not ModuleHost: ModuleRouter(ModuleHost())."),
]


@pytest.mark.parametrize(("given", "sentence"), NO_HOSTS)
def test_a_router_is_that_of_a_host(given: Any, sentence: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        ModuleRouter(given)
    assert str(caught.value) == sentence


def test_the_decorator_of_an_endpoint_is_called() -> None:
    with pytest.raises(Misconfigured, match=r"write @api_endpoint\(\) above the class"):
        api_endpoint(GetThing)  # type: ignore[arg-type]
