"""Migrations, as the command line drives them, on both kinds of database."""

import asyncio
import enum
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    inspect,
    text,
    true,
)
from sqlalchemy.types import TypeDecorator

from uno.app import App
from uno.data import Database, Model, UtcDateTime, schema
from uno.data.migrations.driving import Migrations
from uno.data.model import database_now
from uno.data.tables import json_type
from uno.errors import Conflict, Misconfigured
from uno.modules import Module

Make = Callable[[MetaData], Migrations]


class Mood(enum.Enum):
    good = "good"
    bad = "bad"


class Grown(enum.Enum):
    good = "good"
    bad = "bad"
    dull = "it's dull"


class Cents(TypeDecorator[int]):
    """A type of the application's own."""

    impl = Integer
    cache_ok = True


def named() -> MetaData:
    return MetaData(naming_convention=Model.metadata.naming_convention)


def notes(*columns: Any, metadata: MetaData | None = None) -> MetaData:
    made = named() if metadata is None else metadata
    Table("notes", made, Column("id", Integer, primary_key=True), *columns)
    return made


@pytest.fixture
async def url(backend: str, templates: Any) -> str:
    return str(await templates.empty_url(backend))


@pytest.fixture
async def database(url: str) -> Any:
    async with Database(url) as database:
        yield database


@pytest.fixture
def made(database: Database, tmp_path: Path) -> Make:
    """The migrations in a folder, for tables as they are now."""
    return lambda tables: Migrations(database, tmp_path / "migrations", [tables], application="shop:app")


def by_hand(migrations: Migrations, after: str | None, upgrade: str) -> None:
    (migrations.folder / "versions" / "hand.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\nrevision = 'hand'\ndown_revision = {after!r}\n"
        f"def upgrade() -> None:\n    {upgrade}\ndef downgrade() -> None:\n    pass\n"
    )


async def tables(database: Database) -> set[str]:
    async with database.transaction() as transaction:
        return set(await transaction.connection.run_sync(lambda c: inspect(c).get_table_names()))


async def lines(migrations: Migrations) -> list[str]:
    return [str(one) for one in await migrations.differences()]


def every_type() -> MetaData:
    metadata = notes(
        Column("uuid", Uuid),
        Column("at", UtcDateTime, server_default=func.now()),
        Column("at1", UtcDateTime, server_default=database_now()),
        Column("at2", DateTime(timezone=True), server_default=text("CURRENT_TIMESTAMP")),
        Column("json", json_type, nullable=False),
        Column("empty", String, server_default=""),
        Column("quoted", String(30), server_default="it's"),
        Column("on", Integer, server_default="0"),
        Column("true", Integer, server_default=text("1")),
        Column("flag", Boolean, server_default=true()),
        Column("held", Enum(Mood, native_enum=False)),
        Column("yes", Text, server_default=text("'yes'")),
        Column("price", Numeric(12, 2), server_default=text("0")),
        Column("cents", Cents, index=True),
        Column("mood", Enum(Mood)),
        Column("code", Text, unique=True),
        CheckConstraint("cents >= 0", name="positive"),
    )
    table = metadata.tables["notes"]
    Index(
        "uq_notes_living",
        table.c.quoted,
        unique=True,
        postgresql_where=table.c.at.is_(None),
        sqlite_where=table.c.at.is_(None),
    )
    return metadata


async def test_every_type_and_default_is_written_so_that_nothing_differs_afterwards(
    database: Database, made: Make
) -> None:
    migrations = made(every_type())
    path = await migrations.revise('"first" \\ of all"""')
    assert path is not None
    assert "UtcDateTime()" in path.read_text()
    assert "sa.Column('at1', UtcDateTime(), server_default=database_now()" in path.read_text()
    for _ in range(2):
        assert len(await migrations.upgrade()) == 1
        assert await migrations.differences() == []
        assert await migrations.revise("none") is None
        await migrations.downgrade("base")
        assert await tables(database) == {"alembic_version"}
    assert [one.message for one in await migrations.history()] == ['"first" \\ of all"""']


