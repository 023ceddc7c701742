"""Litestar with advanced-alchemy: its repository, its session per request."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
    base,
    repository,
)
from litestar import Litestar, get, post
from litestar.di import Provide
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Numeric
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.apps import rows
from benchmarks.apps.serving import POOL_SIZE, run, sqlalchemy_url
from uno.audit.tables import audit
from uno.data.model import UtcDateTime
from uno.queue.tables import deliveries


class Item(base.DefaultBase):
    __tablename__ = "bench_item"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    quantity: Mapped[int]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    active: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Audit(base.DefaultBase):
    __table__ = audit


class Delivery(base.DefaultBase):
    __table__ = deliveries


class ItemIn(BaseModel):
    name: str
    quantity: int
    price: Decimal


class ItemOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    quantity: int
    price: Decimal
    active: bool
    created_at: datetime


class Items(repository.SQLAlchemyAsyncRepository[Item]):
    model_type = Item


async def provide_items(db_session: AsyncSession) -> Items:
    return Items(session=db_session)


@get("/items/{item_id:uuid}", dependencies={"items": Provide(provide_items)})
async def get_item(item_id: UUID, items: Items) -> ItemOut:
    return ItemOut.model_validate(await items.get(item_id))


@post("/items", dependencies={"items": Provide(provide_items)})
async def create_item(data: ItemIn, items: Items) -> ItemOut:
    values = rows.item(data.model_dump())
    audited, delivered = rows.beside(values)
    item = await items.add(Item(**values))
    items.session.add_all([Audit(**audited), Delivery(**delivered)])
    await items.session.commit()
    return ItemOut.model_validate(item)


config = SQLAlchemyAsyncConfig(
    connection_string=sqlalchemy_url(),
    session_config=AsyncSessionConfig(expire_on_commit=False),
    engine_config=EngineConfig(pool_size=POOL_SIZE, max_overflow=0),
)

if __name__ == "__main__":
    run(Litestar([get_item, create_item], plugins=[SQLAlchemyPlugin(config=config)]))
