"""What one statement cannot do is done by several, and nobody notices."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest
from sqlalchemy import ARRAY, JSON, ForeignKey, MetaData, String, func, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from uno.audit import AuditBook
from uno.audit.tables import audit
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.errors import Conflict, VersionConflict

Fresh = Callable[..., Awaitable[Database]]


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Box(VersionMixin, Tables):
    __tablename__ = "box"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    weight: Mapped[int] = mapped_column(default=0)
    labels: Mapped[list[str]] = mapped_column(
        ARRAY(String).with_variant(JSON(none_as_null=True), "sqlite"), default=list
    )


class Thing(Tables):
    __tablename__ = "thing"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    box_id: Mapped[str | None] = mapped_column(ForeignKey("box.id"))


# Wide enough for a column set of its own in every row.
WIDTH = 40


class Wide(VersionMixin, Tables):
    __tablename__ = "wide"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


for number in range(WIDTH):
    setattr(Wide, f"c{number}", mapped_column(f"c{number}", String(5)))

boxes: Repository[Box] = Repository(Box)
things: Repository[Thing] = Repository(Thing)


@pytest.fixture(params=["postgresql auto", "postgresql session", "sqlite auto"])
async def database(request: pytest.FixtureRequest, fresh: Fresh) -> Database:
    backend, commit = request.param.split()
    return await fresh(backend, Tables.metadata, commit=commit)


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=(AuditBook(),))


async def count(database: Database, what: Any) -> int:
    return int((await database.query(select(func.count()).select_from(what)))[0][0])


async def test_more_rows_than_one_statement_takes_are_written_all_or_none(database: Database) -> None:
    async with unit(database):
        for n in range(1_200):
            await boxes.add(Box(id=f"b{n}"))
    assert await count(database, audit) == 1_200
    with pytest.raises(VersionConflict) as caught:
        async with unit(database):
            for box in await boxes.find():
                box.weight = 1
            async with database.transaction() as other:
                await other.execute(update(Box).where(Box.id == "b700").values(version=2))
    assert caught.value.ids == ("b700",)
    assert await count(database, select(Box).where(Box.weight == 1).subquery()) == 0
    assert await count(database, audit) == 1_200


async def test_rows_with_arrays_are_written_together(database: Database) -> None:
    async with unit(database):
        for n in range(3):
            await boxes.add(Box(id=f"b{n}", labels=["x", 'a "quoted", {one}'][: n + 1]))
    async with unit(database):
        for box in await boxes.find():
            box.labels = [*box.labels, "new"]
    async with unit(database):
        assert [box.labels for box in await boxes.find(sort="id")] == [
            ["x", "new"],
            ["x", 'a "quoted", {one}', "new"],
            ["x", 'a "quoted", {one}', "new"],
        ]


async def test_rows_that_each_change_other_columns_are_written_together(database: Database) -> None:
    wide: Repository[Any] = Repository(Wide)
    async with unit(database):
        for n in range(300):
            await wide.add(Wide(id=n))
    async with unit(database):
        for row in await wide.find():
            for bit in range(WIDTH):
                if (row.id * 2_654_435_761 >> bit) & 1 or bit == 0:
                    setattr(row, f"c{bit}", str(row.id))
    async with unit(database):
        for row in await wide.find():
            assert row.c0 == str(row.id)
            assert row.version == 2


async def test_children_may_be_added_before_their_parents_and_parents_deleted_first(database: Database) -> None:
    if database.commit == "session":  # without a relationship SQLAlchemy's flush goes by the names of the classes
        return
    async with unit(database):
        await things.add(Thing(id="t", box_id="b"))
        await boxes.add(Box(id="b"))
    async with unit(database):
        await boxes.delete("b")
        await things.delete("t")
        await boxes.add(Box(id="b"))
        await things.add(Thing(id="u", box_id="b"))
    assert [row[0] for row in await database.query(select(Thing.id))] == ["u"]


@pytest.mark.parametrize("commit", ["auto", "batch", "session"])
async def test_a_trigger_sees_the_rows_that_were_written_before(fresh: Fresh, commit: str) -> None:
    database = await fresh("postgresql", Tables.metadata, commit=commit)
    async with database.transaction() as transaction:
        await transaction.execute(text("ALTER TABLE thing DROP CONSTRAINT thing_box_id_fkey"))
        await transaction.execute(
            text("""
            CREATE FUNCTION known() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF NOT EXISTS (SELECT FROM box WHERE id = NEW.box_id) THEN
                    RAISE unique_violation USING CONSTRAINT = 'known_box';
                END IF;
                RETURN NEW;
            END $$
        """)
        )
        await transaction.execute(
            text("CREATE TRIGGER known BEFORE INSERT ON thing FOR EACH ROW EXECUTE FUNCTION known()")
        )
    async with unit(database):
        await boxes.add(Box(id="b"))
        await things.add(Thing(id="t", box_id="b"))
    assert await count(database, Thing) == 1
    with pytest.raises(Conflict, match="known_box"):
        async with unit(database):
            await things.add(Thing(id="u", box_id="gone"))
    assert await count(database, audit) == 2
