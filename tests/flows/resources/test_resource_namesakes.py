"""The history that a resource shows is that of its own class."""

from typing import Any

import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.flows.resources.shop import calling

from uno.app import App, Module, resource
from uno.data import Database, Model, schema
from uno.errors import Misconfigured
from uno.testing.postgres import DatabaseFarm


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


def orders(table: str, **said: Any) -> Any:
    columns = {"__annotations__": {"id": Mapped[int], "place": Mapped[str]}, "id": mapped_column(primary_key=True)}
    return type("Order", (Base,), {"__tablename__": table, "__module__": table, **columns, **said})


Shop, Bank = orders("shop_orders"), orders("bank_orders", __component__="bank.Order")


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, farm: DatabaseFarm) -> str:
    if request.param == "sqlite":
        return "sqlite://"
    url = await farm.create()
    async with Database(url) as database:
        await schema.create(database, [Base.metadata])
    return url


async def test_resources_of_classes_of_one_name_have_a_history_each(url: str) -> None:
    routes = [resource(Shop, prefix="/shop", access="open"), resource(Bank, prefix="/bank", access="open")]
    async with calling(App(Module("orders", routes=routes), database=url)) as client:
        for path in ("/shop", "/bank"):
            assert (await client.post(path, json={"place": f"of {path}"})).status_code == 201
        for path in ("/shop", "/bank"):
            shown = (await client.get(f"{path}/1/history")).json()["items"]
            assert [(one["operation"], one["after"]["place"]) for one in shown] == [("create", f"of {path}")]


def test_resources_whose_classes_would_share_a_history_do_not_start() -> None:
    routes = [resource(cls, prefix=f"/{n}", access="open") for n, cls in enumerate((Shop, orders("other_orders")))]
    with pytest.raises(Misconfigured, match=r"both called 'Order'.*`__component__ = 'other_orders\.Order'`"):
        App(Module("orders", routes=routes), database="sqlite://")
