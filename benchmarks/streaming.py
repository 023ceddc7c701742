"""A process that reads a long stream and prints figures: `python -m benchmarks.streaming URL ROWS COMMIT`."""

import asyncio
import json
import sys
from datetime import datetime
from decimal import Decimal

import psutil
from sqlalchemy import MetaData, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from uno.data import Database, DatabaseSettings, Model, Repository, UnitOfWork, VersionMixin

MIB = 2**20
WARM = 5_000
SAMPLED = 1_000
_VALUES = "n, 1, 'row number ' || n, n / 100.0, {now}, {filler}"
FILL = {
    "postgresql": "INSERT INTO streamed (id, version, name, price, at, note) SELECT "
    + _VALUES.format(now="now()", filler="repeat('x', 100)")
    + " FROM generate_series(1, :rows) AS n",
    "sqlite": "INSERT INTO streamed (id, version, name, price, at, note) "
    "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :rows) SELECT "
    + _VALUES.format(now="'2026-01-01 00:00:00.000000'", filler="printf('%.*c', 100, 'x')")
    + " FROM s",
}


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Streamed(VersionMixin, Base):
    __tablename__ = "streamed"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    at: Mapped[datetime]
    note: Mapped[str]


async def fill(url: str, rows: int) -> None:
    async with Database(url, settings=DatabaseSettings(statement_timeout=600)) as database:
        await database.create_tables([Base.metadata])
        async with database.transaction() as transaction:
            await transaction.execute(text(FILL[database.backend]), {"rows": rows})


async def read(url: str, rows: int, commit: str) -> dict[str, float]:
    """MiB after a short stream, and how many more the long one needs at most."""
    process = psutil.Process()
    repository: Repository[Streamed] = Repository(Streamed)
    async with Database(url, commit=commit) as database:
        async with UnitOfWork(database):
            async for _ in repository.stream(id__lte=WARM):
                pass
        idle = peak = process.memory_info().rss
        seen = 0
        async with UnitOfWork(database):
            async for one in repository.stream(sort="id"):
                seen += 1
                if one.id % SAMPLED == 0:
                    peak = max(peak, process.memory_info().rss)
    if seen != rows:
        raise RuntimeError(f"{seen} rows instead of {rows}.")
    return {"idle": idle / MIB, "grown": (peak - idle) / MIB}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(read(sys.argv[1], int(sys.argv[2]), sys.argv[3]))))
