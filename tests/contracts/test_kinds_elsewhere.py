"""What else a `Model` has, classes of other kinds have: migrations, triggers, events, marks, moments, fast answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry
from sqlmodel import Field, Relationship, SQLModel
from tests.contracts.kinds import KINDS, TABLES, Lite, Plain, Root

from uno.app import App, Module, resource
from uno.audit import AuditBook, AuditTrail
from uno.data import Changes, Database, Repository, UnitOfWork, schema, schemas_of
from uno.data.migrations.driving import Migrations
from uno.data.rendered import Renderer
from uno.errors import Misconfigured
from uno.messages import DomainEvent

Fresh = Callable[..., Awaitable[Database]]


async def test_they_have_migrations(backend: str, templates: Any, tmp_path: Path) -> None:
    async with Database(await templates.empty_url(backend)) as database:
        migrations = Migrations(database, tmp_path / "migrations", [TABLES])
        assert await migrations.revise("first") is not None
        await migrations.upgrade()
        assert [str(one) for one in await migrations.differences()] == []
        await schema.create(database)
        for kind in KINDS:
            async with UnitOfWork(database, books=[AuditBook()]):
                await Repository(kind).add(kind(name="Ada"))


# ── triggers ──


class LiteAudited(SQLModel):
    metadata = MetaData()


class SeenLite(LiteAudited, table=True):
    __audit__ = "trigger"
    __tablename__ = "kind_seen"
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=20)
    born: datetime | None = None
    password: str = "secret"


class PlainAudited(DeclarativeBase):
    metadata = MetaData()


class Watched(PlainAudited):
    __audit__ = "trigger"
    __tablename__ = "kind_watched"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    born: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    password: Mapped[str] = mapped_column(default="secret")


class Noted:
    __audit__ = "trigger"

    def __init__(self, name: str, born: datetime | None = None) -> None:
        self.name, self.born = name, born


mapped_outside = registry(metadata=MetaData())
noted = Table(
    "kind_noted",
    mapped_outside.metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(20), nullable=False),
    Column("born", DateTime(timezone=True)),
    Column("password", String, nullable=False, default="secret"),
)
mapped_outside.map_imperatively(Noted, noted)


@pytest.mark.parametrize("kind", [SeenLite, Watched, Noted])
async def test_they_are_audited_by_triggers(fresh: Fresh, kind: Any) -> None:
    database = await fresh("postgresql")
    app = App(Module("audited", models=[kind]), database=database)
    await app.create_schema()
    things = Repository(kind)
    moment = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    async with UnitOfWork(database, books=[AuditBook()]):
        await things.add(kind(name="Ada", born=moment))
    assert database.captured
    async with database.transaction() as transaction:
        table = database.plan(kind).table.name
        await transaction.execute(text(f"UPDATE {table} SET name = 'Bob'"))
    created, updated = await AuditTrail(database).query(component=kind.__name__)
    assert created.after == {"id": 1, "name": "Ada", "born": "2026-01-31T09:30:00+00:00", "password": "***"}
    assert (updated.before, updated.after) == ({"name": "Ada"}, {"name": "Bob"})
    assert updated.actor_source == "database"


# ── events ──


class Enlisted(DomainEvent):
    hero: str


async def test_a_mapped_aggregate_tells_what_happened(backend: str, fresh: Fresh) -> None:
    database, told = await fresh(backend, TABLES), []

    async def hear(changes: Changes) -> None:
        told.extend(changes.events)

    async with UnitOfWork(database, after=[hear]):
        root = await Repository(Root).add(Root(name="Ada"))
        root.register_event(Enlisted(hero="Ada"))
    async with UnitOfWork(database, after=[hear]):
        again = await Repository(Root).find_one(name="Ada")
        assert again is not None
        assert again.collect_events() == []
        again.rank = 5
        again.register_event(Enlisted(hero="Ada, again"))
    assert [one.hero for one in told] == ["Ada", "Ada, again"]


# ── relationships ──


class Club(SQLModel):
    metadata = MetaData()


class Crew(Club, table=True):
    __tablename__ = "kind_crew"
    id: int | None = Field(default=None, primary_key=True)
    name: str
    members: list["Sailor"] = Relationship(back_populates="team", cascade_delete=True)


class Sailor(Club, table=True):
    __tablename__ = "kind_sailor"
    id: int | None = Field(default=None, primary_key=True)
    name: str
    team_id: int | None = Field(default=None, foreign_key="kind_crew.id")
    team: Crew | None = Relationship(back_populates="members")


async def test_sqlmodel_relationships_are_written_read_and_audited(backend: str, fresh: Fresh) -> None:
    database = await fresh(backend, Club.metadata)
    assert database.plan(Crew).reason == "relationship members"
    teams, members = Repository(Crew), Repository(Sailor)
    async with UnitOfWork(database, books=[AuditBook()]) as uow:
        team = await teams.add(Crew(name="Red", members=[Sailor(name="Ada"), Sailor(name="Bob")]))
        await uow.flush()
        id = team.id
    async with UnitOfWork(database, books=[AuditBook()]):
        found = await teams.get(id, include=["members"])
        assert sorted(one.name for one in found.members) == ["Ada", "Bob"]
        assert await members.count(team_id=id) == 2
        lonely = await members.find_one(name="Ada")
    async with UnitOfWork(database):
        other = await members.find_one(name="Bob")
        assert other is not None
        with pytest.raises((Misconfigured, SQLAlchemyError), match=r"Sailor\.team"):
            other.team  # noqa: B018 - reading it is the mistake
    assert lonely is not None
    async with UnitOfWork(database, books=[AuditBook()]):
        await teams.delete(await teams.get(id, include=["members"]))
    assert await _count(database) == 0
    trail = await AuditTrail(database).query(component="Sailor")
    assert [one.operation for one in trail] == ["create", "create", "delete", "delete"]


async def _count(database: Database) -> int:
    async with UnitOfWork(database):
        return await Repository(Sailor).count()


# ── schemas and resources ──


class Hidden(SQLModel):
    metadata = MetaData()


class Person(Hidden, table=True):
    __tablename__ = "kind_person"
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(description="As on the passport.", schema_extra={"examples": ["Ada"]})
    salary: int = Field(default=0, exclude=True)


@dataclass
class Spy:
    name: str
    id: int | None = None
    code: str = field(default="x", metadata={"hidden": True})
    rank: int = field(default=0, metadata={"read_only": True})


class PersonPublic(SQLModel):
    id: int
    name: str


spies = Table(
    "kind_spy",
    Hidden.metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("code", String, nullable=False),
    Column("rank", Integer, nullable=False),
)
registry(metadata=Hidden.metadata).map_imperatively(Spy, spies)


async def test_what_is_hidden_is_in_no_schema_and_redacted_in_the_trail(backend: str, fresh: Fresh) -> None:
    database = await fresh(backend, Hidden.metadata)
    assert set(schemas_of(Person).read.model_fields) == {"id", "name"}
    assert schemas_of(Person).create.model_json_schema()["properties"] == {
        "name": {"title": "Name", "type": "string", "description": "As on the passport.", "examples": ["Ada"]}
    }
    assert set(schemas_of(Spy).read.model_fields) == {"id", "name", "rank"}
    assert set(schemas_of(Spy).create.model_fields) == {"name"}
    async with UnitOfWork(database, books=[AuditBook()]):
        await Repository(Person).add(Person(name="Ada", salary=7))
        await Repository(Spy).add(Spy("Bob", code="007"))
    ada, bob = [one.after or {} for one in await AuditTrail(database).query()]
    assert (ada["name"], ada["salary"], bob["name"], bob["code"]) == ("Ada", "***", "Bob", "***")


def test_a_pydantic_model_of_ones_own_may_serialise_them() -> None:
    assert issubclass(PersonPublic, BaseModel)
    made = resource(Person, serialise=PersonPublic)
    assert set(made.messages) == {"list", "create", "get", "replace", "merge", "delete", "history"}


async def test_the_database_itself_answers_for_them(backend: str, fresh: Fresh) -> None:
    database = await fresh(backend, TABLES)
    reasons = {kind.__name__: database.plan(kind).reason for kind in KINDS}
    assert reasons == {**dict.fromkeys(reasons), "Old": "type JSON() of data"}
    possible = {kind.__name__: Renderer(database.plan(kind), schemas_names(kind), backend).possible for kind in KINDS}
    # SQLite has no decimals.
    assert possible == {name: name != "Old" and backend == "postgresql" for name in possible}


def schemas_names(kind: type) -> list[str]:
    return [one.name for one in schemas_of(kind).visible]


@pytest.mark.parametrize("kind", [Lite, Plain])
async def test_moments_are_the_same_on_every_backend(backend: str, fresh: Fresh, kind: Any) -> None:
    database = await fresh(backend, TABLES)
    east = datetime(2026, 1, 31, 10, 30, tzinfo=timezone(timedelta(hours=2)))
    async with UnitOfWork(database):
        await Repository(kind).add(kind(name="Ada", born=east))
        await Repository(kind).insert_many([{"name": "Bob", "born": east}])
    async with UnitOfWork(database):
        for found in await Repository(kind).find(born=datetime(2026, 1, 31, 8, 30, tzinfo=UTC)):
            assert (found.born, found.born.utcoffset()) == (east, timedelta())
        assert await Repository(kind).count(born__lt=east + timedelta(minutes=1), born__gte=east) == 2
