"""What 10,000 rows with their audit rows cost, against a bare COPY of the same rows."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from decimal import Decimal
from statistics import median
from time import perf_counter
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import Numeric, String, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column
from sqlmodel import Column, Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from benchmarks.measure import Line, Rounds, Section, database_folder, in_turns, main, ratio
from uno import clock, context, ids
from uno.audit import AuditBook
from uno.audit.tables import audit
from uno.data import Database, Model, Repository, UnitOfWork, UtcDateTime, UUIDMixin, VersionMixin, embedded, schema
from uno.data.tables import json_type
from uno.data.wire import encode

ROWS = 10_000
COLUMNS = ("id", "sku", "name", "price", "stock", "active", "note", "version")
# By hand: the audit rows of what is there, which is what was copied.
AUDITED = """
    INSERT INTO uno_audit (id, kind, component, record_id, operation, actor_source, timestamp, after, correlation_id,
                           message_id)
    SELECT gen_random_uuid(), 'change', 'Product', id::text, 'create', 'system', now(),
           jsonb_build_object('id', id, 'sku', sku, 'name', name, 'price', price::text, 'stock', stock,
                              'active', active, 'note', note), 'c', 'm'
    FROM bulk_products
"""


class Product(UUIDMixin, VersionMixin, Model):
    __tablename__ = "bulk_products"
    sku: Mapped[str] = mapped_column(String(20))
    name: Mapped[str]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    stock: Mapped[int]
    active: Mapped[bool]
    note: Mapped[str | None]


class Row(SQLModel, table=True):
    """The same with SQLModel."""

    __tablename__ = "bulk_products"

    id: UUID = Field(default_factory=ids.uuid7, primary_key=True)
    sku: str
    name: str
    price: Decimal = Field(max_digits=12, decimal_places=2)
    stock: int
    active: bool
    note: str | None
    version: int = 1


class Entry(SQLModel, table=True):
    """Its audit row with SQLModel."""

    __tablename__ = "uno_audit"

    id: UUID = Field(default_factory=ids.uuid7, primary_key=True)
    kind: str = "change"
    component: str = "Product"
    record_id: str
    operation: str = "create"
    actor_source: str = "system"
    timestamp: datetime = Field(sa_type=UtcDateTime)
    after: dict[str, Any] | None = Field(sa_column=Column(json_type))
    correlation_id: str
    message_id: str


def values(number: int) -> dict[str, Any]:
    return {
        "sku": f"S-{number:06}",
        "name": f"product number {number}",
        "price": Decimal(number) / 100,
        "stock": number % 500,
        "active": number % 3 > 0,
        "note": None if number % 2 else "on demand",
    }


def mappings() -> list[dict[str, Any]]:
    return [{"id": ids.uuid7(), **values(n)} for n in range(ROWS)]


class Bench:
    """The variants; each empties the tables, makes its rows, is timed, and has its rows and images counted."""

    def __init__(self, database: Database, connection: asyncpg.Connection, engine: AsyncEngine) -> None:
        self.database, self.connection, self.engine = database, connection, engine
        self.products = Repository(Product)

    async def timed(self, work: Callable[[], Awaitable[Any]], audited: int) -> float:
        await self.connection.execute("CHECKPOINT")
        started = perf_counter()
        await work()
        took = (perf_counter() - started) * 1000
        await self.check(audited)
        return took

    async def check(self, audited: int) -> None:
        (there, images), *_ = await self.database.query(
            select(
                select(func.count()).select_from(Product).scalar_subquery(),
                select(func.count()).where(audit.c.after["sku"].as_string().like("S-%")).scalar_subquery(),
            )
        )
        if (there, images) != (ROWS, audited):
            raise RuntimeError(f"{there} rows and {images} audit rows instead of {ROWS} and {audited}.")

    async def empty(self) -> None:
        await self.connection.execute("TRUNCATE bulk_products, uno_audit")

    async def copied(self, rows: Sequence[dict[str, Any]]) -> None:
        records = [(*(row[name] for name in COLUMNS[:-1]), 1) for row in rows]
        await self.connection.copy_records_to_table("bulk_products", records=records, columns=COLUMNS)

    async def bare(self) -> float:
        await self.empty()
        rows = mappings()
        return await self.timed(lambda: self.copied(rows), 0)

    async def by_hand(self) -> float:
        await self.empty()
        rows = mappings()

        async def work() -> None:
            async with self.connection.transaction():
                await self.copied(rows)
                await self.connection.execute(AUDITED)

        return await self.timed(work, ROWS)

    async def of_mappings(self) -> float:
        await self.empty()
        rows = mappings()
        return await self.timed(lambda: self.inserted(rows), ROWS)

    async def of_objects(self) -> float:
        await self.empty()
        objects = [Product(**values(n)) for n in range(ROWS)]
        return await self.timed(lambda: self.inserted(objects), ROWS)

    async def inserted(self, items: Sequence[Any]) -> None:
        async with UnitOfWork(self.database, books=(AuditBook(),)):
            await self.products.insert_many(items)

    async def one_by_one(self) -> float:
        await self.empty()
        objects = [Product(**values(n)) for n in range(ROWS)]

        async def work() -> None:
            async with UnitOfWork(self.database, books=(AuditBook(),)):
                for one in objects:
                    await self.products.add(one)

        return await self.timed(work, ROWS)

    async def sqlmodel(self) -> float:
        await self.empty()
        objects = [Row(**values(n)) for n in range(ROWS)]

        async def work() -> None:
            async with AsyncSession(self.engine) as session:
                session.add_all(objects)
                session.add_all([audit_of(one) for one in objects])
                await session.commit()

        return await self.timed(work, ROWS)

    async def updated(self) -> float:
        await self.of_mappings()

        async def work() -> None:
            async with UnitOfWork(self.database, books=(AuditBook(),)):
                await self.products.update_many(values={"sku": "S-new"}, everything=True)

        return await self.timed(work, 2 * ROWS)


def audit_of(row: Row) -> Entry:
    current = context.current()
    return Entry(
        record_id=str(row.id),
        timestamp=clock.now(),
        after=encode(row.model_dump()),
        correlation_id=current.correlation_id,
        message_id=current.message_id,
    )


def _lines(figures: Rounds) -> list[Line]:
    took = {name: f"{median(found):,.0f} ms" for name, found in figures.items()}
    faster = ratio(figures, "sqlmodel", "objects")
    return [
        Line("bare COPY", median(figures["bare"]), "ms"),
        Line("COPY, INSERT … SELECT by hand", ratio(figures, "by hand", "bare"), note=took["by hand"]),
        Line("insert_many of mappings", ratio(figures, "mappings", "bare"), limit=6.0, note=took["mappings"]),
        Line("insert_many of objects", ratio(figures, "objects", "bare"), limit=8.0, note=took["objects"]),
        Line("add of each object", ratio(figures, "one by one", "bare"), note=took["one by one"]),
        Line("SQLModel add_all with audit rows", ratio(figures, "sqlmodel", "bare"), note=took["sqlmodel"]),
        Line("the same, × insert_many of objects", faster, limit=15.0, at_least=True),
        Line("update_many of all", ratio(figures, "update", "bare"), note=took["update"]),
    ]


async def measure(rounds: int) -> Section:
    with database_folder() as folder, ExitStack() as stack:
        lease = stack.enter_context(await asyncio.to_thread(embedded.acquire, folder, fsync=False))
        url = await embedded.ensure_database(lease.server, "bench")
        figures = await _measured(url, rounds)
    return Section(f"bulk: {ROWS:,} rows with an audit row each, × a bare COPY of them", _lines(figures))


async def _measured(url: str, rounds: int) -> Rounds:
    async with Database(url) as database:
        await schema.create(database, [Model.metadata])
        engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
        connection = await asyncpg.connect(database.dsn)
        try:
            bench = Bench(database, connection, engine)
            variants = {
                "bare": bench.bare,
                "by hand": bench.by_hand,
                "mappings": bench.of_mappings,
                "objects": bench.of_objects,
                "one by one": bench.one_by_one,
                "sqlmodel": bench.sqlmodel,
                "update": bench.updated,
            }
            await in_turns(1, variants)
            return await in_turns(rounds, variants)
        finally:
            await connection.close()
            await engine.dispose()


if __name__ == "__main__":
    main(measure, rounds=5)
