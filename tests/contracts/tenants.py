"""What several tenants have in one database: tables whose policies keep them apart, and one without."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from sqlalchemy import ForeignKey, MetaData, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from uno import context
from uno.context import Context
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin

T = TypeVar("T")
POLICY = "USING (tenant = nullif(current_setting('uno.tenant', true), ''))"


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Note(VersionMixin, Base):
    """The fast kind."""

    __tablename__ = "tenant_notes"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(default="")
    tenant: Mapped[str | None]


class Folder(VersionMixin, Base):
    """Its relationship makes it a class of SQLAlchemy's session."""

    __tablename__ = "tenant_folders"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(default="")
    tenant: Mapped[str]
    sheets: Mapped[list["Sheet"]] = relationship(cascade="all, delete-orphan", lazy="selectin")


class Sheet(Base):
    __tablename__ = "tenant_sheets"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    folder_id: Mapped[int | None] = mapped_column(ForeignKey("tenant_folders.id"))
    tenant: Mapped[str]


class Town(VersionMixin, Base):
    """Everybody's."""

    __tablename__ = "tenant_towns"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(default="")


SECURED = (Note, Folder, Sheet)

notes: Repository[Note] = Repository(Note)
folders: Repository[Folder] = Repository(Folder)
towns: Repository[Town] = Repository(Town)


async def fill(database: Database) -> None:
    """Two rows of each tenant."""
    async with UnitOfWork(database):
        for place, tenant in enumerate(["north", "south"]):
            for number in (1, 2):
                key = 10 * place + number
                await notes.add(Note(id=key, text=f"{tenant} {number}", tenant=tenant))
                await folders.add(Folder(id=key, name=tenant, tenant=tenant, sheets=[Sheet(id=key, tenant=tenant)]))
        await towns.add(Town(id=1, name="Bonn"))


@asynccontextmanager
async def member(url: str, *tables: str) -> AsyncIterator[str]:
    """The URL of a role for which the policies of these tables hold; it is gone after the block."""
    role = f"uno_member_{token_hex(6)}"
    there = url.partition("?")[0]
    names = tables or tuple(one.__tablename__ for one in SECURED)
    await run(
        there,
        f"CREATE ROLE {role} NOSUPERUSER LOGIN PASSWORD '{role}'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
        *(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY" for name in names),
        *(f"CREATE POLICY own ON {name} {POLICY}" for name in names),
    )
    parts = urlsplit(there)
    try:
        yield urlunsplit(parts._replace(netloc=f"{role}:{role}@{parts.netloc.rpartition('@')[2]}"))
    finally:
        await run(there, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def both(work: Callable[[str], Awaitable[T]]) -> list[T]:
    """What `work` gives for two tenants, at the same time."""

    async def of(tenant: str) -> T:
        with context.use(Context(tenant=tenant)):
            return await work(tenant)

    return await asyncio.gather(of("north"), of("south"))


def of(tenant: str | None) -> Any:
    return context.use(Context(tenant=tenant))


def expected(tenant: str) -> list[int]:
    return [1, 2] if tenant == "north" else [11, 12]


async def everything(uow: UnitOfWork, key: int) -> list[list[int]]:
    """The keys of notes that each way to read gives; `key` is one that is there."""
    plain = select(Note.id).order_by(Note.id)
    return [
        [one.id for one in await notes.find(sort="id")],
        [
            one.id
            for one in (await notes.page(sort="id", limit=1)).items + (await notes.page(sort="-id", limit=1)).items
        ],
        [one.id async for one in notes.stream(sort="id", batch=1)],
        [one.id for one in await notes.get_all(order_by="id")],
        [key, key + await notes.count() - 1],
        list((await uow.execute("SELECT id FROM tenant_notes ORDER BY id")).scalars()),
        list((await uow.execute(plain)).scalars()),
        # A function that nobody knows, so that it is in a transaction that may write.
        list((await uow.execute("SELECT id FROM tenant_notes, pg_sleep(0) ORDER BY id")).scalars()),
        [one.id for one in await notes.find(sort="id")],
        list((await (await uow.session()).scalars(plain)).all()),
        [one.id for one in await folders.find(sort="id")],
        [sheet.id for one in await folders.find(sort="id") for sheet in one.sheets],
        [one.id async for one in folders.stream(sort="id")],
    ]