async def test_columns_types_constraints_and_indexes_follow_their_models_both_ways(
    database: Database, made: Make
) -> None:
    before = notes(Column("code", String(10), unique=True), Column("n", Integer), Column("old", Text, index=True))
    after = notes(
        Column("code", String(20)), Column("n", Numeric(8, 2), nullable=False, unique=True), Column("new", Text)
    )
    table = after.tables["notes"]
    # As SoftDeleteMixin has it: what was a constraint becomes an index of the same name.
    living = table.c.new.is_(None)
    Index("uq_notes_code", table.c.code, unique=True, postgresql_where=living, sqlite_where=living)
    await made(before).revise("first")
    await made(before).upgrade()
    assert set(await lines(made(after))) == {
        "+ column new of notes TEXT",
        "~ type of notes.code: VARCHAR(10) → VARCHAR(20)",
        "~ nullable of notes.n: True → False",
        "~ type of notes.n: INTEGER → NUMERIC(8, 2)",
        "- constraint uq_notes_code of notes (code)",
        "- index ix_notes_old of notes (old)",
        "+ index uq_notes_code of notes (code)",
        "+ constraint uq_notes_n of notes (n)",
        "- column old of notes TEXT",
    }
    await made(after).revise("second")
    for _ in range(2):
        await made(after).upgrade()
        assert await lines(made(after)) == []
        await made(before).downgrade("-1")
        assert await lines(made(before)) == []


def words(*, unique: bool) -> MetaData:
    """Without names of constraints, as SQLModel makes them."""
    more = [UniqueConstraint("a", "b"), ForeignKeyConstraint(["b"], ["notes.id"])] if unique else []
    columns = [Column("word", Text, unique=unique), Column("a", Text), Column("b", Integer)]
    return notes(*columns, Column("other", Text, unique=True), *more, metadata=MetaData())


async def write_words(database: Database) -> None:
    """Twice the same one."""
    async with database.transaction() as transaction:
        for id in (1, 2):
            await transaction.execute(text("INSERT INTO notes (id, word) VALUES (:id, 'x')"), {"id": id})


async def test_constraints_without_a_name_come_and_go(database: Database, made: Make) -> None:
    before, after = made(words(unique=False)), made(words(unique=True))
    await before.revise("first")
    await before.upgrade()
    await after.revise("second")
    for _ in range(2):
        await after.upgrade()
        assert await lines(after) == []
        with pytest.raises(Conflict, match="duplicate"):
            await write_words(database)
        await before.downgrade("-1")
        assert await lines(before) == []
    await write_words(database)


async def test_columns_go_and_come_back_with_their_constraints_without_a_name(database: Database, made: Make) -> None:
    def pages(*columns: Any) -> MetaData:
        return notes(Column("word", Text), *columns, metadata=MetaData())

    before = made(pages(Column("n", Integer, unique=True), Column("on", ForeignKey("notes.id"))))
    await before.revise("first")
    await before.upgrade()
    await made(pages()).revise("second")
    for _ in range(2):
        await made(pages()).upgrade()
        assert await lines(made(pages())) == []
        await before.downgrade("-1")
        assert await lines(before) == []


async def test_constraints_without_a_name_are_seen_to_go(database: Database, made: Make) -> None:
    before, after = made(words(unique=True)), made(words(unique=False))
    await before.revise("first")
    await before.upgrade()
    assert await lines(before) == []
    found = [one.replace(" notes_b_fkey", "") for one in await lines(after)]
    assert sorted(found) == [
        "- constraint notes_a_b_key of notes (a, b)",
        "- constraint notes_word_key of notes (word)",
        "- foreign key of notes (b) → notes.id",
    ]
    await after.revise("second")
    for _ in range(2):
        await after.upgrade()
        assert await lines(after) == []
        await before.downgrade("-1")
        assert await lines(before) == []
        with pytest.raises(Conflict, match="duplicate"):
            await write_words(database)
    await after.upgrade()
    await write_words(database)


LONG = "a_column_with_a_rather_long_name_number_"


@pytest.mark.parametrize(
    ("names", "unique"),
    [
        ([f"{LONG}1", f"{LONG}2"], [(f"{LONG}1", f"{LONG}2")]),
        (["a_b", "c", "a", "b_c"], [("a_b", "c"), ("a", "b_c")]),
    ],
    ids=["long", "alike"],
)
async def test_constraints_get_names_that_fit_and_of_their_own(
    database: Database, made: Make, names: list[str], unique: list[tuple[str, ...]]
) -> None:
    def pages(*several: tuple[str, ...]) -> MetaData:
        columns = [Column(name, Text) for name in names]
        return notes(*columns, *(UniqueConstraint(*one) for one in several), metadata=MetaData())

    steps = [made(pages(*unique[:number])) for number in range(len(unique) + 1)]
    await steps[0].revise("first")
    await steps[0].upgrade()
    # At once, and then one by one.
    for way in (steps[-1:], steps[1:]):
        for each in way:
            await each.revise("more")
            await each.upgrade()
            assert await lines(each) == []
        await way[0].downgrade(f"-{len(way)}")
        assert await lines(steps[0]) == []
        for written in way[0].folder.glob("versions/*more.py"):
            written.unlink()


