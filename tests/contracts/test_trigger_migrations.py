"""Migrations of tables whose changes PostgreSQL writes down: the triggers follow their classes."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, text
from sqlalchemy.orm import Mapped, mapped_column

from uno.audit import AuditTrail
from uno.data import Database, Model, schema
from uno.data.migrations.driving import Migrations
from uno.errors import Misconfigured

Make = Callable[..., Migrations]
NUMBERS = itertools.count()
MISSING = "+ triggers that audit notes: missing, disabled, or not those of its class; run: uno db upgrade shop:app"
UNWANTED = '- triggers that audit notes: its class does not say __audit__ = "trigger"; run: uno db upgrade shop:app'


def note(audit: Any, **columns: Any) -> Any:
    """A class of the table notes, as it is at some time."""
    said = {"id": mapped_column(primary_key=True), **{name: mapped_column(nullable=True) for name in columns}}
    kinds = {name: Mapped[kind] for name, kind in columns.items()}  # type: ignore[valid-type]
    body = {
        "__tablename__": "notes",
        # SQLAlchemy wants two names.
        "__module__": f"{__name__}.n{next(NUMBERS)}",
        "__audit__": audit,
        "__annotations__": {"id": Mapped[int], **kinds},
        "metadata": MetaData(naming_convention=Model.metadata.naming_convention),
        **said,
    }
    return type("Note", (Model,), body)


@pytest.fixture
async def database(backend: str, templates: Any) -> Any:
    async with Database(await templates.empty_url(backend)) as database:
        await schema.create(database)
        yield database


@pytest.fixture
def made(database: Database, tmp_path: Path) -> Make:
    return lambda cls: Migrations(database, tmp_path / "migrations", [cls.metadata], application="shop:app")


def by_hand(migrations: Migrations, name: str, after: str, upgrade: str) -> None:
    (migrations.folder / "versions" / f"{name}.py").write_text(
        f"from alembic import op\nrevision = {name!r}\ndown_revision = {after!r}\n"
        f"def upgrade() -> None:\n    {upgrade}\ndef downgrade() -> None:\n    pass\n"
    )


async def run(database: Database, *statements: str) -> None:
    async with database.transaction() as transaction:
        for one in statements:
            await transaction.execute(text(one))


async def lines(migrations: Migrations) -> list[str]:
    return [str(one) for one in await migrations.differences()]


async def written(database: Database) -> list[Any]:
    return [(one.operation, one.after) for one in await AuditTrail(database).query()]


async def functions(database: Database) -> int:
    [(found,)] = await database.query(text("SELECT count(*) FROM pg_proc WHERE starts_with(proname, 'uno_audit_')"))
    return int(found)


async def test_a_migration_of_a_class_with_triggers_is_python_and_makes_table_and_triggers(
    made: Make, database: Database, backend: str
) -> None:
    migrations = made(note("trigger", body=str))
    path = await migrations.revise("first")
    assert path is not None
    # As any program reads it.
    module = ModuleType("first")
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    assert callable(module.upgrade)
    for _ in range(2):
        assert len(await migrations.upgrade()) == 1
        assert await lines(migrations) == []
        assert await migrations.revise("none") is None
        await migrations.downgrade("base")
    await migrations.upgrade()
    await run(database, "INSERT INTO notes VALUES (1, 'raw')")
    assert await written(database) == ([("create", {"id": 1, "body": "raw"})] if backend == "postgresql" else [])


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_an_upgrade_makes_triggers_that_are_missing_and_drops_those_that_nobody_wants(
    made: Make, database: Database
) -> None:
    plain, marked = made(note(True)), made(note("trigger"))
    await plain.revise("first")
    await plain.upgrade()
    for _ in range(2):
        assert await lines(marked) == [MISSING]
        assert await marked.revise("none") is None
        assert await marked.upgrade() == []
        assert await lines(marked) == []
        for broken in ("ALTER TABLE notes DISABLE TRIGGER USER", "DROP FUNCTION uno_audit_notes CASCADE"):
            await run(database, broken)
            assert await lines(marked) == [MISSING]
            await marked.upgrade()
            assert await lines(marked) == []
        assert await lines(plain) == [UNWANTED]
        assert await plain.upgrade() == []
        assert await lines(plain) == []
        assert await functions(database) == 0
    # As an application that creates its tables itself does.
    await schema.create(database, [marked._tables[0]], marked)
    assert await lines(marked) == []
    await schema.create(database, [plain._tables[0]], plain)
    assert await lines(plain) == []


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_triggers_follow_columns_that_come_and_go_and_a_later_migration_may_change_rows(
    made: Make, database: Database
) -> None:
    before, after = made(note("trigger", old=str)), made(note("trigger", new=str))
    await before.revise("first")
    await before.upgrade()
    await run(database, "INSERT INTO notes VALUES (1, 'a')")
    (first,) = await before.history()
    # With rows changed between: while the old columns are gone and the new ones are not yet there.
    by_hand(
        after, "moved", first.revision, "op.execute(\"UPDATE notes SET old = 'b'\"); op.drop_column('notes', 'old')"
    )
    by_hand(after, "between", "moved", "op.execute('UPDATE notes SET id = 2')")
    by_hand(after, "added", "between", "op.execute('ALTER TABLE notes ADD COLUMN new varchar')")
    by_hand(after, "filled", "added", "op.execute(\"UPDATE notes SET new = 'c'\")")
    assert await after.upgrade() == ["moved", "between", "added", "filled"]
    assert await lines(after) == []
    assert await written(database) == [
        ("create", {"id": 1, "old": "a"}),
        ("update", {"old": "b"}),
        ("update", {"new": "c"}),
    ]
    await made(note("trigger")).downgrade("base")


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_a_renamed_table_has_triggers_of_its_new_name_and_a_dropped_one_leaves_no_function(
    made: Make, database: Database
) -> None:
    migrations = made(note("trigger"))
    await migrations.revise("first")
    await migrations.upgrade()
    (first,) = await migrations.history()
    memo = note("trigger")
    memo.__table__.name = "memos"
    by_hand(made(memo), "renamed", first.revision, "op.rename_table('notes', 'memos')")
    by_hand(made(memo), "gone", "renamed", "op.drop_table('memos')")
    assert await made(memo).upgrade("renamed") == ["renamed"]
    assert await functions(database) == 1
    await run(database, "INSERT INTO memos VALUES (1)")
    assert await written(database) == [("create", {"id": 1})]
    await made(memo).upgrade()
    assert await functions(database) == 0


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_without_migrations_it_is_creating_that_makes_triggers(made: Make, database: Database) -> None:
    marked = note("trigger")
    await schema.create(database, [note(True).metadata])
    assert await lines(made(marked)) == [MISSING.replace("upgrade", "create")]
    await schema.create(database, [marked.metadata])
    assert await lines(made(marked)) == []
    # Whose class has a column that the table has not: the triggers stay, so that changes are still written down.
    wider = note("trigger", more=str)
    with pytest.raises(Misconfigured, match=r"no column notes\.more"):
        await schema.create(database, [wider.metadata])
    await run(database, "INSERT INTO notes VALUES (1)")
    assert await written(database) == [("create", {"id": 1})]


@pytest.mark.parametrize("changed", [False, True], ids=["a new column", "a column that is there"])
async def test_rows_without_a_value_for_a_column_that_has_to_have_one_are_told_with_the_remedy(
    made: Make, database: Database, changed: bool
) -> None:
    def notes(nullable: bool | None, default: str | None = None) -> Any:
        metadata = MetaData()
        own = [] if nullable is None else [Column("the city", String, nullable=nullable, server_default=default)]
        Table("my notes", metadata, Column("id", Integer, primary_key=True), *own)
        return type("Holder", (), {"metadata": metadata})

    await made(notes(True if changed else None)).revise("first")
    await made(notes(True if changed else None)).upgrade()
    await run(database, 'INSERT INTO "my notes" (id) VALUES (1)')
    path = await made(notes(False)).revise("second")
    assert path is not None
    with pytest.raises(Misconfigured) as caught:
        await made(notes(False)).upgrade()
    said = str(caught.value)
    assert said.startswith(
        "The column the city of my notes is to be NOT NULL, and the rows that are there have no value for it, so the "
        f"database is as it was ({path}, line "
    )
    assert "): give the column a server_default in its model and in the migration, or let it be nullable" in said
    assert "\n" not in said
    if not changed:
        path.write_text(path.read_text().replace("nullable=False)", "nullable=False, server_default='Bonn')"))
        await made(notes(False, "Bonn")).upgrade()
        assert await lines(made(notes(False, "Bonn"))) == []
