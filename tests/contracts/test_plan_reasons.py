"""What keeps a class off the fast plan, what may not be mapped at all, and what the session's way costs."""

from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from sqlalchemy import ForeignKey, Integer, MetaData, String, TypeDecorator, event, func, select
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, Session, column_property, mapped_column, registry

from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.errors import Misconfigured

Fresh = Callable[..., Awaitable[Database]]


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Key:
    id: Mapped[str] = mapped_column(String(40), primary_key=True)


class Counted(Key, VersionMixin, Tables):
    __tablename__ = "counted_version"


class Tens(Key, Tables):
    """A counter of its own."""

    __tablename__ = "tens"
    name: Mapped[str] = mapped_column(String(10))
    version: Mapped[int] = mapped_column(Integer)
    __mapper_args__: ClassVar[dict[str, Any]] = {
        "version_id_col": version,
        "version_id_generator": lambda version: (version or 0) + 10,
    }


class Server(Key, Tables):
    """The database is said to make the version."""

    __tablename__ = "server_version"
    version: Mapped[int] = mapped_column(Integer, server_default="1")
    __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version, "version_id_generator": False}


class Random(Key, Tables):
    __tablename__ = "random_version"
    version: Mapped[str] = mapped_column(String(40))
    __mapper_args__: ClassVar[dict[str, Any]] = {
        "version_id_col": version,
        "version_id_generator": lambda _version: str(uuid4()),
    }


class Lowered(TypeDecorator[str]):
    """SQL around the value that is written."""

    impl = String(10)
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        return func.lower(bindparam)


class Raised(TypeDecorator[str]):
    """SQL around the value that is read."""

    impl = String(10)
    cache_ok = True

    def column_expression(self, column: Any) -> Any:
        return func.upper(column)


class Written(Key, Tables):
    __tablename__ = "written"
    name: Mapped[str] = mapped_column(Lowered)


class Shown(Key, Tables):
    __tablename__ = "shown"
    name: Mapped[str] = mapped_column(Raised)


class Varied(Key, Tables):
    __tablename__ = "varied"
    address: Mapped[str] = mapped_column(String(50).with_variant(INET(), "postgresql"))


class Child(Key, Tables):
    __tablename__ = "child"
    counted_id: Mapped[str] = mapped_column(ForeignKey("counted_version.id"))


class Base(Key, Tables):
    __tablename__ = "base"
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_on": "kind", "polymorphic_identity": "base"}


class Derived(Base):
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "derived"}


class Slow(Key, Tables):
    """Only the session writes it."""

    __tablename__ = "slow"
    name: Mapped[str] = mapped_column(String(10), default="")
    loud = column_property(func.upper("x"))


@pytest.fixture
async def database(backend: str, fresh: Fresh) -> Database:
    return await fresh(backend, Tables.metadata)


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (Counted, None),
        (Tens, "version made by a generator of its own"),
        (Server, "version made by a generator of its own"),
        (Random, "version made by a generator of its own"),
        (Written, "SQL expression of the type of name"),
        (Shown, "SQL expression of the type of name"),
        (Varied, "type INET() of address"),
    ],
)
def test_versions_and_types_of_ones_own_are_left_to_sqlalchemy(cls: type, reason: str | None) -> None:
    assert Database("sqlite://").plan(cls).reason == reason


def test_a_version_that_is_no_integer_is_left_to_sqlalchemy() -> None:
    mapping = registry()

    @mapping.mapped
    class Dated:
        __tablename__ = "dated"
        id = mapped_column(String(5), primary_key=True)
        version = mapped_column(String(5))
        __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}

    assert Database("sqlite://").plan(Dated).reason == "version that is not an Integer"


