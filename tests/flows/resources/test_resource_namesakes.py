"""The history that a resource shows is that of its own class."""

from typing import Any

from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.flows.resources.shop import calling

from uno.app import App, Module, resource
from uno.data import Model


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


def orders(table: str, **said: Any) -> Any:
    columns = {"__annotations__": {"id": Mapped[int], "place": Mapped[str]}, "id": mapped_column(primary_key=True)}
    return type("Order", (Base,), {"__tablename__": table, "__module__": table, **columns, **said})


Shop, Bank = orders("shop_orders"), orders("bank_orders", __component__="bank.Order")


async def test_resources_of_classes_of_one_name_have_a_history_each() -> None:
    routes = [resource(Shop, prefix="/shop", access="open"), resource(Bank, prefix="/bank", access="open")]
    async with calling(App(Module("orders", routes=routes), database="sqlite://")) as client:
        for path in ("/shop", "/bank"):
            assert (await client.post(path, json={"place": f"of {path}"})).status_code == 201
        for path in ("/shop", "/bank"):
            shown = (await client.get(f"{path}/1/history")).json()["items"]
            assert [(one["operation"], one["after"]["place"]) for one in shown] == [("create", f"of {path}")]
