"""What a ModuleRouter makes of single events: where it finds them, what they say, what cannot be."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import Field

from uno.api import ModuleRouter, api_endpoint
from uno.errors import Misconfigured
from uno.modules import Event, EventInput, EventOutput, Module, ModuleHost, ModuleHostConfig


@dataclass
class CardInput(EventInput):
    user_id: str


@dataclass
class CardOutput(EventOutput):
    id: str = ""
    name: str = ""
    nick: str | None = None


def test_events_are_found_in_the_modules_of_a_package_that_are_called_events(tmp_path: Path) -> None:
    package = tmp_path / "found_shop"
    (package / "orders").mkdir(parents=True)
    header = "from uno.api import exclude_from_api\nfrom uno.modules import Event, EventInput, EventOutput\n"
    one = "class {}(Event[EventInput, EventOutput]):\n    pass\n"
    (package / "__init__.py").write_text("")
    (package / "events.py").write_text(header + one.format("CreateShop") + "@exclude_from_api\n" + one.format("Sync"))
    (package / "handlers.py").write_text("raise RuntimeError('not to be imported')")
    (package / "orders" / "__init__.py").write_text("")
    (package / "orders" / "order_events.py").write_text(
        header + "from found_shop.events import CreateShop\n" + one.format("CreateOrder")
    )
    sys.path.insert(0, str(tmp_path))
    try:
        with ModuleHost(ModuleHostConfig()) as host:
            router = ModuleRouter(host)
            assert router.discover_events("found_shop") == 2
            assert router.discover_events("found_shop") == 0
    finally:
        sys.path.remove(str(tmp_path))
    assert [(one.domain, one.action, one.module_path) for one in router.discovered_events] == [
        ("shops", "create", "found_shop.events"),
        ("orders", "create", "found_shop.orders.order_events"),
    ]


def test_a_structured_field_in_a_query_is_an_error_when_it_is_registered() -> None:
    @dataclass
    class Filter:
        name: str = ""

    @dataclass
    class ListFilesInput(EventInput):
        filter: Filter = field(default_factory=Filter)

    class ListFiles(Event[ListFilesInput, EventOutput]):
        pass

    router = ModuleRouter(ModuleHost(ModuleHostConfig()))
    with pytest.raises(Misconfigured, match="does not fit into a query string"):
        router.register_event(ListFiles)


def test_annotated_constraints_of_a_dataclass_are_checked() -> None:
    @dataclass
    class RateInput(EventInput):
        stars: Annotated[int, Field(ge=1, le=5)]

    class RateUser(Event[RateInput, EventOutput]):
        pass

    with ModuleHost(ModuleHostConfig()) as host:
        app = FastAPI()
        ModuleRouter(host).register_event(RateUser).mount(app)
        statuses = [TestClient(app).post("/users/rate", json={"stars": stars}).status_code for stars in (5, 6)]
    # The first gets as far as the host, which has no module for it.
    assert statuses == [501, 422]


def test_a_decorated_event_is_where_and_what_it_says() -> None:
    @api_endpoint(path="/people/{user_id}/card", method="get", tags=["People"], summary="A card", deprecated=True)
    class ShowCard(Event[CardInput, CardOutput]):
        pass

    class Cards(Module):
        def can_handle(self, event: Event[Any, Any]) -> bool:
            return isinstance(event, ShowCard)

        def handle(self, event: Event[Any, Any]) -> None:
            event.output, event.handled = CardOutput(id=event.input.user_id), True

    with ModuleHost(ModuleHostConfig()).register(Cards()) as host:
        app = FastAPI()
        ModuleRouter(host).register_event(ShowCard).mount(app)
        client = TestClient(app)
        response = client.get("/people/9/card")
    # What is null is left out, as the decorator has it unless told otherwise.
    assert (response.status_code, response.json()) == (200, {"id": "9", "name": ""})
    operation = client.get("/openapi.json").json()["paths"]["/people/{user_id}/card"]["get"]
    assert (operation["tags"], operation["summary"], operation["deprecated"]) == (["People"], "A card", True)


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (None, {"success": True}),
        (EventOutput(), {"success": True}),
        (CardOutput("1"), {"id": "1", "name": "", "nick": None}),
    ],
    ids=["none", "empty", "more_than_promised"],
)
def test_an_event_that_promises_no_output_shows_what_there_is(output: Any, shown: Any) -> None:
    class PingCard(Event[EventInput, EventOutput]):
        pass

    class Cards(Module):
        def can_handle(self, event: Event[Any, Any]) -> bool:
            return True

        def handle(self, event: Event[Any, Any]) -> None:
            event.output, event.handled = output, True

    with ModuleHost(ModuleHostConfig()).register(Cards()) as host:
        app = FastAPI()
        ModuleRouter(host).register_event(PingCard).mount(app)
        assert TestClient(app).post("/cards/ping").json() == shown
