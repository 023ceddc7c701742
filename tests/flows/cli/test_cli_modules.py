"""`uno modules`, `uno graph` and `uno check`: for people and for programs."""

import json
from pathlib import Path
from typing import Any

INVENTORY = "uno.examples.inventory:app"
SQLITE = {"UNO_DB_URL": "sqlite:///inventory.db"}
SHOP = {
    "orders.py": """
from sqlalchemy.orm import Mapped, mapped_column

from uno import Model, Module
from uno.modules import Event, EventInput, EventOutput, handles, module


class Order(Model):
    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)


class Price(Event[EventInput, EventOutput]):
    name = "orders.price"


@module(name="orders", description="What was ordered", version="2.0.0")
class Orders(Module):
    models = [Order]

    @handles(Price)
    async def price(self, input: EventInput) -> EventOutput:
        return EventOutput()
""",
    "billing.py": """
from uno import Module
from uno.modules import handles, Event, EventInput, EventOutput
from shop.orders import Order, Price


class Bill(Event[EventInput, EventOutput]):
    name = "billing.bill"


class Billing(Module):
    @handles(Bill)
    async def bill(self, input: EventInput) -> EventOutput:
        return (await self.host.handle_async(Price(input=EventInput()))).output
""",
    "__init__.py": """
from uno import App
from shop.orders import Orders
from shop.billing import Billing


def app() -> App:
    return App(Orders(), Billing())
""",
}


def test_modules_are_listed_with_what_they_handle(uno: Any) -> None:
    done = uno("modules", INVENTORY, **SQLITE)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["MODULE", "VERSION", "DESCRIPTION", "HANDLES", "MODELS"]
    assert "ScanEnvironment" in lines[1]
    entry, licences = json.loads(uno("modules", INVENTORY, "--json", **SQLITE).stdout)
    assert (entry["name"], entry["version"], entry["asked"]) == ("inventory", "1.0.0", False)
    assert "uno.examples.inventory.scanning.ScanEnvironment" in entry["handles"]
    assert (licences["name"], licences["handles"]) == ("licences", ["licences.classify"])


def test_the_graph_is_mermaid_or_json(uno: Any) -> None:
    drawn = uno("graph", INVENTORY, **SQLITE).stdout.splitlines()
    assert drawn[:2] == ["flowchart LR", '    m0["inventory"]']
    edges = json.loads(uno("graph", INVENTORY, "--json", **SQLITE).stdout)
    assert {"module": "inventory", "relation": "handles", "message": "ScanEnvironment", "kind": "command"} in edges
    for module, relation in (("inventory", "sends"), ("licences", "handles")):
        assert {"module": module, "relation": relation, "message": "ClassifyLicence", "kind": "event"} in edges


def test_a_crossed_boundary_is_told_with_its_place_and_fails(uno: Any, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, text in SHOP.items():
        (folder / name).write_text(text)
    done = uno("check", "shop:app", **SQLITE)
    assert (done.returncode, done.stderr) == (1, "")
    place = f"shop{'/'}billing.py:4: billing imports Order of orders; use a message of it instead"
    assert done.stdout.startswith(place)
    [found] = json.loads(uno("check", "shop:app", "--json", **SQLITE).stdout)
    assert (found["module"], found["other"], found["line"]) == ("billing", "orders", 4)
    assert uno("check", INVENTORY, **SQLITE).returncode == 0


TWINS = """
from uno import App, Module
from uno.modules import Event, EventInput, EventOutput, handles


class GetStock(Event[EventInput, EventOutput]):
    name = "stock.get"


class GetOrder(Event[EventInput, EventOutput]):
    name = "orders.get"


class Stock(Module):
    @handles(GetStock)
    async def get(self, input: EventInput) -> EventOutput: ...


class Orders(Module):
    @handles(GetOrder)
    async def get(self, input: EventInput) -> EventOutput: ...


app = App(Stock(), Orders())
"""


def test_messages_of_two_modules_are_told_apart(uno: Any, tmp_path: Path) -> None:
    (tmp_path / "twins.py").write_text(TWINS)
    listed = [line.split() for line in uno("modules", "twins:app").stdout.splitlines()]
    assert listed[1:] == [["stock", "1.0.0", "GetStock"], ["orders", "1.0.0", "GetOrder"]]
    shown = [line.split() for line in uno("messages", "twins:app").stdout.splitlines()]
    assert shown[1:] == [["request", "GetOrder", "Orders.get"], ["request", "GetStock", "Stock.get"]]
