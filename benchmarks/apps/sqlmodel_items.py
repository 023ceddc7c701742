"""FastAPI with SQLModel, a session per request."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Column, Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from benchmarks.apps import rows
from benchmarks.apps.serving import POOL_SIZE, run, sqlalchemy_url
from uno.data.model import UtcDateTime
from uno.data.tables import json_type


class ItemIn(SQLModel):
    name: str
    quantity: int
    price: Decimal = Field(max_digits=12, decimal_places=2)


class Item(ItemIn, table=True):
    __tablename__ = "bench_item"

    id: UUID = Field(primary_key=True)
    active: bool
    created_at: datetime = Field(sa_type=UtcDateTime)


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


class Delivery(SQLModel, table=True):
    __tablename__ = "uno_delivery"

    id: UUID = Field(primary_key=True)
    subscriber: str
    event: str
    event_id: str
    event_version: int
    aggregate_id: str | None
    payload: dict[str, Any] = Field(sa_column=Column(json_type))
    context: dict[str, Any] = Field(sa_column=Column(json_type))
    correlation_id: str
    message_id: str
    traceparent: str | None
    tenant: str | None
    key: str | None
    state: str
    attempt: int
    failures: int
    lost_leases: int
    run_at: datetime = Field(sa_type=UtcDateTime)
    lease_until: datetime | None = Field(sa_type=UtcDateTime)
    worker: str | None
    error: str | None
    created_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(sa_type=UtcDateTime)


engine = create_async_engine(sqlalchemy_url(), pool_size=POOL_SIZE, max_overflow=0)
app = FastAPI()


async def session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


@app.get("/items/{item_id}", response_model=Item)
async def get_item(item_id: UUID, session: Session) -> Item:
    found = await session.get(Item, item_id)
    if found is None:
        raise HTTPException(404)
    return found


@app.post("/items", response_model=Item, status_code=201)
async def create_item(body: ItemIn, session: Session) -> Item:
    values = rows.item(body.model_dump())
    audited, delivered = rows.beside(values)
    item = Item(**values)
    session.add_all([item, Audit(**audited), Delivery(**delivered)])
    await session.commit()
    return item


if __name__ == "__main__":
    run(app)
