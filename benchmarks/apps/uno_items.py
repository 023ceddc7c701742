"""uno: message, handler, repository."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from sqlalchemy import Numeric
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.apps.serving import POOL_SIZE, database_url, run
from uno import clock
from uno.api import asgi
from uno.app import App, Module
from uno.bus import EventBus, command_handler, event_handler, query_handler
from uno.data import Database, Model, Repository, UUIDMixin
from uno.messages import Command, DomainEvent, Query
from uno.settings import DatabaseSettings, Settings


class Item(UUIDMixin, Model):
    __tablename__ = "bench_item"

    name: Mapped[str]
    quantity: Mapped[int]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)


class GetItem(Query[Item]):
    item_id: UUID


class CreateItem(Command[Item]):
    name: str
    quantity: int
    price: Decimal


class ItemCreated(DomainEvent):
    name: ClassVar[str] = "bench.ItemCreated"

    item_id: UUID


@query_handler(GetItem)
async def get_item(message: GetItem, items: Repository[Item]) -> Item:
    return await items.get(message.item_id)


@command_handler(CreateItem)
async def create_item(message: CreateItem, items: Repository[Item], events: EventBus) -> Item:
    item = await items.create(name=message.name, quantity=message.quantity, price=message.price)
    await events.publish(ItemCreated(item_id=item.id))
    return item


@event_handler(ItemCreated, durable=True, name="bench.on_item_created")
async def on_item_created(event: ItemCreated) -> None:
    """No worker runs in the benchmark: what is measured is the row that waits for one."""


module = Module("bench", handlers=[get_item, create_item, on_item_created], models=[Item], routes=[GetItem, CreateItem])


def make_app(url: str) -> App:
    database = Database(url, settings=DatabaseSettings(pool_size=POOL_SIZE, max_overflow=0))
    return App(module, database=database, settings=Settings())


if __name__ == "__main__":
    run(asgi(make_app(database_url())))
