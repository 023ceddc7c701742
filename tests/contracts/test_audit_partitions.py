"""Triggers on partitions, and TRUNCATE: what names a partition itself is written down, and nothing twice."""

from typing import Any

import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno import App, Module
from uno.audit import AuditTrail
from uno.cli.doctor import _unaudited
from uno.data import Database, Model, Repository, UnitOfWork, capture, schema
from uno.errors import Misconfigured


class Base(Model):
    __abstract__ = True
    __audit__ = "trigger"
    metadata = MetaData()


class Place(Base):
    __tablename__ = "parted places"
    __table_args__ = {"postgresql_partition_by": "LIST (k)"}
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    k: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int | None]


class Plain(Base):
    __tablename__ = "parted_plain"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Unmarked(Model):
    __tablename__ = "parted places"
    __component__ = "Unmarked"
    metadata = MetaData()
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    k: Mapped[str] = mapped_column(primary_key=True)


PARTS = (
    """CREATE TABLE "part a" PARTITION OF "parted places" FOR VALUES IN ('a')""",
    """CREATE TABLE part_bc PARTITION OF "parted places" FOR VALUES IN ('b', 'c') PARTITION BY LIST (k)""",
    "CREATE TABLE part_b PARTITION OF part_bc FOR VALUES IN ('b')",
)
# Its columns are in another order.
LATER = (
    "CREATE TABLE part_d (n integer, k varchar NOT NULL, id integer NOT NULL)",
    """ALTER TABLE "parted places" ATTACH PARTITION part_d FOR VALUES IN ('d')""",
)
ROWS = "VALUES (1, 'a', 1), (2, 'b', 2)"


@pytest.fixture
async def database(fresh: Fresh) -> Database:
    database = await fresh("postgresql", Base.metadata)
    await run(database, *PARTS)
    await schema.create(database, [Base.metadata])
    return database


async def run(database: Database, *statements: str) -> None:
    async with database.transaction() as transaction:
        for one in statements:
            await transaction.execute(text(one))


async def taken(database: Database) -> list[tuple[str, str]]:
    """What was written down since."""
    found = await AuditTrail(database).query(component=Place, limit=None)
    await run(database, "DELETE FROM uno_audit")
    return [(one.operation, one.record_id) for one in found]


async def test_what_names_a_partition_is_written_down_as_what_names_its_parent_and_once(database: Database) -> None:
    for statement, said in (
        ("""INSERT INTO "part a" VALUES (1, 'a', 1)""", [("create", "1,a")]),
        ("""UPDATE "part a" SET n = 9""", [("update", "1,a")]),
        ("INSERT INTO part_b VALUES (2, 'b', 1)", [("create", "2,b")]),
        ("UPDATE part_bc SET n = 2", [("update", "2,b")]),
        ("DELETE FROM part_bc", [("delete", "2,b")]),
        ('DELETE FROM "part a"', [("delete", "1,a")]),
        (f'INSERT INTO "parted places" {ROWS}', [("create", "1,a"), ("create", "2,b")]),
        ("""UPDATE "parted places" SET k = 'b' WHERE id = 1""", [("create", "1,b"), ("delete", "1,a")]),
        ("TRUNCATE part_bc", [("delete", "1,b"), ("delete", "2,b")]),
        (f'INSERT INTO "parted places" {ROWS}', [("create", "1,a"), ("create", "2,b")]),
        ('TRUNCATE "part a"', [("delete", "1,a")]),
        ("""INSERT INTO "part a" VALUES (1, 'a', 1)""", [("create", "1,a")]),
        ('TRUNCATE "parted places"', [("delete", "1,a"), ("delete", "2,b")]),
    ):
        await run(database, statement)
        assert sorted(await taken(database)) == said, statement


MOVED = [("delete", "7,b"), ("create", "8,b"), ("delete", "8,a"), ("create", "9,a")]
MERGE = """MERGE INTO "parted places" p USING (VALUES {rows}) s (id, k, n) ON p.id = s.id AND p.k = s.k
WHEN MATCHED THEN UPDATE SET n = s.n WHEN NOT MATCHED THEN INSERT (id, k, n) VALUES (s.id, s.k, s.n)"""


