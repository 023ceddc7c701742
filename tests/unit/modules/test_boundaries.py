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


def test_an_aggregate_of_another_module_that_a_handler_asks_for_is_found(shop: Shop) -> None:
    handler = ["@event_handler(OrderPlaced)", "async def look(event: OrderPlaced, order: Order) -> None: ..."]
    module = "billing = Module('billing', handlers=[bill, look])"
    found = shop.found(**billing("from SHOP.orders.tables import Order", *handler, module))
    assert "billing/module.py:12: billing reads or writes Order of orders; dispatch a message" in found[-1]
    assert len(found) == 2


def test_every_file_of_a_module_counts(shop: Shop) -> None:
    helper = "from SHOP.orders.tables import Order"
    [found] = shop.found(billing__helper=helper, **billing("from SHOP.billing import helper"))
    assert found.startswith("billing/helper.py:1: billing imports Order of orders")


@pytest.mark.parametrize(
    "made",
    [
        "from uno import App\ndef make(): return App(Orders())",
        "from uno import App as Application\nmade = Application(Orders())",
        "import uno.app\ndef make(): return uno.app.App(Orders())",
        "def make():\n    from uno import App\n    return App(Orders())",
        "import uno\nclass Ours(uno.App): ...\ndef make(): return Ours(Orders())",
    ],
)
def test_where_the_application_is_put_together_everything_is_named(shop: Shop, made: str) -> None:
    root = f"from SHOP.orders.module import Orders, place\n{made}"
    assert shop.found(billing__root=root, **billing("from SHOP.billing import root")) == []


@pytest.mark.parametrize(
    "line",
    [
        "from uno import App",
        "from uno import *",
        "from uno import App; ANY: App | None = None",
        "from SHOP.other import THE_APP, make",
        "class App: ...\nprint(App())",
    ],
)
def test_to_have_the_name_of_the_application_is_not_to_make_it(shop: Shop, line: str) -> None:
    other = "from uno import App\nTHE_APP = App(database='sqlite://')\ndef make() -> App: return App()\n"
    found = shop.found(**billing(line, "from SHOP.orders.tables import Order"), other=other)
    assert [one.partition(": ")[2] for one in found] == [
        "billing imports Order of orders; use a message of it instead, or move what both need to a file of its own."
    ]


def test_sql_on_the_table_of_another_module_is_found(shop: Shop) -> None:
    sql = 'SQL = "SELECT b.id FROM billing b JOIN boundary_orders o ON o.id = b.id"'
    [found] = shop.found(**billing(sql, 'TEXT = "the boundary_orders are many"'))
    assert found == (
        "billing/module.py:11: billing touches the table boundary_orders of orders; "
        "ask for the data with a query of that module."
    )


@pytest.mark.parametrize(
    "sql",
    [
        "select * from billing, boundary_orders",
        "select * from billing as b, lateral (select 1) x, boundary_orders as o where b.id = o.id",
        "select b.id from billing b join bills using (id), only public.boundary_orders",
        "-- one\\n/* and two */ SELECT 1 FROM boundary_orders",
        "(SELECT id FROM boundary_orders) UNION SELECT 1",
        "EXPLAIN SELECT 1 FROM boundary_orders",
        "explain (analyze, buffers) delete from boundary_orders",
        "EXPLAIN ANALYZE VERBOSE WITH a AS (SELECT 1 FROM boundary_orders) SELECT 1",
        "DELETE FROM billing USING bills, boundary_orders WHERE true",
        "TRUNCATE billing, boundary_orders",
        "UPDATE billing SET a = 1, b = 2 FROM bills b, boundary_orders",
    ],
)
def test_every_table_of_a_statement_counts(shop: Shop, sql: str) -> None:
    [found] = shop.found(**billing(f'SQL = "{sql}"'))
    assert "billing touches the table boundary_orders of orders" in found


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, boundary_orders FROM billing ORDER BY a, boundary_orders",
        "SELECT a IS DISTINCT FROM b, boundary_orders FROM billing",
        "SELECT 'from boundary_orders' FROM billing -- from boundary_orders",
        "SELECT 1 FROM billing JOIN bills USING (boundary_orders)",
        "SELECT 1 FROM billing WHERE id IN (SELECT 1), boundary_orders",
        "EXPLAIN what is selected FROM boundary_orders",
    ],
)
def test_what_is_no_table_there_does_not_count(shop: Shop, sql: str) -> None:
    assert shop.found(**billing(f'SQL = "{sql}"')) == []


