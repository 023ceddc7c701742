"""A small shop whose tables are resources, on either backend."""

import enum
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx2
from sqlalchemy import JSON, CheckConstraint, Float, ForeignKey, MetaData, Numeric, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from uno.api import asgi
from uno.app import App, Module, resource
from uno.data import Model, SoftDeleteMixin, TimestampMixin, UUIDMixin, VersionMixin
from uno.domain import AggregateRoot


class Base(Model):
    __abstract__ = True
    metadata = MetaData(naming_convention=Model.metadata.naming_convention)


class State(enum.Enum):
    NEW = "new"
    SENT = "sent"


class Customer(Base):
    """No version and no clock: two columns and a key of the database's."""

    __tablename__ = "rest_customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    email: Mapped[str | None] = mapped_column(String(40), unique=True)
    password: Mapped[str] = mapped_column(default="", info={"hidden": True})


class Order(UUIDMixin, VersionMixin, TimestampMixin, SoftDeleteMixin, Base):
    __tablename__ = "rest_orders"
    number: Mapped[str] = mapped_column(String(12), unique=True)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    amount: Mapped[int] = mapped_column(default=1)
    state: Mapped[State] = mapped_column(default=State.NEW)
    note: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    secret: Mapped[str] = mapped_column(default="s3cret", info={"hidden": True})
    origin: Mapped[str] = mapped_column(default="shop", info={"read_only": True})
    tenant: Mapped[str | None]
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("rest_customers.id"))
    customer: Mapped[Customer | None] = relationship(viewonly=True)
    __table_args__ = (CheckConstraint("amount > 0", name="some"),)


class ShopLine(Base):
    """A composite key."""

    __tablename__ = "rest_lines"
    order: Mapped[str] = mapped_column(String(20), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    weight: Mapped[float] = mapped_column(Float)


@dataclass(eq=False)
class Parcel(AggregateRoot[str]):
    """A document."""

    id: str
    label: str
    parts: list[str] = field(default_factory=list)
    pin: str = field(default="0000", metadata={"hidden": True})


EVERYTHING = ("list", "create", "get", "replace", "merge", "delete", "restore", "history", "bulk_create", "bulk_delete")
SIMPLE = tuple(one for one in EVERYTHING if one != "restore")


def shop(database: str, **options: Any) -> App:
    routes = [
        resource(Order, access="open", **({"operations": EVERYTHING} | options)),
        resource(Customer, access="open", operations=SIMPLE),
        resource(ShopLine, access="open", operations=SIMPLE, prefix="/lines"),
        resource(Parcel, access="open", operations=SIMPLE),
    ]
    return App(Module("shop", routes=routes), database=database)


@asynccontextmanager
async def calling(app: App) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=asgi(app))
    async with app, httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield client


Client = httpx2.AsyncClient
Make = Callable[..., Any]


async def an_order(client: Client, number: str = "A-1", **values: Any) -> httpx2.Response:
    response = await client.post("/orders", json={"number": number, "price": "9.90", **values})
    assert response.status_code == 201, response.text
    return response


def fields_in(response: httpx2.Response) -> list[str]:
    """What a problem document says is wrong."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    return [error["field"] for error in response.json().get("errors", [])]
