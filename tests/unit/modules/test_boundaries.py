"""Module boundaries, and the picture of who sends what to whom, of an application in files of its own."""

import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

from uno.app import App
from uno.app.boundaries import crossings
from uno.app.graph import Edge, edges, mermaid
from uno.testing.boundaries import assert_boundaries

ORDERS = {
    "orders/__init__.py": "",
    "orders/messages.py": """
        from dataclasses import dataclass
        from pydantic import BaseModel
        from uno import Command, DomainEvent
        from uno.modules import Event, EventInput, EventOutput

        class Line(BaseModel):
            sku: str

        class OrderPlaced(DomainEvent):
            order_id: str
            lines: list[Line] = []

        class PlaceOrder(Command[str]):
            order_id: str

        @dataclass
        class PriceInput(EventInput):
            sku: str = ""

        @dataclass
        class PriceOutput(EventOutput):
            price: int = 0

        class Price(Event[PriceInput, PriceOutput]):
            name = "orders.price"
    """,
    "orders/tables.py": """
        from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

        class Base(DeclarativeBase):
            pass

        class Order(Base):
            __tablename__ = "boundary_orders"
            id: Mapped[str] = mapped_column(primary_key=True)
    """,
    "orders/module.py": """
        from uno import Module, command_handler
        from uno.bus import EventBus
        from uno.modules import ModuleHost, handles, module
        from SHOP.orders.messages import OrderPlaced, PlaceOrder, Price, PriceInput, PriceOutput
        from SHOP.orders.tables import Order

        @command_handler(PlaceOrder)
        async def place(command: PlaceOrder, events: EventBus, host: ModuleHost) -> str:
            await events.publish(OrderPlaced(order_id=command.order_id))
            await host.publish("orders.seen", {})
            return command.order_id

        @module(name="orders", description="What was ordered")
        class Orders(Module):
            handlers = [place]
            models = [Order]

            @handles(Price)
            async def price(self, input: PriceInput) -> PriceOutput:
                return PriceOutput(3)
    """,
}
BILLING = {
    "billing/__init__.py": "",
    "billing/module.py": """
        from uno import Module, event_handler
        from uno.bus import Bus
        from SHOP.orders.messages import Line, OrderPlaced, Price, PriceInput
        from SHOP.shared import VAT

        @event_handler(OrderPlaced)
        async def bill(event: OrderPlaced, bus: Bus) -> None:
            await bus.dispatch(Price(input=PriceInput("a")))

        billing = Module("billing", handlers=[bill])
    """,
}
ROOT = {
    "__init__.py": "",
    "shared.py": "VAT = 20",
    "app.py": """
        from uno import App
        from SHOP.orders.module import Orders
        from SHOP.billing.module import billing

        def app() -> App:
            return App(Orders(), billing, database="sqlite://")
    """,
}
_made = 0


class Shop:
    """Writes the application, with other files in place of some, and imports it."""

    def __init__(self, folder: Path) -> None:
        global _made
        _made += 1
        self.name = f"boundary_shop_{_made}"
        self.folder = folder / self.name

    def app(self, **changed: str) -> App:
        files = ROOT | ORDERS | BILLING | {name.replace("__", "/") + ".py": text for name, text in changed.items()}
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_flush(text).replace("SHOP", self.name))
        invalidate_caches()
        made: App = import_module(f"{self.name}.app").app()
        return made

    def found(self, **changed: str) -> list[str]:
        return [str(one).removeprefix(f"{self.folder}/") for one in crossings(self.app(**changed).modules)]


def _flush(text: str) -> str:
    return "\n".join(line[8:] if line.startswith(" " * 8) else line for line in text.split("\n")).lstrip("\n")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Shop(tmp_path)
    yield made
    for name in [name for name in sys.modules if name.split(".")[0] == made.name]:
        del sys.modules[name]


def billing(*lines: str) -> dict[str, str]:
    text = _flush(BILLING["billing/module.py"])
    return {"billing__module": "\n".join([text.rstrip(), *lines, ""])}


def test_modules_that_use_each_others_messages_cross_nothing(shop: Shop) -> None:
    app = shop.app()
    assert crossings(app.modules) == []
    assert_boundaries(app)