async def test_they_are_stored_as_sqlalchemy_stores_them(database: Database) -> None:
    async with UnitOfWork(database):
        for cls in (Tens, Written, Shown):
            await Repository[Any](cls).add(cls(id="a", name="Name"))
    async with UnitOfWork(database):
        (await Repository(Tens).get("a")).name = "other"
        assert (await Repository(Shown).get("a")).name == "NAME"
    tables = Tens.__table__, Written.__table__
    versions, names = select(tables[0].c.version), select(func.max(tables[1].c.name))
    assert [tuple(row) for row in await database.query(versions)] == [(20,)]
    assert [tuple(row) for row in await database.query(names)] == [("name",)]


@pytest.fixture(params=["before_flush", "after_flush", "before_attach"])
def heard(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    heard: list[str] = []

    def listener(*_: Any) -> None:
        heard.append(request.param)

    event.listen(Session, request.param, listener)
    yield heard
    event.remove(Session, request.param, listener)


async def test_listeners_of_every_session_hear_of_every_row(heard: list[str], database: Database) -> None:
    assert database.plan(Counted).reason == "session listeners"
    async with UnitOfWork(database):
        await Repository(Counted).add(Counted(id="a"))
    assert heard


def test_two_classes_of_one_table_are_refused() -> None:
    database = Database("sqlite://")
    database.plan(Counted)

    class Twin:
        pass

    registry().map_imperatively(Twin, Counted.__table__)
    with pytest.raises(Misconfigured):
        database.plan(Twin)
    with pytest.raises(Misconfigured) as caught:
        database.plan(Twin)
    assert "Counted and " in str(caught.value)
    assert "Twin are both mapped to the table counted_version" in str(caught.value)
    assert [plan.cls for plan in database.plans] == [Counted]
    assert database.plan(Derived).table is database.plan(Base).table


async def test_many_entities_of_the_session_cost_the_same_each(fresh: Fresh) -> None:
    """Looking through the whole session at each step took 3.9 s for 2,000 of them."""
    database = await fresh("sqlite", Tables.metadata)
    slow: Repository[Slow] = Repository(Slow)

    async def seconds(many: int) -> float:
        began = perf_counter()
        async with UnitOfWork(database):
            for n in range(many):
                await slow.add(Slow(id=f"{many}-{n}"))
            for n in range(many):
                assert (await slow.get(f"{many}-{n}")).id == f"{many}-{n}"
        return perf_counter() - began

    await seconds(10)
    assert await seconds(4_000) < 5


async def test_a_key_is_known_however_its_entity_came_into_the_session(fresh: Fresh) -> None:
    database = await fresh("sqlite", Tables.metadata)
    slow: Repository[Slow] = Repository(Slow)
    async with UnitOfWork(database) as uow:
        session = await uow.session()
        raw, late = Slow(id="raw"), Slow()
        session.add_all([raw, late])
        late.id = "late"
        assert await slow.get("raw") is raw
        assert await slow.get("late") is late
        with pytest.raises(Misconfigured):
            await slow.add(Slow(id="late"))
        session.expunge(raw)
        assert await slow.get_by_id("raw") is None
        derived = Derived(id="d")
        await Repository(Base).add(derived)
        assert await Repository(Base).get("d") is derived
        await session.flush()
        assert await slow.get("late") is late
        assert await Repository(Base).get("d") is derived
        with pytest.raises(Misconfigured):
            await slow.add(Slow(id="late"))
        await slow.delete(late)
        assert await slow.get_by_id("late") is None


async def test_a_parent_that_waits_is_written_before_its_child(fresh: Fresh) -> None:
    database = await fresh("sqlite", Tables.metadata)
    async with UnitOfWork(database) as uow:
        await uow.session()
        await Repository(Counted).add(Counted(id="a"))
        await Repository(Child).add(Child(id="c", counted_id="a"))
    assert len(await database.query(select(Child.id))) == 1


def test_the_statement_by_key_is_compiled_once_for_all_repositories() -> None:
    database = Database("sqlite://")
    plan = database.plan(Counted)
    assert database.by_key(plan) is database.by_key(plan)
    assert "counted_version" in database.by_key(plan).sql
    assert vars(Repository(Counted)) == {"entity": Counted}
