"""Classes of different bases refer to each other."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry, relationship
from sqlmodel import Field, SQLModel

from uno.api import asgi
from uno.app import App, Module, resource
from uno.audit import AuditBook
from uno.data import Database, Model, Repository, UnitOfWork, UUIDMixin, schema
from uno.data.migrations.driving import Migrations
from uno.errors import Misconfigured

Fresh = Callable[..., Awaitable[Database]]


class Lands(SQLModel):
    metadata = MetaData()


class Country(Lands, table=True):
    __tablename__ = "together_countries"
    code: str = Field(primary_key=True)
    name: str = ""


class Towns(DeclarativeBase):
    metadata = MetaData()


class Town(Towns):
    __tablename__ = "together_towns"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Buyers(Model):
    __abstract__ = True
    metadata = MetaData(naming_convention=Model.metadata.naming_convention)


class Viewer(UUIDMixin, Buyers):
    __tablename__ = "together_viewers"
    name: Mapped[str]
    country_code: Mapped[str | None] = mapped_column(ForeignKey(Country.__table__.c.code))  # type: ignore[attr-defined]
    town_id: Mapped[int | None] = mapped_column(ForeignKey(Town.__table__.c.id))
    country: Mapped[Country | None] = relationship(viewonly=True)
    town: Mapped[Town | None] = relationship(viewonly=True)


class Buyer(UUIDMixin, Buyers):
    __tablename__ = "together_buyers"
    name: Mapped[str]
    country_code: Mapped[str | None] = mapped_column(ForeignKey(Country.__table__.c.code))  # type: ignore[attr-defined]
    town_id: Mapped[int | None] = mapped_column(ForeignKey(Town.__table__.c.id))
    country: Mapped[Country | None] = relationship()
    town: Mapped[Town | None] = relationship()


def application(kind: Any, database: Database) -> App:
    routes = [resource(kind, access="open", includable=["country", "town"])]
    routes += [resource(one, access="open") for one in (Country, Town)]
    return App(Module("together", routes=routes), database=database)


@pytest.mark.parametrize("kind", [Viewer, Buyer])
async def test_an_application_has_relationships_from_one_base_to_another(fresh: Fresh, backend: str, kind: Any) -> None:
    database = await fresh(backend)
    app = application(kind, database)
    # The tables that others refer to come first, whatever the order of the models.
    await app.create_schema()
    async with app:
        async with UnitOfWork(database, books=[AuditBook()]):
            country = await Repository(Country).add(Country(code="de", name="Germany"))
            town = await Repository(Town).add(Town(id=1, name="Bonn"))
            if kind is Buyer:
                await Repository(Buyer).add(Buyer(name="Ada", country=country, town=town))
            else:
                await Repository(Viewer).add(Viewer(name="Ada", country_code="de", town_id=1))
        async with UnitOfWork(database):
            found: Any = await Repository[Any](kind).find_one(name="Ada", include=["country", "town"])
            assert (found.country.name, found.town.name) == ("Germany", "Bonn")
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=asgi(app)), base_url="http://together"
        ) as client:
            answer = await client.get(f"/{kind.__name__.lower()}s?include=country,town")
            assert answer.status_code == 200, answer.text
            [item] = answer.json()["items"]
            assert (item["country"], item["town"]) == (
                {"code": "de", "name": "Germany"},
                {"id": 1, "name": "Bonn"},
            )


async def test_migrations_make_the_tables_that_others_refer_to_first(
    backend: str, templates: Any, tmp_path: Path
) -> None:
    async with Database(await templates.empty_url(backend)) as database:
        tables = App(Module("together", models=[Buyer, Country, Town]), database=database).tables()
        migrations = Migrations(database, tmp_path / "migrations", tables)
        await migrations.revise("first")
        await schema.create(database)
        for _ in range(2):
            assert len(await migrations.upgrade()) == 1
            assert [str(one) for one in await migrations.differences()] == []
            await migrations.downgrade("base")


@pytest.mark.parametrize("related", [False, True])
def test_a_foreign_key_that_finds_nothing_is_told_with_its_class_and_what_to_write(related: bool) -> None:
    class Alone(DeclarativeBase):
        metadata = MetaData()
        registry = registry()

    class Lonely(Alone):
        __tablename__ = "together_lonely"
        id: Mapped[int] = mapped_column(primary_key=True)
        country_code: Mapped[str | None] = mapped_column(ForeignKey("together_countries.code"))
        if related:
            country: Mapped[Country | None] = relationship()

    class Other(Alone):
        __tablename__ = "together_other"
        id: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(Misconfigured) as caught:
        App(Module("alone", models=[Other, Lonely]), database="sqlite://")
    assert "test_a_foreign_key" in str(caught.value)
    assert 'Lonely.country_code: ForeignKey("together_countries.code") finds no such column' in str(caught.value)
    assert "write ForeignKey(Other.__table__.c.column)." in str(caught.value)


def test_a_relationship_that_cannot_be_made_is_told_with_its_class() -> None:
    class Alone(DeclarativeBase):
        metadata = MetaData()
        registry = registry()

    class Astray(Alone):
        __tablename__ = "together_astray"
        id: Mapped[int] = mapped_column(primary_key=True)
        country: Mapped["Nowhere"] = relationship()  # type: ignore[name-defined]  # noqa: F821 - it is the mistake

    with pytest.raises(Misconfigured, match=r"Astray cannot be mapped: .*'Nowhere'"):
        App(Module("alone", models=[Astray]), database="sqlite://")
