"""A process that reads a table and prints by how many bytes it grew: `python -m tests.contracts.streaming URL`."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import psutil
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column

from uno.data import Database, Model, Repository, TimestampMixin, UnitOfWork, VersionMixin

ROWS = 30_000
LENGTH = 2_000
_WARM = 3_000
_SAMPLED = 500


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Streamed(VersionMixin, TimestampMixin, Base):
    __tablename__ = "streamed"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str]


repository: Repository[Streamed] = Repository(Streamed)


async def all_at_once() -> AsyncIterator[Streamed]:
    """What a stream is not."""
    for one in await repository.find(sort="id"):
        yield one


async def grown(database: Database, reading: Any) -> int:
    """Bytes between a short reading and the most that a long one needs."""
    process = psutil.Process()
    async with UnitOfWork(database):
        async for _ in repository.stream(id__lte=_WARM):
            pass
    idle = peak = process.memory_info().rss
    seen = 0
    async with UnitOfWork(database):
        async for one in reading():
            seen += 1
            if one.id % _SAMPLED == 0:
                peak = max(peak, process.memory_info().rss)
    if seen != ROWS:
        raise RuntimeError(f"{seen} rows instead of {ROWS}.")
    return peak - idle


async def main(url: str) -> dict[str, int]:
    figures = {}
    for commit in ("auto", "session"):
        async with Database(url, commit=commit) as database:
            figures[commit] = await grown(database, lambda: repository.stream(sort="id"))
    async with Database(url) as database:
        figures["all"] = await grown(database, all_at_once)
    return figures


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
