"""SQL given as text: with bind parameters, never with values written into it."""

import enum
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from sqlalchemy import DateTime, MetaData, Numeric, insert, select, text
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.data import Database, Model, Repository, UnitOfWork, UUIDMixin, session, transaction
from uno.data.literal import reads, writes
from uno.errors import Conflict, Misconfigured


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Note(Base):
    __tablename__ = "literal_notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(default="")


class Grade(enum.Enum):
    GOOD = 1


class Kept(UUIDMixin, Base):
    """A value of each type that SQLite stores as something else."""

    __tablename__ = "literal_kept"
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2), default=Decimal("1.25"))
    at: Mapped[datetime] = mapped_column(default=datetime(2026, 1, 2, 3, 4, 5, 6, UTC))
    local: Mapped[datetime] = mapped_column(DateTime(), default=datetime(2026, 1, 2, 3, 4, 5, 6))  # noqa: DTZ001
    day: Mapped[date] = mapped_column(default=date(2026, 1, 2))
    hour: Mapped[time] = mapped_column(default=time(3, 4, 5, 6))
    spent: Mapped[timedelta] = mapped_column(default=timedelta(hours=30, microseconds=7))
    grade: Mapped[Grade] = mapped_column(default=Grade.GOOD)
    raw: Mapped[bytes] = mapped_column(default=b"\0x")
    done: Mapped[bool] = mapped_column(default=True)


notes: Repository[Note] = Repository(Note)
kept: Repository[Kept] = Repository(Kept)


@pytest.fixture
async def database(fresh: Fresh, backend: str) -> Database:
    return await fresh(backend, Base.metadata)


async def test_text_with_parameters_gives_rows_with_names(database: Database) -> None:
    async with UnitOfWork(database) as uow:
        await notes.add(Note(id=1, title="it's"))
    async with UnitOfWork(database) as uow:
        result = await uow.execute("SELECT id, title FROM literal_notes WHERE title = :title", {"title": "it's"})
        [row] = result.all()
        assert (row.id, row.title) == (1, "it's")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM literal_notes WHERE title = 'x'",
        'SELECT * FROM literal_notes WHERE title = "x"',
        "SELECT * FROM literal_notes WHERE title = $$x$$",
        "SELECT * FROM literal_notes WHERE title = $a$x$a$",
        "SELECT `title` FROM literal_notes",
    ],
)
async def test_text_with_quotes_is_refused_and_not_repeated(database: Database, sql: str) -> None:
    async with transaction(database) as uow:
        one = await uow.session()
        for execute in (uow.execute, one.execute, one.scalar, one.scalars, (await uow.transaction()).execute):
            with pytest.raises(Misconfigured, match="has no quotes.*execute.*:id.*sqlalchemy.text") as found:
                await execute(sql)
            assert sql not in str(found.value)


async def test_literals_of_ones_own_are_said_with_text(database: Database) -> None:
    async with session(database) as one:
        assert await one.scalar(text("SELECT 'x'")) == "x"


async def test_parameters_and_text_fit_each_other(database: Database) -> None:
    async with UnitOfWork(database) as uow:
        for parameters, reason in (
            ({}, "has a parameter :id that was given no value"),
            (None, "has a parameter :id that was given no value"),
            ({"id": 1, "title": "x"}, "has no parameter :title"),
            ((1,), "are a dict"),
        ):
            with pytest.raises(Misconfigured, match=reason):
                await uow.execute("SELECT 1 FROM literal_notes WHERE id = :id", parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(Kept.__table__.columns.keys()))
async def test_a_value_is_compared_with_what_is_stored_of_such_values(database: Database, name: str) -> None:
    async with UnitOfWork(database):
        one = await kept.add(Kept())
    sql = f"SELECT id FROM literal_kept WHERE {name} = :given"  # of a column declared above
    async with UnitOfWork(database) as uow:
        assert len((await uow.execute(sql, {"given": getattr(one, name)})).all()) == 1  # type: ignore[arg-type]
        session = await uow.session()
        assert len((await session.execute(sql, {"given": getattr(one, name)})).all()) == 1


async def test_an_aware_time_of_any_zone_is_the_same_moment(database: Database) -> None:
    async with UnitOfWork(database):
        await kept.add(Kept())
    moment = datetime(2026, 1, 2, 8, 4, 5, 6, timezone(timedelta(hours=5)))
    async with UnitOfWork(database) as uow:
        assert (await uow.execute("SELECT count(*) FROM literal_kept WHERE at = :at", {"at": moment})).scalar() == 1


async def test_several_rows_are_given_as_a_list(database: Database) -> None:
    async with UnitOfWork(database) as uow:
        rows = [{"id": n, "title": str(n)} for n in range(3)]
        await uow.execute("INSERT INTO literal_notes (id, title) VALUES (:id, :title)", rows)
        assert await notes.count() == 3


async def test_what_writes_is_undone_with_the_unit_of_work(database: Database) -> None:
    with pytest.raises(ValueError, match="undo"):
        async with UnitOfWork(database) as uow:
            await uow.execute("INSERT INTO literal_notes (id, title) VALUES (:id, :title)", {"id": 1, "title": "x"})
            await uow.execute(insert(Note).values(id=2, title="y"))
            assert uow.explicit is not None
            raise ValueError("undo")
    assert await database.query(select(Note.id)) == []


async def test_what_has_changed_is_seen_by_text(database: Database) -> None:
    sql = "SELECT count(*) FROM literal_notes"
    async with UnitOfWork(database) as uow:
        await notes.add(Note(id=1))
        assert (await uow.execute(sql)).scalar_one() == 1
        one = await uow.session()
        one.add(Note(id=2))
        assert await one.scalar(sql) == 2
        one.add(Note(id=3))
        assert (await uow.execute(sql)).scalar_one() == 3


async def test_errors_are_those_of_the_tree(database: Database) -> None:
    for _ in range(2):
        with pytest.raises(Conflict):
            async with session(database) as one:
                for _ in range(2):
                    await one.execute("INSERT INTO literal_notes (id, title) VALUES (1, :title)", {"title": "x"})


async def test_a_unit_of_work_that_only_reads_refuses_to_write(database: Database) -> None:
    async with UnitOfWork(database, read_only=True) as uow:
        one = await uow.session()
        for sql in ("DELETE FROM literal_notes", "SELECT id FROM literal_notes FOR UPDATE"):
            for execute in (uow.execute, one.execute):
                with pytest.raises(Misconfigured, match="A query changes nothing"):
                    await execute(sql)
        with pytest.raises(Misconfigured, match="A query changes nothing"):
            await one.execute(insert(Note).values(id=1))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", False),
        ("WITH a AS (SELECT 1) SELECT count(*) FROM a", False),
        ("SELECT updated_at, deleted FROM t", False),
        ("SELECT comment, share, lock FROM t", False),
        ("SELECT somebodys_function(1)", False),
        ("WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", True),
        ("SELECT * INTO copy FROM t", True),
        ("SELECT * FROM t FOR SHARE", True),
        ("SELECT nextval(:name)", True),
        ("UPDATE t SET a = 1", True),
        ("VACUUM", True),
    ],
)
def test_text_may_write_and_certainly_does_where_it_says_so(sql: str, expected: bool) -> None:
    assert (reads(sql), reads(text(sql)), writes(sql)) == (False, False, expected)


def test_expressions_tell_it_themselves() -> None:
    found = [(reads(one), writes(one)) for one in (select(Note), select(Note).with_for_update(), insert(Note))]
    assert found == [(True, False), (False, True), (False, True)]
