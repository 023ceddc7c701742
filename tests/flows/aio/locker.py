"""A process that takes a lock in a database: `python locker.py hold|count|unit URL`, told by lines what to do next."""

import asyncio
import sys

from sqlalchemy import text

from uno.aio import AsyncLock
from uno.data import Database, UnitOfWork

NAME = "nightly import"
ROUNDS, TASKS = 10, 4
COUNT = text("SELECT number FROM counters")


async def prepare(url: str) -> None:
    async with Database(url) as database, database.transaction() as transaction:
        await transaction.execute(text("CREATE TABLE counters (number int NOT NULL)"))
        await transaction.execute(text("INSERT INTO counters VALUES (0)"))


def lock_of(database: Database, seconds: float | None = None) -> AsyncLock:
    return AsyncLock(NAME, scope="database", database=database, timeout=seconds)


async def told() -> None:
    """Until a line comes."""
    await asyncio.to_thread(sys.stdin.readline)


def tell(what: str) -> None:
    print(what, flush=True)


async def hold(database: Database) -> None:
    async with lock_of(database):
        tell("held")
        await told()
    tell("released")


async def unit(database: Database) -> None:
    """The lock of a unit of work, which changes something."""
    async with UnitOfWork(database) as uow:
        async with AsyncLock(NAME, scope="database"):
            await uow.execute(text("UPDATE counters SET number = number + 100"))
        tell("held")
        await told()
    tell("released")


async def count(database: Database) -> None:
    """Add one, often, as those do who need the lock: read, then write what was read and one."""

    async def several() -> None:
        for _ in range(ROUNDS):
            async with lock_of(database):
                [[number]] = await database.query(COUNT)
                async with database.transaction() as transaction:
                    await transaction.execute(text("UPDATE counters SET number = :n"), {"n": number + 1})

    tell("held")
    await asyncio.gather(*(several() for _ in range(TASKS)))
    tell("released")


async def main(what: str, url: str) -> None:
    async with Database(url) as database:
        await {"hold": hold, "unit": unit, "count": count}[what](database)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
