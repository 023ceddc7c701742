"""What a database refuses is an error of uno's tree that names what it refused."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
import pytest
from sqlalchemy import JSON, CheckConstraint, ForeignKey, MetaData, Numeric, SmallInteger, String, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from uno.audit import AuditBook
from uno.data import Database, Model, Repository, UnitOfWork
from uno.data.tables import documents
from uno.domain import AggregateRoot
from uno.errors import Conflict, Invalid, Misconfigured, TimedOut, Unavailable, UnoError
from uno.settings import DatabaseSettings

Fresh = Callable[..., Awaitable[Database]]


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData(naming_convention=Model.metadata.naming_convention)


class Mood(Enum):
    GOOD = 1


class Owner(Tables):
    __tablename__ = "owner"
    id: Mapped[str] = mapped_column(String(5), primary_key=True)
    email: Mapped[str | None] = mapped_column(String(20), unique=True)


class Pet(Tables):
    __tablename__ = "pet"
    __table_args__ = (CheckConstraint("legs >= 0", name="legs"),)
    id: Mapped[str] = mapped_column(String(50), primary_key=True)
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("owner.id"))
    name: Mapped[str] = mapped_column(String(5), default="x")
    legs: Mapped[int] = mapped_column(SmallInteger, default=4)
    weight: Mapped[Decimal | None] = mapped_column(Numeric(4, 2))
    mood: Mapped[Mood | None]
    born: Mapped[datetime | None]
    note: Mapped[str | None]
    facts: Mapped[dict[str, Any] | None] = mapped_column(JSONB().with_variant(JSON(), "sqlite"))


class Letter(AggregateRoot[str]):
    def __init__(self, id: str, title: str, pages: dict[str, str]) -> None:
        super().__init__(id=id)
        self.title = title
        self.pages = pages


# In one statement, one after another, and by SQLAlchemy's flush.
@pytest.fixture(params=["auto", "batch", "session"])
async def database(request: pytest.FixtureRequest, backend: str, fresh: Fresh) -> Database:
    database = await fresh(backend, Tables.metadata, commit=request.param)
    async with UnitOfWork(database):
        await Repository(Owner).add(Owner(id="o", email="o@x"))
        await Repository(Pet).add(Pet(id="known", owner_id="o"))
    return database


@pytest.mark.parametrize(
    ("make", "error", "named"),
    [
        (lambda: Owner(id="p", email="o@x"), Conflict, "email"),
        (lambda: Pet(id="p", owner_id="gone"), Conflict, "^owner_id: It refers to something that is not there.$"),
        (lambda: Pet(id="p", legs=-1), Invalid, "legs"),
    ],
)
async def test_a_constraint_that_refuses_a_row_is_named(
    database: Database, make: Callable[[], Any], error: type[UnoError], named: str
) -> None:
    entity = make()
    with pytest.raises(error, match=named) as caught:
        async with UnitOfWork(database):
            await Repository(type(entity)).add(entity)
    assert type(caught.value) is error
    assert not getattr(caught.value, "repeatable", False)
    assert await count(database) == 2


async def test_a_missing_value_is_named(database: Database) -> None:
    with pytest.raises(Invalid, match="name"):
        async with UnitOfWork(database):
            pet = await Repository(Pet).get("known")
            pet.name = None  # type: ignore[assignment]


class Branch(Tables):
    __tablename__ = "branch"
    id: Mapped[str] = mapped_column(String(5), primary_key=True)
    stem_id: Mapped[str | None] = mapped_column(ForeignKey("branch.id"))


async def by_key(uow: UnitOfWork) -> None:
    await Repository(Owner).delete("o")


async def of_many(uow: UnitOfWork) -> None:
    await Repository(Owner).delete_many(id="o")


async def at_a_flush(uow: UnitOfWork) -> None:
    await Repository(Owner).delete("o")
    await uow.flush()


async def in_a_savepoint(uow: UnitOfWork) -> None:
    async with uow.savepoint():
        await Repository(Owner).delete("o")


async def in_the_session(uow: UnitOfWork) -> None:
    session = await uow.session()
    await session.delete(await session.get_one(Owner, "o"))


@pytest.mark.parametrize("delete", [by_key, of_many, at_a_flush, in_a_savepoint, in_the_session])
async def test_deleting_what_others_refer_to_says_who_does(
    database: Database, delete: Callable[[UnitOfWork], Awaitable[None]]
) -> None:
    with pytest.raises(Conflict, match=r"^Pet refers to it\.$") as caught:
        async with UnitOfWork(database) as uow:
            await delete(uow)
    assert (caught.value.errors, caught.value.repeatable) == ((), False)
    assert await count(database) == 2


async def test_a_table_that_refers_to_itself_says_which_of_both_it_was(database: Database) -> None:
    branches = Repository(Branch)
    async with UnitOfWork(database):
        await branches.insert_many([{"id": "a", "stem_id": None}, {"id": "b", "stem_id": "a"}])
    with pytest.raises(Conflict, match=r"^Branch refers to it\.$"):
        async with UnitOfWork(database):
            await branches.delete("a")
    for values in ({"id": "c", "stem_id": "gone"}, {"id": "b", "stem_id": "gone"}):
        with pytest.raises(Conflict, match=r"^stem_id: It refers to something that is not there\.$") as caught:
            async with UnitOfWork(database):
                if values["id"] == "c":
                    await branches.add(Branch(**values))
                else:
                    await branches.update_many(id="b", values={"stem_id": "gone"})
        assert [(one.field, one.code) for one in caught.value.errors] == [("stem_id", "reference")]


async def test_sql_of_ones_own_is_told_which_of_both_it_was(database: Database) -> None:
    with pytest.raises(Conflict, match=r"^Something else refers to it[:.]"):
        async with UnitOfWork(database) as uow:
            await uow.execute("DELETE FROM owner")
    with pytest.raises(Conflict, match=r"^It refers to something that is not there[:.]"):
        async with UnitOfWork(database) as uow:
            await uow.execute("INSERT INTO pet (id, name, legs, owner_id) VALUES (:id, :id, 4, :id)", {"id": "q"})


async def test_a_duplicate_key_is_a_conflict_that_names_what_is_there(database: Database) -> None:
    with pytest.raises(Conflict, match=r"^Pet 'known' exists already\.$") as caught:
        async with UnitOfWork(database):
            await Repository(Pet).add(Pet(id="known"))
            await Repository(Owner).add(Owner(id="new"))
    assert caught.value.constraint


async def test_one_of_several_duplicates_is_among_those_that_are_named(database: Database) -> None:
    with pytest.raises(Conflict, match="^One of these exists already: .*Pet 'known'.* and 2 more"):
        async with UnitOfWork(database):
            for id in ("known", *"abcdef"):
                await Repository(Pet).add(Pet(id=id))


async def test_a_duplicate_that_a_flush_finds_is_named_too(database: Database) -> None:
    with pytest.raises(Conflict, match=r"^Pet 'known' exists already\.$"):
        async with UnitOfWork(database) as uow:
            await Repository(Pet).add(Pet(id="known"))
            await uow.flush()


async def test_a_document_that_is_there_already_is_named(database: Database) -> None:
    async with UnitOfWork(database):
        await Repository(Letter).add(Letter("l", "t", {}))
    with pytest.raises(Conflict, match=r"^Letter 'l' exists already\.$"):
        async with UnitOfWork(database):
            await Repository(Letter).add(Letter("l", "t", {}))


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("name", "too long"),
        ("legs", 40_000),
        ("weight", Decimal("99.995")),
        ("note", "a\x00b"),
        ("facts", {"colour": ["a\x00b"]}),
        ("mood", 5),
        ("born", datetime(2026, 1, 1)),  # noqa: DTZ001 - that is what is wrong with it
    ],
)
async def test_a_value_that_does_not_fit_is_invalid_and_its_column_is_named(
    database: Database, attribute: str, value: Any
) -> None:
    await refused(database, attribute, value)


async def test_a_number_no_database_can_store_is_invalid(database: Database) -> None:
    await refused(database, "legs", 2**70)


async def refused(database: Database, attribute: str, value: Any) -> None:
    for entity in (Pet(id="known"), Pet(id="new")):
        setattr(entity, attribute, value)
        with pytest.raises(Invalid, match=f"The database cannot store this: {attribute}: ") as caught:
            async with UnitOfWork(database, books=(AuditBook(),)):
                await Repository(Owner).add(Owner(id="fits"))
                await Repository(Pet).save(entity)
        assert [error.field for error in caught.value.errors] == [attribute]
    assert await count(database) == 2


async def test_the_attribute_of_a_document_that_does_not_fit_is_named(database: Database) -> None:
    with pytest.raises(Invalid) as caught:
        async with UnitOfWork(database, books=(AuditBook(),)):
            await Repository(Letter).add(Letter("l", "fits", {"deep": "a\x00"}))
    assert [error.field for error in caught.value.errors] == ["pages"]
    assert str(caught.value) == "The database cannot store this: pages: It has a NUL character."


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_a_key_too_long_for_an_index_is_invalid(database: Database) -> None:
    id = "".join(sha256(b"%d" % n).hexdigest() for n in range(300))
    with pytest.raises(Invalid, match="index row"):
        async with UnitOfWork(database):
            await Repository(Letter).add(Letter(id, "fits", {}))
    assert await database.query(select(func.count()).select_from(documents)) == [(0,)]


async def count(database: Database) -> int:
    rows = await database.query(select(func.count()).select_from(Owner))
    more = await database.query(select(func.count()).select_from(Pet))
    return int(rows[0][0] + more[0][0])


async def test_errors_of_reads_are_translated_too(fresh: Fresh) -> None:
    database = await fresh("postgresql", Tables.metadata, settings=DatabaseSettings(statement_timeout=0.1))
    with pytest.raises(TimedOut, match="too long"):
        await database.query(select(func.pg_sleep(5)))
    with pytest.raises(Invalid):
        async with UnitOfWork(database):
            await Repository(Pet).find(Pet.name == "a\x00", Pet.owner_id.in_(["o"]), Pet.mood.in_([Mood.GOOD]))
    with pytest.raises(Invalid):
        async with UnitOfWork(database):
            await Repository(Pet).get("a\x00")
    async with database.session() as session:
        assert (await session.execute(text("SELECT 1"))).scalar() == 1


async def test_a_commit_stopped_by_the_server_is_known_to_have_written_nothing(fresh: Fresh) -> None:
    other = await fresh("postgresql", Tables.metadata)
    database = await fresh("postgresql", like=other, settings=DatabaseSettings(statement_timeout=0.5))
    await database.restricted_tables()  # the commit itself is what has to wait
    async with other.transaction() as blocking:
        await blocking.execute(text("LOCK TABLE pet"))
        with pytest.raises(TimedOut) as caught:
            async with UnitOfWork(database):
                await Repository(Pet).add(Pet(id="p"))
        assert not isinstance(caught.value, Unavailable)
    assert await count(other) == 0
    async with UnitOfWork(database):
        await Repository(Pet).add(Pet(id="p"))
    assert await count(other) == 1


@pytest.mark.parametrize("url", ["postgresql://uno@127.0.0.1:1/x", "sqlite:////nowhere/at/all.db"])
async def test_a_database_that_is_not_there_is_unavailable(url: str) -> None:
    async with Database(url) as database:
        with pytest.raises(Unavailable):
            await database.ping()
        with pytest.raises(Unavailable):
            async with UnitOfWork(database):
                await Repository(Pet).find()
        with pytest.raises(Unavailable):
            async with UnitOfWork(database):
                await Repository(Pet).add(Pet(id="p"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "No database URL; set UNO_DB_URL"),
        ("not a url", "cannot be read"),
        ("mysql://root@x/y", "no backend for 'mysql'"),
        ("postgresql://uno@x/y?colour=red", "a parameter 'colour' that its driver does not know"),
        ("postgresql://uno@x:many/y", "cannot be read"),
        ("postgresql://uno:sesame/y", r"cannot be read; write postgresql://user:password@host:port/name\.$"),
        ("postgresql://uno@x/y?port=many", "cannot be read"),
        ("postgresql://uno:a@b@x/y", "ambiguous.*write @ as %40"),
    ],
)
def test_a_wrong_url_is_one_sentence(url: str | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNO_DB_URL", raising=False)
    with pytest.raises(Misconfigured, match=message):
        Database(url)


@pytest.mark.parametrize("password", ["secret", "se@cret", "se/cret", "se#cret", "se?cret", "se:cret", "s[ecret"])
@pytest.mark.parametrize(
    "url", ["postgresql://uno:{}@x/y", "postgres://uno:p@{}/y@x/y", "postgresql://uno:{}@x:many/y", "uno:{}@x"]
)
def test_no_part_of_a_password_is_in_any_text(url: str, password: str) -> None:
    try:
        text = repr(Database(url.format(password)))
    except Misconfigured as error:
        text = str(error)
    assert "cret" not in text
    assert "uno:" not in text


@pytest.mark.parametrize("url", ["postgresql://uno:secret@x/y", "postgresql://x/y?user=uno&password=secret"])
def test_of_a_url_only_the_place_is_shown(url: str) -> None:
    assert repr(Database(url)) in ("Database('postgresql://***@x/y')", "Database('postgresql://x/y')")


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "shop.db").write_text("shopping: bread, milk, butter" * 100)
    async with Database(f"sqlite:///{tmp_path}/shop.db") as database:
        with pytest.raises(Unavailable, match="The database file cannot be used: file is not a database"):
            await database.ping()
        with pytest.raises(Unavailable):
            async with UnitOfWork(database):
                await Repository(Pet).add(Pet(id="p"))


async def test_the_parameters_of_a_url_are_those_of_libpq(fresh: Fresh) -> None:
    database = await fresh("postgresql", Tables.metadata)
    url = f"{database.dsn.partition('?')[0]}?sslmode=disable&application_name=shop"
    async with Database(url) as named:
        assert (await named.query(text("SELECT current_setting('application_name')")))[0][0] == "shop"
        connection = await asyncpg.connect(named.dsn)
        assert await connection.fetchval("SELECT current_setting('application_name')") == "shop"
        await connection.close()
    async with Database(f"{database.dsn.partition('?')[0]}?sslmode=require") as secure:
        with pytest.raises(Unavailable):
            await secure.ping()