async def test_a_constraint_that_gets_a_name_is_there_once_and_goes_back(database: Database, made: Make) -> None:
    before = made(notes(Column("word", Text, unique=True), metadata=MetaData()))
    after = made(notes(Column("word", Text, unique=True)))
    await before.revise("first")
    await before.upgrade()
    await after.revise("second")
    for _ in range(2):
        await after.upgrade()
        assert await lines(after) == []
        await before.downgrade("-1")
        assert await lines(before) == []
        with pytest.raises(Conflict, match="duplicate"):
            await write_words(database)


async def test_rows_that_refer_to_a_changed_table_stay(database: Database, made: Make) -> None:
    def family(kind: Any) -> MetaData:
        metadata = named()
        Table("parents", metadata, Column("id", Integer, primary_key=True), Column("n", kind))
        refers = ForeignKey("parents.id", ondelete="CASCADE")
        Table("children", metadata, Column("id", Integer, primary_key=True), Column("parent", Integer, refers))
        return metadata

    await made(family(Integer)).revise("first")
    await made(family(Integer)).upgrade()
    async with database.transaction() as transaction:
        await transaction.execute(text("INSERT INTO parents VALUES (1, 5)"))
        await transaction.execute(text("INSERT INTO children VALUES (1, 1)"))
    await made(family(Text)).revise("second")
    await made(family(Text)).upgrade()
    assert [tuple(row) for row in await database.query(text("SELECT * FROM children"))] == [(1, 1)]
    # Foreign keys are in force again.
    with pytest.raises(Exception, match="(?i)refer|foreign key"):
        async with database.transaction() as transaction:
            await transaction.execute(text("INSERT INTO children VALUES (2, 7)"))


async def test_a_migration_that_fails_leaves_nothing_of_itself_and_of_those_before_it(
    database: Database, made: Make
) -> None:
    migrations = made(notes())
    first = await migrations.revise("first")
    assert first is not None
    (step,) = await migrations.history()
    for failing, said in {
        "op.execute('SELECT nothing')": "The database refused it, and is as it was: .*hand.py, line 6",
        "1 / 0": "raise an error: ZeroDivisionError: division by zero .*hand.py, line 6",
        "raise SystemExit(3)": "raise an error: SystemExit: 3",
    }.items():
        by_hand(migrations, step.revision, f"op.execute('CREATE TABLE half (a int)'); {failing}")
        with pytest.raises(Misconfigured, match=said):
            await migrations.upgrade()
        assert await tables(database) == set()
    by_hand(migrations, step.revision, "op.execute('CREATE TABLE half (a int)')")
    assert await migrations.upgrade() == [step.revision, "hand"]


async def test_those_who_upgrade_at_once_take_turns(url: str, tmp_path: Path) -> None:
    async def upgrade() -> list[str]:
        async with Database(url) as database:
            return await Migrations(database, tmp_path / "migrations", [notes()]).upgrade()

    async with Database(url) as database:
        await Migrations(database, tmp_path / "migrations", [notes()]).revise("first")
    done = await asyncio.gather(*(upgrade() for _ in range(5)))
    assert sorted(map(len, done)) == [0, 0, 0, 0, 1]


async def test_a_database_with_the_tables_is_taken_over_and_one_with_others_is_not(
    database: Database, made: Make
) -> None:
    await schema.create(database, [notes()])
    await made(notes()).revise("first")
    assert await made(notes()).upgrade() == []
    async with database.transaction() as transaction:
        await transaction.execute(text("DROP TABLE alembic_version"))
    with pytest.raises(Misconfigured, match="uno db diff shows how"):
        await made(notes(Column("more", Text))).upgrade()
    assert await made(notes()).upgrade() == []


async def test_creating_the_schema_runs_the_migrations(database: Database, made: Make) -> None:
    migrations = made(notes(Column("text", Text)))
    await migrations.revise("first")
    by_hand(migrations, (await migrations.history())[0].revision, "op.execute(\"INSERT INTO notes VALUES (1, 'a')\")")
    for _ in range(2):
        await schema.create(database, [], migrations)
        assert [tuple(row) for row in await database.query(text("SELECT * FROM notes"))] == [(1, "a")]
    await schema.require(database, [], migrations)


