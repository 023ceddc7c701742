"""Litestar with advanced-alchemy: its repository, its session per request."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
    base,
    filters,
    repository,
)
from litestar import Litestar, get, patch, post
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.params import Parameter
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Numeric
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.apps import rest_rows as rows
from benchmarks.apps.serving import POOL_SIZE, run, sqlalchemy_url
from uno.audit.tables import audit
from uno.data.model import UtcDateTime


class Item(base.DefaultBase):
    __tablename__ = "rest_item"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    quantity: Mapped[int]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    active: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


class Audit(base.DefaultBase):
    __table__ = audit


class ItemIn(BaseModel):
    name: str
    quantity: int
    price: Decimal


class ItemPatch(BaseModel):
    name: str | None = None
    quantity: int | None = None
    price: Decimal | None = None


class ItemOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    quantity: int
    price: Decimal
    active: bool
    created_at: datetime
    version: int


class Items(repository.SQLAlchemyAsyncRepository[Item]):
    model_type = Item


async def provide_items(db_session: AsyncSession) -> Items:
    return Items(session=db_session)


ITEMS = {"items": Provide(provide_items)}


@get("/items", dependencies=ITEMS)
async def list_items(items: Items, limit: int = 100) -> list[ItemOut]:
    found = await items.list(filters.LimitOffset(limit, 0), order_by=Item.id.asc())
    return [ItemOut.model_validate(one) for one in found]


@get("/items/{item_id:uuid}", dependencies=ITEMS)
async def get_item(item_id: UUID, items: Items) -> ItemOut:
    return ItemOut.model_validate(await items.get(item_id))


@post("/items", dependencies=ITEMS)
async def create_item(data: ItemIn, items: Items) -> ItemOut:
    values = rows.item(data.model_dump())
    item = await items.add(Item(**values))
    items.session.add(Audit(**rows.created(values)))
    await items.session.commit()
    return ItemOut.model_validate(item)


@patch("/items/{item_id:uuid}", dependencies=ITEMS)
async def update_item(
    item_id: UUID, data: ItemPatch, items: Items, if_match: Annotated[str, Parameter(header="if-match")]
) -> ItemOut:
    item = await items.get(item_id)
    if item.version != rows.expected(if_match):
        raise HTTPException(status_code=412)
    after = data.model_dump(exclude_unset=True)
    before = {name: getattr(item, name) for name in after}
    for name, value in after.items():
        setattr(item, name, value)
    items.session.add(Audit(**rows.updated(str(item_id), before, after)))
    await items.session.commit()
    return ItemOut.model_validate(item)


config = SQLAlchemyAsyncConfig(
    connection_string=sqlalchemy_url(),
    session_config=AsyncSessionConfig(expire_on_commit=False),
    engine_config=EngineConfig(pool_size=POOL_SIZE, max_overflow=0),
)

if __name__ == "__main__":
    run(Litestar([list_items, get_item, create_item, update_item], plugins=[SQLAlchemyPlugin(config=config)]))
