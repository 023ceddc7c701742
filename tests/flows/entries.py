"""Something to write, and servers with a table for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column

from uno.data import Database, Model, Repository, ULIDMixin, VersionMixin, schema
from uno.testing.postgres import DatabaseFarm


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Entry(ULIDMixin, VersionMixin, Tables):
    __tablename__ = "entry"
    text: Mapped[str] = mapped_column(default="")


entries: Repository[Entry] = Repository(Entry)


@asynccontextmanager
async def farm_of_entries() -> AsyncIterator[DatabaseFarm]:
    """Its databases are made by `create("entries")`."""

    async def prepare(url: str) -> None:
        async with Database(url) as database:
            await schema.create(database, [Tables.metadata])

    async with DatabaseFarm() as farm:
        await farm.template("entries", prepare)
        yield farm