async def test_an_application_does_not_start_behind_its_migrations(
    database: Database, made: Make, tmp_path: Path
) -> None:
    await schema.create(database)
    app = App(Module("post"), database=database, migrations=tmp_path / "migrations")

    async def refused() -> str:
        with pytest.raises(Misconfigured) as caught:
            async with app:
                raise AssertionError("it started")
        return str(caught.value)

    assert (await refused()).endswith("env.py; make it with: uno db revision PACKAGE:APP -m MESSAGE")
    await made(notes()).revise("first")
    (step,) = await made(notes()).history()
    assert (await refused()).startswith("The database has none of the migrations in ")
    await made(notes()).upgrade()
    async with app:
        pass
    by_hand(made(notes()), step.revision, "pass")
    behind = f"The database is at revision {step.revision}, and its migrations lead to hand; run: uno db upgrade"
    assert await refused() == f"{behind} PACKAGE:APP"
    with pytest.raises(Misconfigured, match=f"{behind} shop:app"):
        await made(notes()).revise("more")
    async with database.transaction() as transaction:
        await transaction.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    assert "is at revision later, which is not in " in await refused()


async def test_tables_of_others_are_left_alone_and_own_ones_are_dropped_with_their_model(
    database: Database, made: Make
) -> None:
    both = notes()
    Table("drafts", both, Column("id", Integer, primary_key=True))
    await schema.create(database)
    await made(both).revise("first")
    await made(both).upgrade()
    async with database.transaction() as transaction:
        await transaction.execute(text("CREATE TABLE others (a int)"))
    assert await lines(made(notes())) == ["- table drafts"]


async def test_what_is_wrong_with_the_migrations_is_said_in_a_sentence(made: Make) -> None:
    migrations = made(notes())

    async def refused(act: Any) -> str:
        with pytest.raises(Misconfigured) as caught:
            await act
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert (await refused(migrations.upgrade())).startswith("There is no ")
    await migrations.revise("first")
    assert "There is no revision 'abc' in " in await refused(migrations.upgrade("abc"))
    assert "There are not so many migrations" in await refused(migrations.downgrade("-5"))
    by_hand(migrations, None, "pass")
    assert "have several heads; join them: alembic -c " in await refused(migrations.upgrade())
    (migrations.folder / "versions" / "hand.py").write_text("def (:")
    assert "raise an error: SyntaxError: invalid syntax" in await refused(migrations.history())
    (migrations.folder / "versions" / "hand.py").unlink()
    (migrations.folder / "env.py").write_text("import nothing_of_this_name\n")
    said = "raise an error: ModuleNotFoundError: No module named 'nothing_of_this_name' ("
    assert said in await refused(migrations.differences())


async def test_a_folder_with_something_else_in_it_is_not_taken(made: Make) -> None:
    migrations = made(notes())
    migrations.folder.mkdir()
    (migrations.folder / "letter.txt").write_text("Dear")
    with pytest.raises(Misconfigured, match="holds no migrations; name another with App"):
        await migrations.revise("first")


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_an_enumerated_type_comes_grows_and_goes_with_its_columns(database: Database, made: Make) -> None:
    def moods(kind: type[enum.Enum]) -> MetaData:
        metadata = notes(Column("mood", Enum(kind, name="mood")))
        Table("diaries", metadata, Column("moods", ARRAY(Enum(kind, name="mood"))))
        return metadata

    await made(moods(Mood)).revise("first")
    for _ in range(2):
        await made(moods(Mood)).upgrade()
        assert await lines(made(moods(Mood))) == []
        await made(moods(Mood)).downgrade("base")
    await made(moods(Mood)).upgrade()
    assert await lines(made(moods(Grown))) == ["+ value mood: 'dull'"]
    await made(moods(Grown)).revise("grown")
    for _ in range(2):
        await made(moods(Grown)).upgrade()
        assert await lines(made(moods(Grown))) == []
        await made(moods(Grown)).downgrade("-1")
    await made(moods(Grown)).upgrade()
    assert "- type mood: 'good', 'bad', 'dull'" in await lines(made(notes()))
    await made(notes()).revise("gone")
    await made(notes()).upgrade()
    assert await lines(made(notes())) == []
    await made(notes()).downgrade("base")


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_an_index_may_be_made_concurrently_and_take_longer_than_a_request(database: Database, made: Make) -> None:
    await made(notes(Column("n", Integer))).revise("first")
    indexed = made(notes(Column("n", Integer, index=True)))
    by_hand(
        indexed,
        (await indexed.history())[0].revision,
        'assert op.get_bind().exec_driver_sql("SHOW statement_timeout").scalar() == "0"\n'
        "    with op.get_context().autocommit_block():\n"
        '        op.create_index("ix_notes_n", "notes", ["n"], postgresql_concurrently=True)',
    )
    assert len(await indexed.upgrade()) == 2
    assert await lines(indexed) == []
