"""What a class says of its values is checked before they are written, whichever way they come."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import Field as Limit, field_validator, model_validator
from sqlalchemy import JSON, Column, ForeignKey, MetaData
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlmodel import Field, Relationship, SQLModel
from tests.contracts.kinds import AS_JSON, KINDS, TABLES, Bare, Lite, Old, Own

from uno.data import Database, Model, Repository, UnitOfWork, hooks
from uno.domain import AggregateRoot
from uno.errors import Invalid

Fresh = Callable[..., Awaitable[Database]]
PLACES = {"sqlite": ("sqlite", "auto"), "postgresql": ("postgresql", "auto"), "session": ("postgresql", "session")}
# Those that say that a rank is not negative, and all but two that a name has two letters.
RANKED = [cls for cls in KINDS if cls is not Old]


@pytest.fixture(scope="module", params=PLACES)
async def everything(request: pytest.FixtureRequest, lasting: Fresh) -> Database:
    backend, commit = PLACES[request.param]
    return await lasting(backend, TABLES, commit=commit)


@pytest.fixture(params=RANKED, ids=lambda cls: cls.__name__)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def database(everything: Database, kind: Any) -> Database:
    async with everything.transaction() as transaction:
        await transaction.execute(everything.plan(kind).table.delete())
    return everything


def fields(error: Any) -> list[str]:
    return [one.field for one in error.value.errors]


async def one(database: Database, kind: Any, **values: Any) -> int:
    async with UnitOfWork(database) as uow:
        added = await Repository(kind).add(kind(name="Ada", **values))
        await uow.flush()
        return int(added.id)


async def ranks(database: Database, kind: Any) -> list[int]:
    async with UnitOfWork(database):
        return [found.rank for found in await Repository(kind).find(sort="id")]


async def test_an_object_is_checked_when_it_is_written(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    with pytest.raises(Invalid) as error:
        async with UnitOfWork(database):
            added = await heroes.add(kind(name="Ada"))
            added.rank = -1
    assert fields(error) == ["rank"]
    assert "greater than or equal to 0" in str(error.value)
    id = await one(database, kind, rank=2)
    with pytest.raises(Invalid) as error:
        async with UnitOfWork(database):
            (await heroes.get(id)).rank = -5
    assert fields(error) == ["rank"]
    assert await ranks(database, kind) == [2]


async def test_short_forms_refuse_at_once_and_change_nothing(database: Database, kind: Any) -> None:
    heroes, id = Repository(kind), await one(database, kind, rank=2)
    async with UnitOfWork(database):
        with pytest.raises(Invalid) as error:
            await heroes.create(name="Bob", rank=-1)
        assert fields(error) == ["rank"]
        with pytest.raises(Invalid) as error:
            await heroes.update(id, note="changed", rank=-1)
        assert fields(error) == ["rank"]
        assert (await heroes.get(id)).note is None
    assert await ranks(database, kind) == [2]


async def test_many_are_checked_each(database: Database, kind: Any) -> None:
    heroes = Repository(kind)
    for rows in ([{"name": "Ada"}, {"name": "Bob", "rank": -1}], [kind(name="Ada"), kind(name="Bob", rank=-1)]):
        with pytest.raises(Invalid) as error:
            async with UnitOfWork(database):
                await heroes.insert_many(rows)
        assert fields(error) == ["rank"]
    id = await one(database, kind, rank=2)
    with pytest.raises(Invalid) as error:
        async with UnitOfWork(database):
            await heroes.update_many(id=id, values={"rank": -1})
    assert fields(error) == ["rank"]
    assert await ranks(database, kind) == [2]


async def test_what_is_written_is_what_the_type_makes_of_it(database: Database, kind: Any) -> None:
    heroes, id = Repository(kind), await one(database, kind)
    async with UnitOfWork(database) as uow:
        added = await heroes.create(name="Bob", rank="3")
        assert added.rank == 3
        (await heroes.get(id)).rank = "4"  # type: ignore[assignment]
        await uow.flush()
        assert (await heroes.get(id)).rank == 4
        await heroes.insert_many([{"name": "Cid", "rank": "5"}])
    async with UnitOfWork(database):
        await heroes.update_many(name="Bob", values={"rank": "6"})
    assert await ranks(database, kind) == [4, 6, 5]


async def test_a_hook_may_mend_what_is_wrong_and_may_not_break_it(database: Database, kind: Any) -> None:
    heroes = Repository(kind)

    def mend(entity: Any) -> None:
        entity.rank = abs(entity.rank) - 10

    hooks.before_insert(kind)(mend)
    try:
        async with UnitOfWork(database):
            added = await heroes.add(kind(name="Ada"))
            added.rank = -12
        with pytest.raises(Invalid) as error:
            async with UnitOfWork(database):
                await heroes.add(kind(name="Bob", rank=3))
        assert fields(error) == ["rank"]
    finally:
        hooks.remove(mend)
    assert await ranks(database, kind) == [2]


# ── what only SQLModel says ──


class Shop(SQLModel):
    metadata = MetaData()


class CheckedTeamBase(Shop):
    name: str = Field(min_length=2, max_length=5)


class CheckedTeam(CheckedTeamBase, table=True):
    __tablename__ = "check_team"
    id: int | None = Field(default=None, primary_key=True)
    members: list["CheckedMember"] = Relationship(back_populates="team")


class CheckedMemberBase(Shop):
    email: str = Field(max_length=30, schema_extra={"pattern": r"^[^@]+@[^@]+$"})
    nick: str = Field(regex="^[A-Za-z ]+$")
    low: int = 0
    high: int = 9
    pay: Decimal = Field(default=Decimal(1), max_digits=6, decimal_places=2)
    tags: list[str] = Field(default_factory=list, sa_column=Column(JSON))
    since: datetime | None = None
    secret: str = Field(default="s3cret", exclude=True)

    @field_validator("nick")
    @classmethod
    def _small(cls, value: str) -> str:
        if " " in value:
            raise ValueError("no spaces")
        return value.lower()

    @model_validator(mode="after")
    def _in_order(self) -> "CheckedMemberBase":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class CheckedMember(CheckedMemberBase, table=True):
    __tablename__ = "check_member"
    id: int | None = Field(default=None, primary_key=True)
    team_id: int | None = Field(default=None, foreign_key="check_team.id")
    team: CheckedTeam | None = Relationship(back_populates="members")


class CheckedAlone(CheckedMemberBase, table=True):
    """Without relationships and with a JSON that is the fast plan's."""

    __tablename__ = "check_alone"
    id: int | None = Field(default=None, primary_key=True)
    tags: list[str] = Field(default_factory=list, sa_column=Column(AS_JSON))


