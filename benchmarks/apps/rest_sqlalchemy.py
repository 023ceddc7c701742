"""FastAPI with SQLAlchemy's asynchronous ORM, a session per request."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Numeric, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.apps import rest_rows as rows
from benchmarks.apps.serving import POOL_SIZE, run, sqlalchemy_url
from uno.audit.tables import audit
from uno.data.model import UtcDateTime


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "rest_item"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    quantity: Mapped[int]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    active: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


class Audit(Base):
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


engine = create_async_engine(sqlalchemy_url(), pool_size=POOL_SIZE, max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


@app.get("/items", response_model=list[ItemOut])
async def list_items(session: Session, limit: int = 100) -> Any:
    return (await session.scalars(select(Item).order_by(Item.id).limit(limit))).all()


@app.get("/items/{item_id}", response_model=ItemOut)
async def get_item(item_id: UUID, session: Session) -> Item:
    found = await session.get(Item, item_id)
    if found is None:
        raise HTTPException(404)
    return found


@app.post("/items", response_model=ItemOut, status_code=201)
async def create_item(body: ItemIn, session: Session) -> Item:
    values = rows.item(body.model_dump())
    item = Item(**values)
    session.add_all([item, Audit(**rows.created(values))])
    await session.commit()
    return item


@app.patch("/items/{item_id}", response_model=ItemOut)
async def update_item(item_id: UUID, body: ItemPatch, if_match: Annotated[str, Header()], session: Session) -> Item:
    item = await session.get(Item, item_id)
    if item is None:
        raise HTTPException(404)
    if item.version != rows.expected(if_match):
        raise HTTPException(412)
    after = body.model_dump(exclude_unset=True)
    before = {name: getattr(item, name) for name in after}
    for name, value in after.items():
        setattr(item, name, value)
    session.add(Audit(**rows.updated(str(item_id), before, after)))
    await session.commit()
    return item


if __name__ == "__main__":
    run(app)