def test_a_foreign_key_to_the_table_of_another_module_is_found(shop: Shop) -> None:
    lines = ("from sqlalchemy import ForeignKey", 'KEY = ForeignKey("boundary_orders.id")')
    [found] = shop.found(**billing(*lines))
    assert "touches the table boundary_orders of orders" in found


@pytest.mark.parametrize(
    "lines",
    [
        ("from SHOP import orders", "def later() -> None:", "    print(orders.tables.Order)"),
        ("import SHOP.orders", "THEIRS = SHOP.orders.tables.Order.id"),
        ("import SHOP.orders as theirs", "THEIRS = theirs.tables.Order"),
        ("from .. import orders", "def later(order: orders.tables.Order) -> None: ..."),
        ("import SHOP", "THEIRS = SHOP.orders.tables.Order"),
        ("def later() -> type: return orders.tables.Order", "from SHOP import orders"),
        ("from importlib import import_module", 'THEIRS = import_module("SHOP.orders").tables.Order'),
    ],
)
def test_what_a_chain_of_names_leads_to_is_found(shop: Shop, lines: tuple[str, ...]) -> None:
    [found] = shop.found(**billing(*lines))
    assert "billing imports Order of orders" in found


def test_a_chain_of_names_may_lead_to_a_message(shop: Shop) -> None:
    chain = "NEEDS = (SHOP.orders.messages.PlaceOrder, orders.messages.Line.model_fields, orders.messages.Price.name)"
    assert shop.found(**billing("import SHOP.orders", "from SHOP import orders", chain)) == []


@pytest.mark.parametrize(
    "lines",
    [
        ("import importlib", 'THEIRS = importlib.import_module("SHOP.orders.tables")'),
        ("from importlib import import_module", 'THEIRS = import_module("..orders.tables", "SHOP.billing")'),
        ("from importlib import import_module", 'THEIRS = import_module("..orders.tables", __package__)'),
        ('THEIRS = __import__("SHOP.orders.tables")',),
    ],
)
def test_an_import_by_name_is_an_import(shop: Shop, lines: tuple[str, ...]) -> None:
    [found] = shop.found(**billing(*lines))
    assert f"billing imports {shop.name}.orders.tables from {shop.name}.orders.tables of orders" in found


@pytest.mark.parametrize(
    "line",
    [
        'T = sqlalchemy.table("boundary_orders", sqlalchemy.column("id"))',
        'T = sqlalchemy.Table("boundary_orders", METADATA)',
        'T = METADATA.tables["boundary_orders"]',
        'T = METADATA.tables["public.boundary_orders"]',
        'T = METADATA.tables.get("boundary_orders")',
    ],
)
def test_a_table_asked_for_by_name_is_found(shop: Shop, line: str) -> None:
    later = f"def later() -> None: {line}"
    [found] = shop.found(**billing("import sqlalchemy", "METADATA = sqlalchemy.MetaData()", later))
    assert found.startswith("billing/module.py:13: billing touches the table boundary_orders of orders")


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


