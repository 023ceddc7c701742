"""FastAPI with SQLAlchemy's asynchronous ORM, a session per request."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Numeric
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.apps import rows
from benchmarks.apps.serving import POOL_SIZE, run, sqlalchemy_url
from uno.audit.tables import audit
from uno.data.model import UtcDateTime
from uno.queue.tables import deliveries


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "bench_item"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    quantity: Mapped[int]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    active: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Audit(Base):
    __table__ = audit


class Delivery(Base):
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


engine = create_async_engine(sqlalchemy_url(), pool_size=POOL_SIZE, max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


@app.get("/items/{item_id}", response_model=ItemOut)
async def get_item(item_id: UUID, session: Session) -> Item:
    found = await session.get(Item, item_id)
    if found is None:
        raise HTTPException(404)
    return found


@app.post("/items", response_model=ItemOut, status_code=201)
async def create_item(body: ItemIn, session: Session) -> Item:
    values = rows.item(body.model_dump())
    audited, delivered = rows.beside(values)
    item = Item(**values)
    session.add_all([item, Audit(**audited), Delivery(**delivered)])
    await session.commit()
    return item


if __name__ == "__main__":
    run(app)
