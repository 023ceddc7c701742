"""Never run: what synchronous code gives is what the asynchronous call gives, awaited."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, assert_type

from sqlalchemy import Result

from uno.data import Database, Page, Repository
from uno.data.facades import BlockingRepository
from uno.domain import AggregateRoot


@dataclass(eq=False)
class Order(AggregateRoot[str]):
    id: str


class Orders(Repository[Order]):
    pass


def repositories(database: Database) -> None:
    orders = database.blocking.repository(Order)
    assert_type(orders, BlockingRepository[Order])
    assert_type(database.blocking.repository(Orders()), BlockingRepository[Order])
    assert_type(orders.get("1"), Order)
    assert_type(orders.get_by_id("1", include_deleted=True), Order | None)
    assert_type(orders.find(price__lt=3, limit=1), list[Order])
    assert_type(orders.page(sort="id"), Page[Order])
    assert_type(orders.stream(), Generator[Order, None, None])
    assert_type(orders.count(), int)
    assert_type(orders.delete("1"), None)


def units(database: Database, text: str) -> None:
    with database.blocking.transaction() as uow:
        assert_type(uow.repository(Order).get(1), Order)
        assert_type(uow.execute("SELECT 1"), Result[Any])
        with uow.savepoint(), database.blocking.session() as session:
            assert_type(session.execute("SELECT 1"), Result[Any])


def what_anything_else_gives(database: Database) -> None:
    assert_type(database.blocking.run(Orders().get, "1", include_deleted=True), Order)
    assert_type(database.blocking.run(database.ping), None)


def what_is_refused(database: Database, order: Order) -> None:
    orders = database.blocking.repository(Order)
    orders.find(limit="1")  # type: ignore[arg-type]
    orders.add("no order")  # type: ignore[arg-type]
    database.blocking.run(database.ping, 1)  # type: ignore[call-arg]