async def test_a_merge_is_written_down_or_refused(database: Database) -> None:
    await run(database, """INSERT INTO "parted places" VALUES (1, 'a', 1), (5, 'b', 1)""")
    await taken(database)
    # PostgreSQL shows triggers the new row instead of the changed one.
    with pytest.raises(Misconfigured, match="A MERGE that updates and inserts rows of the partitioned table"):
        await run(database, MERGE.format(rows="(7, 'b', 1), (1, 'a', 2)"))
    assert await taken(database) == []
    for statement, said in (
        (MERGE.format(rows="(7, 'b', 1), (8, 'a', 1)"), [("create", "7,b"), ("create", "8,a")]),
        (MERGE.format(rows="(1, 'a', 3), (5, 'b', 3)"), [("update", "1,a"), ("update", "5,b")]),
        ("""UPDATE "parted places" SET k = 'a', n = 9 WHERE id = 5""", [("delete", "5,b"), ("create", "5,a")]),
        ("""UPDATE "parted places" SET id = id + 1 WHERE id > 6""", MOVED),
    ):
        await run(database, statement)
        assert sorted(await taken(database)) == sorted(said)
    async with UnitOfWork(database):
        await Repository(Place).add(Place(id=0, k="b"))
        (await Repository(Place).get((1, "a"))).n = 5
    assert sorted(await taken(database)) == [("create", "0,b"), ("update", "1,a")]


async def test_partitions_that_come_later_are_found_and_get_triggers_with_the_next_creation(
    database: Database,
) -> None:
    await run(database, *LATER)
    app: Any = App(Module("places", models=[Place, Plain]), database=database)
    [warning] = await _unaudited(app, database)
    assert warning.startswith("The table parted places or partitions of it have no triggers that audit")
    # An application starts all the same: others attach partitions at any time.
    await schema.require(database, [Base.metadata])
    await run(database, f"INSERT INTO \"parted places\" {ROWS}, (3, 'd', 3)", 'TRUNCATE "parted places"')
    assert sorted(await taken(database)) == [
        (verb, id) for verb in ("create", "delete") for id in ("1,a", "2,b", "3,d")
    ]
    await schema.create(database, [Base.metadata])
    assert await _unaudited(app, database) == []
    await run(database, "INSERT INTO part_d VALUES (4, 'd', 4)", "TRUNCATE part_d")
    assert await taken(database) == [("create", "4,d"), ("delete", "4,d")]


async def test_triggers_that_nobody_wants_leave_the_partitions_too(database: Database) -> None:
    count = text("SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relname LIKE 'part%'")
    async with database.transaction() as transaction:
        partition = MetaData()
        await transaction.connection.run_sync(lambda connection: partition.reflect(connection, only=["part_b"]))
        found = await transaction.connection.run_sync(capture.unwanted, list(partition.tables.values()))
        assert found == []
    assert (await database.query(count))[0][0] == 5 * 4
    await schema.create(database, [Unmarked.metadata])
    assert (await database.query(count))[0][0] == 4


async def test_truncate_is_refused_where_policies_hide_the_rows_from_who_writes_them_down(fresh: Fresh) -> None:
    database = await fresh("postgresql", Base.metadata)
    await run(
        database,
        "CREATE ROLE uno_parted_owner",
        "INSERT INTO parted_plain VALUES (1)",
        "ALTER TABLE parted_plain ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE parted_plain FORCE ROW LEVEL SECURITY",
        "GRANT ALL ON uno_audit TO uno_parted_owner",
        "GRANT ALL ON SCHEMA public TO uno_parted_owner",
        "ALTER TABLE parted_plain OWNER TO uno_parted_owner",
        "ALTER FUNCTION uno_audit_parted_plain() OWNER TO uno_parted_owner",
    )
    try:
        with pytest.raises(Misconfigured, match=r"TRUNCATE takes from public\.parted_plain cannot be written down"):
            await run(database, "SET LOCAL ROLE uno_parted_owner", "TRUNCATE parted_plain")
        assert (await database.query(text("SELECT count(*) FROM parted_plain")))[0][0] == 1
        await run(database, "ALTER TABLE parted_plain NO FORCE ROW LEVEL SECURITY", "TRUNCATE parted_plain")
        found = await AuditTrail(database).query(component=Plain)
        assert [(one.operation, one.record_id) for one in found] == [("create", "1"), ("delete", "1")]
    finally:
        await run(database, "DROP OWNED BY uno_parted_owner CASCADE", "DROP ROLE uno_parted_owner")