@pytest.fixture(params=[CheckedMember, CheckedAlone])
def member(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def shop(backend: str, fresh: Fresh) -> Database:
    return await fresh(backend, Shop.metadata)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"email": "nobody"}, "email"),
    ({"email": "x" * 40 + "@x"}, "email"),
    ({"nick": "a b"}, "nick"),
    ({"nick": "7"}, "nick"),
    ({"nick": None}, "nick"),
    ({"pay": Decimal("1.234")}, "pay"),
    ({"tags": "red"}, "tags"),
    ({"tags": [1]}, "tags.0"),
    ({"since": "yesterday"}, "since"),
    ({"low": "many"}, "low"),
    ({"low": 10}, "body"),
]


async def test_all_that_a_sqlmodel_says_holds(shop: Database, member: Any) -> None:
    assert shop.plan(CheckedAlone).reason is None
    members = Repository(member)
    async with UnitOfWork(shop) as uow:
        added = await members.add(member(email="a@x", nick="ADA"))
        await uow.flush()
        assert added.nick == "ada"
        id = added.id
    for wrong, field in WRONG:
        for write in (
            lambda wrong=wrong: members.create(**{"email": "b@x", "nick": "bob", **wrong}),
            lambda wrong=wrong: members.update(id, **wrong),
            lambda wrong=wrong: members.add(member(**{"email": "b@x", "nick": "bob", **wrong})),
            lambda wrong=wrong: members.insert_many([{"email": "b@x", "nick": "bob", **wrong}]),
        ):
            with pytest.raises(Invalid) as error:
                async with UnitOfWork(shop):
                    await write()
            assert fields(error) == [field], wrong
    async with UnitOfWork(shop):
        assert await members.count() == 1
        found = await members.get(id)
        assert (found.nick, found.tags, found.pay) == ("ada", [], Decimal(1))
        found.tags, found.since = ["a"], "2026-01-31T10:00:00+01:00"
    async with UnitOfWork(shop):
        found = await members.get(id)
        assert (found.tags, found.since) == (["a"], datetime(2026, 1, 31, 9, tzinfo=UTC))
        # Of many rows only what is said of each attribute can be checked.
        await members.update_many(id=id, values={"nick": "Bob", "pay": "2.50"})
        with pytest.raises(Invalid):
            await members.update_many(id=id, values={"pay": "2.505"})
    async with UnitOfWork(shop):
        assert (await members.get(id)).pay == Decimal("2.50")


