"""FastAPI with SQLModel as its tutorial has it: models beside the table, a session per request."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Column, Field, SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

from benchmarks.apps import rest_rows as rows
from benchmarks.apps.serving import POOL_SIZE, run, sqlalchemy_url
from uno.data.model import UtcDateTime
from uno.data.tables import json_type


class ItemIn(SQLModel):
    name: str
    quantity: int
    price: Decimal = Field(max_digits=12, decimal_places=2)


class ItemPatch(SQLModel):
    name: str | None = None
    quantity: int | None = None
    price: Decimal | None = Field(None, max_digits=12, decimal_places=2)


class Item(ItemIn, table=True):
    __tablename__ = "rest_item"

    id: UUID = Field(primary_key=True)
    active: bool
    created_at: datetime = Field(sa_type=UtcDateTime)
    version: int


class ItemPublic(ItemIn):
    id: UUID
    active: bool
    created_at: datetime
    version: int


class Audit(SQLModel, table=True):
    __tablename__ = "uno_audit"

    id: UUID = Field(primary_key=True)
    kind: str
    component: str
    record_id: str
    operation: str
    actor: str | None
    actor_source: str
    tenant: str | None
    timestamp: datetime = Field(sa_type=UtcDateTime)
    before: dict[str, Any] | None = Field(sa_column=Column(json_type))
    after: dict[str, Any] | None = Field(sa_column=Column(json_type))
    correlation_id: str
    message_id: str
    traceparent: str | None


engine = create_async_engine(sqlalchemy_url(), pool_size=POOL_SIZE, max_overflow=0)
app = FastAPI()


async def session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine) as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


@app.get("/items", response_model=list[ItemPublic])
async def list_items(session: Session, limit: int = 100) -> Any:
    return (await session.exec(select(Item).order_by(Item.id).limit(limit))).all()


@app.get("/items/{item_id}", response_model=ItemPublic)
async def get_item(item_id: UUID, session: Session) -> Item:
    found = await session.get(Item, item_id)
    if found is None:
        raise HTTPException(404)
    return found


@app.post("/items", response_model=ItemPublic, status_code=201)
async def create_item(body: ItemIn, session: Session) -> Item:
    values = rows.item(body.model_dump())
    item = Item.model_validate(values)
    session.add_all([item, Audit(**rows.created(values))])
    await session.commit()
    await session.refresh(item)
    return item


@app.patch("/items/{item_id}", response_model=ItemPublic)
async def update_item(item_id: UUID, body: ItemPatch, if_match: Annotated[str, Header()], session: Session) -> Item:
    # SQLModel has no versions: the row is locked instead.
    item = await session.get(Item, item_id, with_for_update=True)
    if item is None:
        raise HTTPException(404)
    if item.version != rows.expected(if_match):
        raise HTTPException(412)
    after = body.model_dump(exclude_unset=True)
    before = {name: getattr(item, name) for name in after}
    item.sqlmodel_update({**after, "version": item.version + 1})
    session.add_all([item, Audit(**rows.updated(str(item_id), before, after))])
    await session.commit()
    await session.refresh(item)
    return item


if __name__ == "__main__":
    run(app)