def test_a_model_of_another_module_is_found_with_file_line_and_fix(shop: Shop) -> None:
    [found] = shop.found(**billing("from SHOP.orders.tables import Order"))
    assert found == (
        "billing/module.py:11: billing imports Order of orders; "
        "use a message of it instead, or move what both need to a file of its own."
    )


def test_a_function_imported_inside_a_function_is_found_too(shop: Shop) -> None:
    [found] = shop.found(**billing("def later():", "    from SHOP.orders.module import place"))
    assert "billing/module.py:12: billing imports place from" in found


def test_a_whole_file_is_allowed_where_it_has_messages_only(shop: Shop) -> None:
    assert shop.found(**billing("from SHOP.orders import messages")) == []


def test_a_whole_file_with_more_than_messages_is_not(shop: Shop) -> None:
    assert len(shop.found(**billing("import SHOP.orders.module", "from SHOP.orders import tables"))) == 2


def test_relative_imports_are_followed(shop: Shop) -> None:
    [found] = shop.found(**billing("from ..orders.tables import Order"))
    assert "imports Order of orders" in found


def test_every_file_of_a_module_counts(shop: Shop) -> None:
    helper = "from SHOP.orders.tables import Order"
    [found] = shop.found(billing__helper=helper, **billing("from SHOP.billing import helper"))
    assert found.startswith("billing/helper.py:1: billing imports Order of orders")


def test_where_the_application_is_put_together_everything_is_named(shop: Shop) -> None:
    root = "from uno import App\nfrom SHOP.orders.module import Orders, place"
    assert shop.found(billing__root=root, **billing("from SHOP.billing import root")) == []


def test_sql_on_the_table_of_another_module_is_found(shop: Shop) -> None:
    sql = 'SQL = "SELECT b.id FROM billing b JOIN boundary_orders o ON o.id = b.id"'
    [found] = shop.found(**billing(sql, 'TEXT = "the boundary_orders are many"'))
    assert found == (
        "billing/module.py:11: billing touches the table boundary_orders of orders; "
        "ask for the data with a query of that module."
    )


def test_a_foreign_key_to_the_table_of_another_module_is_found(shop: Shop) -> None:
    lines = ("from sqlalchemy import ForeignKey", 'KEY = ForeignKey("boundary_orders.id")')
    [found] = shop.found(**billing(*lines))
    assert "touches the table boundary_orders of orders" in found


def test_the_helper_for_tests_tells_all_of_it(shop: Shop) -> None:
    app = shop.app(**billing("from SHOP.orders.tables import Order", "from SHOP.orders.module import place"))
    with pytest.raises(AssertionError, match=r"(?s)boundaries:\n.*imports Order of orders.*imports place"):
        assert_boundaries(app)


def test_modules_of_one_file_are_not_separated() -> None:
    from uno import Module

    class One(Module):
        pass

    class Two(Module):
        pass

    assert crossings([One(), Two()]) == []


def test_the_picture_knows_who_handles_subscribes_and_sends(shop: Shop) -> None:
    found = set(edges(shop.app().modules))
    assert found == {
        Edge("orders", "handles", "PlaceOrder", "command"),
        Edge("orders", "handles", "Price", "event"),
        Edge("orders", "sends", "OrderPlaced", "fact"),
        Edge("orders", "sends", "orders.seen", "payload"),
        Edge("billing", "subscribes", "OrderPlaced", "fact"),
        Edge("billing", "sends", "Price", "event"),
    }


def test_the_picture_is_mermaid(shop: Shop) -> None:
    lines = mermaid(shop.app().modules).split("\n")
    assert lines == [
        "flowchart LR",
        '    m0["orders"]',
        '    m1["billing"]',
        '    e0>"OrderPlaced (fact)"]',
        '    e1("PlaceOrder (command)")',
        '    e2("Price (event)")',
        '    e3>"orders.seen (payload)"]',
        "    m1 --> e2",
        "    e0 -.-> m1",
        "    e1 --> m0",
        "    e2 --> m0",
        "    m0 --> e0",
        "    m0 --> e3",
    ]