async def test_rows_that_are_older_than_a_rule_do_not_stand_in_the_way(shop: Database, member: Any) -> None:
    async with UnitOfWork(shop) as uow:
        table = shop.plan(member).table
        values = {"email": "old", "nick": "old one", "low": 1, "high": 9, "pay": 1, "tags": [], "secret": ""}
        await uow.execute(table.insert().values(**values))
    async with UnitOfWork(shop):
        (await Repository(member).get(1)).high = "8"
    async with UnitOfWork(shop):
        assert (await Repository(member).get(1)).high == 8
        with pytest.raises(Invalid) as error:
            await Repository(member).update(1, email="still wrong")
        assert fields(error) == ["email"]


async def test_what_a_relationship_adds_is_checked_too(shop: Database) -> None:
    async with UnitOfWork(shop):
        team = await Repository(CheckedTeam).create(name="Red", members=[CheckedMember(email="a@x", nick="Ada")])
        assert team.name == "Red"
    async with UnitOfWork(shop):
        found = await Repository(CheckedTeam).find_one(include=["members"])
        assert found is not None
        assert [one.nick for one in found.members] == ["ada"]
    with pytest.raises(Invalid) as error:
        async with UnitOfWork(shop):
            [found] = await Repository(CheckedTeam).find(include=["members"])
            found.members.append(CheckedMember(email="wrong", nick="Bob"))
    assert fields(error) == ["email"]
    async with UnitOfWork(shop):
        assert await Repository(CheckedMember).count() == 1


# ── what is not checked ──


class Loose(Model):
    __abstract__ = True
    metadata = MetaData()


class CheckedParent(Loose):
    __tablename__ = "check_parent"
    id: Mapped[int] = mapped_column(primary_key=True)


class CheckedChild(Loose):
    """Its relationship names a class that the module does not know when it is read."""

    __tablename__ = "check_child"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[Annotated[str, Limit(min_length=2)]]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("check_parent.id"))
    parent: Mapped["CheckedParent | None"] = relationship(viewonly=True)
    other: "Mapped[Nowhere | None]" = relationship("CheckedParent", viewonly=True)  # type: ignore[name-defined]  # noqa: F821


async def test_a_class_that_says_nothing_has_no_check(everything: Database) -> None:
    assert everything.plan(Old).check is None
    assert {cls.__name__ for cls in (Own, Lite, Bare) if everything.plan(cls).check is None} == set()


async def test_limits_hold_where_another_annotation_cannot_be_read(backend: str, fresh: Fresh) -> None:
    database = await fresh(backend, Loose.metadata)
    with pytest.raises(Invalid) as error:
        async with UnitOfWork(database):
            await Repository(CheckedChild).add(CheckedChild(name="x"))
    assert fields(error) == ["name"]


# ── documents ──


@dataclass(eq=False)
class Basket(AggregateRoot[str]):
    id: str
    label: Annotated[str | None, Limit(min_length=2)] = None
    size: Annotated[int, Limit(ge=0)] = 0


async def test_documents_are_checked_or_nobody_could_read_them(backend: str, fresh: Fresh) -> None:
    database, baskets = await fresh(backend), Repository(Basket)
    async with UnitOfWork(database):
        await baskets.add(Basket("b", size=3))
    writes: list[Callable[[], Awaitable[Any]]] = [
        lambda: baskets.add(Basket("c", size=-1)),
        lambda: baskets.create(id="c", size=-1),
        lambda: baskets.update("b", size=-1),
        lambda: baskets.insert_many([{"id": "c", "size": -1}]),
        lambda: baskets.update_many(id="b", values={"size": -1}),
    ]
    for write in writes:
        with pytest.raises(Invalid) as error:
            async with UnitOfWork(database):
                await write()
        assert fields(error) == ["size"]
    async with UnitOfWork(database):
        assert [(one.id, one.size, one.label) for one in await baskets.find()] == [("b", 3, None)]