def test_messages_that_are_called_alike_are_told_apart_in_the_picture(shop: Shop) -> None:
    theirs = """
        from dataclasses import dataclass
        from uno import Module
        from uno.modules import Event, EventInput, EventOutput, handles

        class Price(Event[EventInput, EventOutput]):
            name = "billing.price"

        class PlaceOrder(Event[EventInput, EventOutput]):
            pass

        class Billing(Module):
            @handles(Price)
            async def price(self, input: EventInput) -> EventOutput:
                return EventOutput()

            @handles(PlaceOrder)
            async def place(self, input: EventInput) -> EventOutput:
                return EventOutput()

        billing = Billing()
    """
    app = shop.app(billing__module=theirs)
    assert {edge.message: edge.module for edge in edges(app.modules) if edge.relation == "handles"} == {
        "orders.price": "orders",
        "billing.price": "billing",
        f"{shop.name}.orders.messages.PlaceOrder": "orders",
        f"{shop.name}.billing.module.PlaceOrder": "billing",
    }
    drawn = mermaid(app.modules).split("\n")
    nodes = {line.split("(")[0].strip(): line for line in drawn if "(event)" in line}
    arrows = [line.split() for line in drawn if "-->" in line and line.split()[0] in nodes]
    assert len(nodes) == len(arrows) == 3


# Their rows come along in a message, so that their class may be imported.
WITH_ORDER = """
        from uno import Query
        from uno.domain import AggregateRoot
        from SHOP.orders.tables import Order

        class Basket(AggregateRoot[str]):
            pass

        class GetOrder(Query[Order]):
            order_id: str

        class GetBasket(Query[Basket]):
            basket_id: str
"""
BRINGING = _flush(ORDERS["orders/messages.py"]).rstrip() + "\n\n\n" + _flush(WITH_ORDER)
TAKEN = ("from typing import Annotated", "from uno import Repository, UnitOfWork", "from sqlalchemy import select")
ROWS = [
    ("async def f(orders: Repository[Order]) -> None: ...",),
    ("async def f(orders: 'Repository[Order]') -> None: ...",),
    ("async def f(orders: Annotated[Repository[Order], 'all']) -> None: ...",),
    ("class Orders(Repository[Order]): ...",),
    ("async def f(uow: UnitOfWork) -> None:", "    uow.repository(Order)"),
    ("async def f() -> None:", "    Repository(Order)"),
    ("async def f() -> None:", "    select(Order.id)"),
    ("async def f(session: object) -> None:", "    await session.get(Order, 'a')"),
]


@pytest.mark.parametrize("entity", ["Order", "Basket"])
def test_rows_of_another_module_are_found_though_their_class_came_in_a_message(shop: Shop, entity: str) -> None:
    lines = [line.replace("Order]", f"{entity}]").replace("(Order", f"({entity}") for lines in ROWS for line in lines]
    text = billing("from SHOP.orders.messages import Basket, Order", *TAKEN, *lines)
    places = [15 + number for number, line in enumerate(lines) if entity in line]
    assert shop.found(**text, orders__messages=BRINGING) == [
        f"billing/module.py:{place}: billing reads or writes {entity} of orders; "
        "dispatch a message of that module instead."
        for place in places
    ]


def test_a_repository_that_another_file_made_of_them_is_found(shop: Shop) -> None:
    shared = (
        "from uno import Repository\nfrom SHOP.orders.tables import Order\nVAT = 20\n"
        "class OrderRepository(Repository[Order]): ...\nOrders = Repository[Order]\n"
    )
    lines = (
        "from SHOP.shared import OrderRepository, Orders",
        "def f(a: OrderRepository): ...",
        "def g(a: Orders): ...",
    )
    found = shop.found(**billing(*lines), shared=shared)
    assert [one.partition(" of orders")[0] for one in found] == [
        "billing/module.py:12: billing reads or writes Order",
        "billing/module.py:13: billing reads or writes Order",
    ]


def test_what_a_message_brings_may_be_looked_at(shop: Shop) -> None:
    lines = ("from SHOP.orders.messages import Order", "def total(order: Order) -> str:", "    return order.id")
    assert shop.found(**billing(*lines), orders__messages=BRINGING) == []
