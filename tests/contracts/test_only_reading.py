"""What only reads locks nothing, and the database itself refuses what it would write."""

import asyncio
from contextlib import aclosing

import pytest
from sqlalchemy import Function, MetaData, func, insert, literal_column, select, text
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno import clock
from uno.app import App
from uno.bus import event_handler, query_handler
from uno.data import Database, Model, Repository, UnitOfWork, literal
from uno.errors import Misconfigured
from uno.messages import DomainEvent, Query
from uno.modules import Module


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Animal(Base):
    """It has subclasses, so the session reads it."""

    __tablename__ = "read_animals"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default="animal")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __mapper_args__ = {"polymorphic_identity": "dog"}


BUMP = "CREATE FUNCTION bump() RETURNS int LANGUAGE sql AS $$INSERT INTO read_animals (kind) VALUES ('dog'); SELECT 1$$"
animals: Repository[Animal] = Repository(Animal)


@pytest.fixture
async def database(fresh: Fresh, backend: str) -> Database:
    database = await fresh(backend, Base.metadata)
    async with database.transaction() as transaction:
        if backend == "postgresql":
            await transaction.execute(text(BUMP))
        await transaction.execute(insert(Animal).values(kind="dog"))
    return database


async def count(database: Database) -> int:
    [(found,)] = await database.query(text("SELECT count(*) FROM read_animals"))
    return int(found)


async def test_a_session_that_reads_does_not_wait_for_a_writer(database: Database) -> None:
    async with database.transaction() as writer:
        await writer.execute(insert(Animal).values(kind="dog"))
        async with clock.timeout(5), UnitOfWork(database, read_only=True) as uow:
            assert [type(one) for one in await animals.find()] == [Dog]
            await uow.session()


async def test_a_writer_does_not_wait_for_a_session_that_reads(database: Database) -> None:
    reading = UnitOfWork(database, read_only=True)
    token = reading.begin()
    await (await reading.session()).execute(text("SELECT 1"))
    await reading.end(token)
    async with UnitOfWork(database, read_only=True) as uow:
        await (await uow.session()).execute(text("SELECT 1"))
        async with clock.timeout(5):
            await asyncio.create_task(_write(database))
    assert await count(database) == 2


async def _write(database: Database) -> None:
    async with database.transaction() as writer:
        await writer.execute(insert(Animal).values(kind="dog"))


async def test_its_session_refuses_what_nobody_recognises_as_writing(database: Database) -> None:
    with pytest.raises(Misconfigured, match="A query changes nothing"):
        async with UnitOfWork(database, read_only=True) as uow:
            session = await uow.session()
            await session.connection()
            await session.execute(_hidden_write(database))
    assert await count(database) == 1


def _hidden_write(database: Database) -> object:
    # A comment hides it from who looks at the text.
    return (
        select(func.bump())
        if database.backend == "postgresql"
        else text("WITH one AS (SELECT 1) DELETE/**/FROM read_animals")
    )


async def test_the_connection_may_write_again_afterwards(database: Database) -> None:
    for _ in range(7):
        async with UnitOfWork(database, read_only=True) as uow:
            await uow.session()
        async with UnitOfWork(database, read_only=True), aclosing(animals.stream()) as stream:
            assert type(await anext(stream)) is Dog
        await _write(database)
    assert await count(database) == 8


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT bump()",
        "SELECT * FROM bumps",
        "SELECT bump/**/()",
        text('SELECT "Bump"()'),
        text('SELECT public."max"(1)'),
        select(func.bump()),
        select(func.public.max(1)),
        select(text("bump()")),
        select(literal_column('"Bump"()')),
    ],
    ids=str,
)
async def test_a_function_that_writes_is_refused(fresh: Fresh, statement: object) -> None:
    database = await fresh("postgresql", Base.metadata)
    async with database.transaction() as transaction:
        for one in (BUMP, BUMP.replace("bump()", '"Bump"()'), BUMP.replace("bump()", "max(int)")):
            await transaction.execute(text(one))
        await transaction.execute(text("CREATE VIEW bumps AS SELECT bump()"))
    with pytest.raises(Misconfigured, match="A query changes nothing"):
        async with UnitOfWork(database, read_only=True) as uow:
            await uow.execute(statement)  # type: ignore[call-overload]
    assert await count(database) == 0
    # Where it may write, it does so in the transaction of the unit of work.
    with pytest.raises(ZeroDivisionError):
        async with UnitOfWork(database) as uow:
            await uow.execute(statement)  # type: ignore[call-overload]
            raise ZeroDivisionError
    assert await count(database) == 0
    use = database.pool_use()
    assert use is not None
    assert use.in_use == 0


def test_a_statement_certainly_reads_where_all_its_functions_are_known() -> None:
    assert literal.reads(select(Animal.id, func.count()).where(func.lower(Animal.kind) == "dog"))
    assert not literal.reads(select(Animal.id).where(Function("bump") == 1))
    assert not literal.reads(select(Animal.id).where(text("bump() = 1")))
    assert not literal.reads(select(func.shop.count()))
    assert not literal.reads(select(literal_column("kind")))
    assert not literal.reads(select(select(Animal.id).with_for_update().subquery()))
    assert not literal.reads(text("SELECT 1"))


class Looked(DomainEvent):
    animal_id: int


class Look(Query[int]):
    pass


@query_handler(Look)
async def look(_query: Look, uow: UnitOfWork) -> int:
    found = await animals.find()
    for one in found:
        uow.record(Looked(animal_id=one.id))
    return len(found)


async def test_a_query_may_publish_what_its_session_has_read(database: Database) -> None:
    heard: list[int] = []

    @event_handler(Looked)
    async def hear(event: Looked) -> None:
        heard.append(event.animal_id)

    async with App(Module("m", handlers=[look, hear]), database=database) as app:
        assert (await app.bus.dispatch(Look())).unwrap() == 1
    assert heard == [1]
