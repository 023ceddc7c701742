"""What clashes is refused as a whole, and changes of one row become one, in every commit form."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from sqlalchemy import MetaData, String, func, select, update
from sqlalchemy.orm import Mapped, mapped_column

from uno.audit import AuditBook, AuditTrail
from uno.audit.tables import audit
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.errors import Conflict, Misconfigured, VersionConflict
from uno.messages import DomainEvent
from uno.queue import DeliveryBook
from uno.queue.tables import deliveries

Fresh = Callable[..., Awaitable[Database]]
FORMS = ("postgresql auto", "postgresql batch", "postgresql session", "sqlite auto")


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Room(VersionMixin, Tables):
    __tablename__ = "room"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    code: Mapped[str] = mapped_column(String(20), unique=True)
    seats: Mapped[int] = mapped_column(default=1)


class Holiday(VersionMixin, Tables):
    __tablename__ = "holiday"
    at: Mapped[datetime] = mapped_column(primary_key=True)
    name: Mapped[str]


class Note(Tables):
    __tablename__ = "note"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    text: Mapped[str | None]
    author: Mapped[str | None]


class RoomsChanged(DomainEvent):
    room_id: str


rooms: Repository[Room] = Repository(Room)
notes: Repository[Note] = Repository(Note)


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=(AuditBook(), DeliveryBook(lambda _: ("mailer",))))


@pytest.fixture(params=FORMS)
async def database(request: pytest.FixtureRequest, fresh: Fresh) -> Database:
    backend, commit = request.param.split()
    database = await fresh(backend, Tables.metadata, commit=commit)
    async with UnitOfWork(database):
        for n in range(10):
            await rooms.add(Room(id=f"r{n}", code=f"c{n}"))
        await notes.add(Note(id="n", text="old", author="old"))
    return database


async def by_somebody_else(database: Database, statement: Any) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(statement)


async def all_rooms(database: Database) -> dict[str, tuple[str, int, int]]:
    rows = await database.query(select(Room.id, Room.code, Room.seats, Room.version))
    return {id: (code, seats, version) for id, code, seats, version in rows}


async def ledger_rows(database: Database) -> int:
    counts = [await database.query(select(func.count()).select_from(table)) for table in (audit, deliveries)]
    return int(sum(rows[0][0] for rows in counts))


async def test_a_unit_of_work_whose_last_of_ten_rows_is_stale_leaves_nothing(database: Database) -> None:
    with pytest.raises(VersionConflict) as caught:
        async with unit(database) as uow:
            for n in range(10):
                (await rooms.get(f"r{n}")).seats = 100
            uow.record(RoomsChanged(room_id="r0"))
            await by_somebody_else(database, update(Room).where(Room.id == "r9").values(seats=7, version=2))
    assert caught.value.kind == "Room"
    assert caught.value.ids == ("r9",)
    assert "Room 'r9' was changed by somebody else" in str(caught.value)
    assert caught.value.repeatable
    expected = {f"r{n}": (f"c{n}", 1, 1) for n in range(9)} | {"r9": ("c9", 7, 2)}
    assert await all_rooms(database) == expected
    assert await ledger_rows(database) == 0


async def test_a_row_that_somebody_deleted_is_named_and_nothing_is_left(database: Database) -> None:
    with pytest.raises(VersionConflict) as caught:
        async with unit(database):
            for n in (3, 1, 2):
                (await rooms.get(f"r{n}")).seats = 100
            await by_somebody_else(database, Room.__table__.delete().where(Room.id == "r1"))
    assert caught.value.ids == ("r1",)
    assert {seats for _, seats, _ in (await all_rooms(database)).values()} == {1}
    assert await ledger_rows(database) == 0


async def test_a_stale_delete_deletes_nothing(database: Database) -> None:
    with pytest.raises(VersionConflict) as caught:
        async with unit(database):
            await rooms.delete("r1")
            await rooms.delete("r2")
            await by_somebody_else(database, update(Room).where(Room.id == "r1").values(version=2))
    assert caught.value.ids == ("r1",)
    assert len(await all_rooms(database)) == 10
    assert await ledger_rows(database) == 0


async def test_only_the_stale_rows_are_named_whatever_the_type_of_their_key(database: Database) -> None:
    days = [datetime(2026, 5, day, tzinfo=UTC) for day in (1, 2, 3)]
    async with UnitOfWork(database):
        for day in days:
            await Repository(Holiday).add(Holiday(at=day, name="a day"))
    with pytest.raises(VersionConflict) as caught:
        async with unit(database):
            for holiday in await Repository(Holiday).find(sort="at"):
                holiday.name = "another"
            await by_somebody_else(database, update(Holiday).where(Holiday.at == days[1]).values(version=9))
    assert caught.value.ids == (days[1],)


async def test_two_unique_values_cannot_be_swapped(database: Database) -> None:
    with pytest.raises(Conflict) as caught:
        async with unit(database):
            first, second = await rooms.get("r1"), await rooms.get("r2")
            first.code, second.code = second.code, first.code
    assert not isinstance(caught.value, VersionConflict)
    assert "code" in (caught.value.constraint or "")
    assert not caught.value.repeatable
    assert await all_rooms(database) == {f"r{n}": (f"c{n}", 1, 1) for n in range(10)}
    assert await ledger_rows(database) == 0


async def test_a_unique_value_goes_from_a_deleted_row_to_a_new_one(database: Database) -> None:
    async with unit(database):
        await rooms.delete("r1")
        await rooms.add(Room(id="new", code="c1"))
    found = await all_rooms(database)
    assert found["new"] == ("c1", 1, 1)
    assert "r1" not in found
    assert await ledger_rows(database) == 2


async def test_a_unique_value_cannot_be_taken_before_it_is_free(database: Database) -> None:
    if database.commit == "session":  # SQLAlchemy's own flush writes updates before inserts
        return
    with pytest.raises(Conflict):
        async with unit(database):
            await rooms.add(Room(id="new", code="c1"))
            (await rooms.get("r1")).code = "free"
    assert "new" not in await all_rooms(database)
    async with unit(database):
        (await rooms.get("r1")).code = "free"
        await rooms.add(Room(id="new", code="c1"))
    assert (await all_rooms(database))["new"] == ("c1", 1, 1)


async def test_an_insert_and_an_update_of_one_row_are_one_insert(database: Database) -> None:
    async with unit(database):
        room = await rooms.add(Room(id="new", code="first"))
        room.code = "second"
        (await rooms.get("new")).seats = 3
    assert (await all_rooms(database))["new"] == ("second", 3, 1)
    (entry,) = await AuditTrail(database).query()
    assert (entry.operation, entry.after) == ("create", {"id": "new", "code": "second", "seats": 3})


async def test_an_insert_and_a_delete_of_one_row_are_nothing(database: Database) -> None:
    async with unit(database):
        room = await rooms.add(Room(id="new", code="first"))
        await rooms.delete(room)
        await notes.add(Note(id="m"))
        await notes.delete("m")
    assert "new" not in await all_rooms(database)
    assert await ledger_rows(database) == 0


async def test_a_delete_and_an_insert_of_one_key_are_an_update(database: Database) -> None:
    async with unit(database):
        await rooms.delete("r1")
        await rooms.add(Room(id="r1", code="c1", seats=9))
    assert (await all_rooms(database))["r1"] == ("c1", 9, 2)
    (entry,) = await AuditTrail(database).query()
    assert (entry.operation, entry.before, entry.after) == ("update", {"seats": 1}, {"seats": 9})


async def test_a_key_can_be_taken_again_after_its_deletion_was_flushed(database: Database) -> None:
    async with unit(database) as uow:
        await rooms.delete("r1")
        await uow.flush()
        await rooms.add(Room(id="r1", code="c1", seats=9))
    assert (await all_rooms(database))["r1"][:2] == ("c1", 9)
    async with unit(database) as uow:
        await rooms.delete("r2")
        await uow.flush()
        await rooms.delete(await rooms.add(Room(id="r2", code="c2")))
    assert "r2" not in await all_rooms(database)
    assert [e.operation for e in await AuditTrail(database).query()] == ["update", "delete"]


async def test_the_key_of_a_stored_row_cannot_be_changed(database: Database) -> None:
    if database.commit == "session":  # SQLAlchemy's own flush can
        return
    with pytest.raises(Misconfigured, match="The key of Room 'r1' was changed"):
        async with unit(database):
            (await rooms.get("r1")).id = "other"


async def test_of_a_class_without_version_the_last_writer_wins_column_by_column(database: Database) -> None:
    async with unit(database):
        note = await notes.get("n")
        note.text = "ours"
        await by_somebody_else(database, update(Note).values(author="theirs", text="theirs"))
    rows = await database.query(select(Note.text, Note.author))
    assert tuple(rows[0]) == ("ours", "theirs")


async def test_a_row_without_version_that_is_gone_is_a_conflict(database: Database) -> None:
    with pytest.raises(VersionConflict) as caught:
        async with unit(database):
            (await notes.get("n")).text = "ours"
            await by_somebody_else(database, Note.__table__.delete())
    assert caught.value.ids == ("n",)
    assert await ledger_rows(database) == 0


async def test_a_required_row_that_was_only_read_guards_the_commit(database: Database) -> None:
    for changed, expected in (("r1", VersionConflict), ("r2", None)):
        error: Any = None
        try:
            async with unit(database) as uow:
                uow.require(await rooms.get("r1"))
                await notes.add(Note(id=changed))
                await by_somebody_else(database, update(Room).where(Room.id == changed).values(version=7))
        except VersionConflict as raised:
            error = raised
        assert type(error) is expected if expected else error is None
        assert await ledger_rows(database) == (0 if expected else 1)
        await by_somebody_else(database, update(Room).values(version=1))


async def test_writers_of_different_rows_do_not_disturb_each_other(database: Database) -> None:
    async def write(n: int) -> None:
        async with unit(database):
            (await rooms.get(f"r{n}")).seats = n

    await asyncio.gather(*(write(n) for n in range(10)))
    assert await all_rooms(database) == {f"r{n}": (f"c{n}", n, 1 if n == 1 else 2) for n in range(10)}
