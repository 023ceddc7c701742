"""Two classes of one name have a history each, or are not taken into one database."""

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.orm import Mapped, mapped_column, registry
from tests.contracts.conftest import Fresh

from uno import App, Command, Module, clock, command_handler
from uno.audit import AuditBook, AuditTrail
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.errors import Misconfigured


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


def orders(table: str, base: Any = (Base,), **said: Any) -> Any:
    """A class called Order."""
    columns = {"__annotations__": {"id": Mapped[int], "place": Mapped[str]}, "id": mapped_column(primary_key=True)}
    return type("Order", base, {"__tablename__": table, "__module__": f"company.{table}", **columns, **said})


def document(module: str, **said: Any) -> Any:
    @dataclass
    class Order(AggregateRoot[int]):
        id: int
        place: str

    return type("Order", (Order,), {"__module__": f"company.{module}", "name": module, **said})


Shop = orders("shop")
Bank = orders("bank", (VersionMixin, Base))
Own = orders("own", __component__="own.Order")
Seen = orders("seen", __component__="seen.Order", __audit__="trigger")
Kept = document("kept")
Paper = document("paper", __component__="paper.Order")


@pytest.mark.parametrize(
    ("first", "second"), [(Shop, Bank), (Bank, Shop), (Shop, Kept), (Kept, Shop), (Kept, document("other"))]
)
def test_two_classes_of_one_name_are_refused(first: Any, second: Any) -> None:
    database = Database("sqlite://")
    database.plan(first)
    for _ in range(2):
        with pytest.raises(Misconfigured) as caught:
            database.plan(second)
    names = [f"{cls.__module__}.{cls.__qualname__}" for cls in (first, second)]
    way_out = f"`__component__ = '{second.__module__.removeprefix('company.')}.Order'`"
    assert f"{names[0]} and {names[1]} are both called 'Order' in the audit trail" in str(caught.value)
    assert way_out in str(caught.value)
    assert [plan.cls for plan in database.plans] == [first]
    assert Database("sqlite://").plan(second).component == "Order"


def test_a_name_of_its_own_is_not_that_of_another() -> None:
    database = Database("sqlite://")
    for cls in (Shop, Own, Paper):
        database.plan(cls)
    with pytest.raises(Misconfigured, match=r"both called 'own\.Order'"):
        database.plan(orders("again", __component__="own.Order"))


def test_classes_without_a_history_may_be_called_alike() -> None:
    """But not like one that has one: asked by the class, the trail would show it."""
    unseen = [
        orders("unseen", __audit__=False),
        document("unheard", __audit__=False),
        document("gone", __audit__=False),
    ]
    database = Database("sqlite://")
    assert [database.plan(cls).component for cls in unseen] == ["Order"] * 3
    with pytest.raises(Misconfigured, match=r"company\.gone\..*Order and company\.shop\.Order are both called 'Order'"):
        database.plan(Shop)
    other = Database("sqlite://")
    other.plan(Shop)
    with pytest.raises(Misconfigured, match="both called 'Order'"):
        other.plan(unseen[0])


def test_a_class_called_as_another_is_named_is_refused() -> None:
    database = Database("sqlite://")
    database.plan(Shop)
    with pytest.raises(Misconfigured, match="both called 'Order'"):
        database.plan(type("Sale", (document("sale"),), {"__component__": "Order"}))


def test_a_class_does_not_inherit_what_it_is_called() -> None:
    special: Any = type("Special", (Paper,), {"name": "special"})
    assert Database("sqlite://").plan(special).component == "Special"


@pytest.mark.parametrize("said", ["", None, 7])
def test_what_it_is_called_is_a_text(said: Any) -> None:
    with pytest.raises(Misconfigured, match=r"Order\.__component__ is a text like 'bank\.Order', not "):
        Database("sqlite://").plan(document("wrong", __component__=said))


def test_a_class_mapped_elsewhere_says_it_too() -> None:
    class Order:
        pass

    registry(metadata=MetaData()).map_imperatively(Order, Base.metadata.tables["shop"])
    Order.__component__ = "legacy.Order"  # type: ignore[attr-defined]
    assert Database("sqlite://").plan(Order).component == "legacy.Order"


@pytest.fixture(params=["auto", "batch", "session"])
async def database(request: pytest.FixtureRequest, fresh: Fresh, backend: str) -> Database:
    return await fresh(backend, Base.metadata, commit=request.param)


async def test_each_has_its_own_history_however_it_is_written(database: Database) -> None:
    classes = [Shop, Own, Seen, Paper]
    for cls in classes:
        repository: Repository[Any] = Repository(cls)
        async with UnitOfWork(database, books=[AuditBook()]):
            await repository.add(cls(id=1, place=cls.__module__))
        async with UnitOfWork(database, books=[AuditBook()]):
            (await repository.get(1)).place += "!"
        async with UnitOfWork(database, books=[AuditBook()]):
            await repository.insert_many([cls(id=n, place="x") for n in (2, 3)])
        if cls is not Paper:
            async with UnitOfWork(database, books=[AuditBook()]):
                await repository.update_many(id=2, values={"place": "y"})
        async with UnitOfWork(database, books=[AuditBook()]):
            await repository.delete_many(id=3)
    trail = AuditTrail(database)
    for cls in classes:
        name = cls.__dict__.get("__component__", "Order")
        assert [one.component for one in await trail.query(component=cls)] == [name] * (5 if cls is Paper else 6)
        assert [one.operation for one in await trail.history(cls, 1)] == ["create", "update"]
        assert await trail.history(cls, 1) == await trail.history(name, 1)
        assert [one.operation for one in await trail.history(cls, 3)] == ["create", "delete"]
        past = await trail.as_of(cls, 1, clock.now())
        assert past is not None
        assert past["place"] == f"{cls.__module__}!"


async def test_the_triggers_call_it_so(fresh: Fresh) -> None:
    database = await fresh("postgresql", Base.metadata)
    async with database.transaction() as transaction:
        await transaction.execute(text("INSERT INTO seen (id, place) VALUES (1, 'x')"))
    assert [one.component for one in await AuditTrail(database).query()] == ["seen.Order"]


class Sell(Command[None]):
    pass


async def sell(command: Sell, orders: Any) -> None: ...


def test_all_classes_of_one_name_are_told_at_once() -> None:
    third, fourth = orders("third"), document("fourth")
    sell.__annotations__["orders"] = Repository[third]
    module = Module("m", models=[Shop, Bank, fourth], handlers=[command_handler(Sell)(sell)])
    with pytest.raises(Misconfigured) as caught:
        App(module, database="sqlite://")
    assert [(one.kind, one.where) for one in caught.value.problems] == [
        ("wrong model", cls.__qualname__) for cls in (fourth, Bank, third)
    ]
    for cls in (Bank, third, fourth):
        assert f"company.shop.Order and {cls.__module__}.{cls.__qualname__} are both called 'Order'" in str(
            caught.value
        )
    assert App(Module("m", models=[Shop, Own, Paper]), database="sqlite://").database is not None
