"""Many rows at once: keys, versions, errors, what the unit of work knows, and the ways around."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

import pytest
from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Integer,
    MetaData,
    String,
    and_,
    func,
    literal,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno import ids
from uno.audit import AuditBook
from uno.audit.tables import audit
from uno.data import (
    Changes,
    Database,
    Filter,
    Model,
    Repository,
    SoftDeleteMixin,
    TimestampMixin,
    UnitOfWork,
    UUIDMixin,
    VersionMixin,
    hooks,
)
from uno.domain import AggregateRoot, Specification
from uno.errors import Conflict, Invalid, Misconfigured, VersionConflict
from uno.messages import DomainEvent


class Base(Model):
    __abstract__ = True
    metadata = MetaData(naming_convention=Model.metadata.naming_convention)


class Shop(UUIDMixin, VersionMixin, TimestampMixin, SoftDeleteMixin, Base):
    __tablename__ = "bulk_shops"
    name: Mapped[str] = mapped_column(String(20), unique=True)
    stock: Mapped[int] = mapped_column(CheckConstraint("stock >= 0", name="stock"), default=0)
    opened: Mapped[datetime | None]


class BulkLine(Base):
    __tablename__ = "bulk_lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    shop: Mapped[Any] = mapped_column(ForeignKey("bulk_shops.id"), nullable=True)
    state: Mapped[str] = mapped_column(server_default="open")


class Seat(Base):
    __tablename__ = "bulk_seats"
    row: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    taken: Mapped[bool] = mapped_column(default=False)


class Animal(Base):
    __tablename__ = "bulk_animals"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str]
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "bulk_dogs"
    id: Mapped[str] = mapped_column(ForeignKey("bulk_animals.id"), primary_key=True)
    trick: Mapped[str | None]
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "dog"}


@dataclass(eq=False)
class Note(AggregateRoot[str]):
    id: str
    title: str = ""


class Sent(DomainEvent):
    letter_id: str


class Letter(VersionMixin, Base, AggregateRoot[str]):
    __tablename__ = "bulk_letters"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)


shops, lines, seats = Repository(Shop), Repository(BulkLine), Repository(Seat)


@pytest.fixture
async def database(fresh: Fresh, backend: str) -> Database:
    return await fresh(backend, Base.metadata)


def unit(database: Database, **options: Any) -> UnitOfWork:
    return UnitOfWork(database, books=(AuditBook(),), **options)


async def trail(database: Database) -> list[tuple[str, str]]:
    rows = await database.query(select(audit.c.operation, audit.c.record_id).order_by(audit.c.id))
    return [tuple(row) for row in rows]


async def stored(database: Database, *columns: Any) -> list[Any]:
    return [tuple(row) for row in await database.query(select(*columns).order_by(columns[0]))]


async def test_objects_and_mappings_get_keys_defaults_and_the_first_version(database: Database) -> None:
    first = Shop(name="a")
    async with unit(database):
        assert await shops.insert_many([first, {"name": "b", "stock": 5}]) == 2
        assert (first.version, first.stock, first.opened, first.deleted_at) == (1, 0, None, None)
        assert (await shops.get(first.id)) is not first
        first.name = "nobody knows"
    rows = await stored(database, Shop.name, Shop.stock, Shop.version)
    assert rows == [("a", 0, 1), ("b", 5, 1)]
    assert [operation for operation, _ in await trail(database)] == ["create", "create"]
    async with unit(database):
        first.name = "c"
        await shops.save(first)
    assert (await stored(database, Shop.name, Shop.version))[-1] == ("c", 2)


async def test_what_comes_one_by_one_goes_in_batches(database: Database) -> None:
    async def coming() -> AsyncIterator[dict[str, int]]:
        for n in range(7):
            yield {"row": n // 3, "number": n % 3}

    async with unit(database):
        assert await seats.insert_many(coming(), batch=3) == 7
        assert await seats.insert_many([]) == 0
    assert [id for _, id in await trail(database)] == ["0,0", "0,1", "0,2", "1,0", "1,1", "1,2", "2,0"]
    with pytest.raises(Invalid, match="batch"):
        async with unit(database):
            await seats.insert_many([], batch=0)


async def test_keys_that_the_database_counts_are_known_before(database: Database) -> None:
    new = [BulkLine(), BulkLine(state="done"), BulkLine()]
    async with unit(database) as uow:
        await lines.insert_many([{"state": "early"}])
        await lines.insert_many(new)
        late = await lines.add(BulkLine())
        await uow.flush()
    assert [one.id for one in (*new, late)] == [2, 3, 4, 5]
    rows = await stored(database, BulkLine.id, BulkLine.state)
    assert rows == [(1, "early"), (2, "open"), (3, "done"), (4, "open"), (5, "open")]
    images = [row[0]["state"] for row in await database.query(select(audit.c.after).order_by(audit.c.id))]
    assert images == ["early", "open", "done", "open", "open"]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"name": "b", "colour": "red"}, "colour"),
        ({"name": "b", "__class__": 1}, "__class__"),
        ({"stock": 1}, "name"),
        ({"name": "b", "stock": -1}, "stock"),
        ({"name": "b", "opened": datetime.fromisoformat("2026-01-01T00:00:00")}, "opened"),
    ],
)
async def test_an_error_names_the_field_and_nothing_is_written(
    database: Database, row: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        async with unit(database):
            await shops.insert_many([{"name": "a"}, row, {"name": "c"}], batch=1)
    assert [error.field for error in caught.value.errors] == [field]
    assert field == "stock" or "(row 2)" in str(caught.value)
    assert "INSERT" not in str(caught.value)
    assert (await stored(database, Shop.name), await trail(database)) == ([], [])


@pytest.mark.parametrize(("name", "value"), [("stock", "many"), ("stock", 2**40), ("name", "x" * 21), ("name", "\0")])
async def test_postgresql_refuses_what_does_not_fit_and_the_row_is_named(fresh: Fresh, name: str, value: Any) -> None:
    database = await fresh("postgresql", Base.metadata)
    with pytest.raises(Invalid, match=r"\(row 3\)") as caught:
        async with unit(database):
            await shops.insert_many([{"name": "a"}, {"name": "b"}, {"name": "c", name: value}])
    assert [error.field for error in caught.value.errors] == [name]
    async with unit(database):
        await shops.insert_many([{"name": "a"}])


async def test_duplicates_and_broken_references_are_conflicts_that_name_the_field(database: Database) -> None:
    with pytest.raises(Conflict, match="name"):
        async with unit(database):
            await shops.insert_many([{"name": "a"}, {"name": "a"}])
    with pytest.raises(Conflict, match="shop"):
        async with unit(database):
            await lines.insert_many([{"shop": ids.uuid7()}])
    assert await trail(database) == []


async def test_who_swallows_an_error_writes_nothing_but_a_savepoint_undoes_it(database: Database) -> None:
    with pytest.raises(Invalid):
        async with unit(database):
            await shops.insert_many([{"name": "a"}])
            with pytest.raises(Invalid):
                await shops.insert_many([{"name": "b"}, {"stock": 1}])
    assert await stored(database, Shop.name) == []
    async with unit(database) as uow:
        await shops.insert_many([{"name": "a"}])
        with pytest.raises(Conflict):
            async with uow.savepoint():
                await shops.update_many(values={"stock": 3}, name="a")
                await shops.insert_many([{"name": "b"}, {"name": "a"}])
        await shops.insert_many([{"name": "c"}])
    assert await stored(database, Shop.name, Shop.stock) == [("a", 0), ("c", 0)]
    assert [operation for operation, _ in await trail(database)] == ["create", "create"]


async def test_an_update_counts_and_audits_only_what_it_changes(database: Database) -> None:
    async with unit(database):
        await shops.insert_many([{"name": name, "stock": n} for n, name in enumerate("abcd")])
    before = await stored(database, Shop.name, Shop.updated_at)
    async with unit(database):
        assert await shops.update_many(Shop.name != "d", values={"stock": 1, "opened": None}) == 2
        assert await shops.update_many(values={"stock": 1}, stock__lte=1) == 0
    after = await stored(database, Shop.name, Shop.updated_at)
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, False, True]
    assert await stored(database, Shop.name, Shop.stock, Shop.version) == [
        ("a", 1, 2),
        ("b", 1, 1),
        ("c", 1, 2),
        ("d", 3, 1),
    ]
    images = await database.query(select(audit.c.before, audit.c.after).where(audit.c.operation == "update"))
    assert [sorted(before) for before, _ in images] == [["stock", "updated_at"]] * 2
    assert sorted(before["stock"] for before, _ in images) == [0, 2]


async def test_what_is_softly_deleted_is_left_alone(database: Database) -> None:
    async with unit(database):
        await shops.insert_many([{"name": name} for name in "abc"])
        assert await shops.soft_delete_many(Shop.name > "a") == 2
    async with unit(database):
        assert await shops.soft_delete_many(everything=True) == 1
        assert await shops.update_many(values={"stock": 4}, everything=True) == 0
        assert await shops.update_many(values={"deleted_at": None}, include_deleted=True, name="c") == 1
        assert await shops.delete_many(everything=True) == 1
        assert await shops.delete_many(include_deleted=True, everything=True) == 2
        with pytest.raises(Misconfigured, match="Seat has no deleted_at"):
            await seats.soft_delete_many(everything=True)
    kinds = [operation for operation, _ in await trail(database)]
    assert kinds == ["create"] * 3 + ["soft_delete"] * 3 + ["restore"] + ["delete"] * 3


async def test_what_the_unit_of_work_knows_is_written_before_and_right_after(database: Database) -> None:
    async with unit(database):
        await shops.insert_many([{"name": name} for name in "abc"])
    async with unit(database):
        known = {shop.name: shop for shop in await shops.find()}
        known["a"].stock = 7
        assert await shops.update_many(Shop.stock < 8, values={"stock": 8}) == 3
        assert (known["a"].stock, known["a"].version, known["b"].version) == (8, 3, 2)
        known["b"].stock = 9
        assert await shops.delete_many(name="c") == 1
        assert await shops.get_by_id(known["c"].id) is None
        await shops.insert_many([{"id": known["c"].id, "name": "c"}])
        assert (await shops.get(known["c"].id)) is not known["c"]
    rows = await stored(database, Shop.name, Shop.stock, Shop.version)
    assert rows == [("a", 8, 3), ("b", 9, 3), ("c", 0, 1)]
    of_c = [operation for operation, id in await trail(database) if id == str(known["c"].id)]
    assert of_c == ["create", "update", "delete", "create"]
    of_a = await database.query(
        select(audit.c.after["stock"].as_integer()).where(audit.c.record_id == str(known["a"].id)).order_by(audit.c.id)
    )
    assert [row[0] for row in of_a] == [0, 7, 8]


async def test_an_object_that_somebody_else_changed_stays_stale(database: Database) -> None:
    async with unit(database):
        await shops.insert_many([{"name": "a"}])
    with pytest.raises(VersionConflict):
        async with unit(database):
            known = (await shops.find())[0]
            await _change_elsewhere(database)
            await shops.update_many(values={"stock": 8}, name="a")
            assert (known.stock, known.version) == (0, 1)
            known.stock = 1
    assert await stored(database, Shop.stock, Shop.version) == [(5, 2)]


async def _change_elsewhere(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(text("UPDATE bulk_shops SET stock = 5, version = version + 1"))


async def test_everything_has_to_be_said_and_values_have_to_be_values(database: Database) -> None:
    async with unit(database):
        with pytest.raises(Misconfigured, match="everything=True"):
            await shops.delete_many()
        with pytest.raises(Misconfigured, match="everything=True"):
            await shops.update_many(values={"stock": 1})
        for values in ({"version": 3}, {"id": 3}, {"stock": Shop.stock + 1}, {}):
            with pytest.raises(Misconfigured):
                await shops.update_many(values=values, everything=True)
        with pytest.raises(Invalid, match="colour"):
            await shops.update_many(values={"colour": "red"}, everything=True)
    with pytest.raises(Misconfigured, match="neither a Shop nor a mapping"):
        async with unit(database):
            await shops.insert_many(["a"])  # type: ignore[list-item]
    with pytest.raises(Misconfigured, match="make it a command"):
        async with unit(database, read_only=True):
            await shops.delete_many(everything=True)


async def test_a_refused_update_names_the_field(database: Database) -> None:
    async with unit(database):
        await shops.insert_many([{"name": "a"}, {"name": "b"}])
    with pytest.raises(Conflict, match="name"):
        async with unit(database):
            await shops.update_many(values={"name": "c"}, everything=True)
    with pytest.raises(Invalid, match="stock"):
        async with unit(database):
            await shops.update_many(values={"stock": -1}, everything=True)
    assert await stored(database, Shop.name, Shop.stock) == [("a", 0), ("b", 0)]


async def test_events_of_inserted_aggregates_are_published_in_order(database: Database) -> None:
    told: list[str] = []

    async def listen(changes: Changes) -> None:
        told.extend(str(event.aggregate_id) for event in changes.events)

    letters = [Letter(id=str(n)) for n in range(3)]
    for letter in reversed(letters):
        letter.register_event(Sent(letter_id=letter.id))
    async with unit(database, after=(listen,)) as uow:
        await Repository(Letter).insert_many(letters)
        uow.record(Sent(letter_id="last"))
    assert told == ["2", "1", "0", "last"]


async def test_documents_and_classes_in_a_session_go_one_by_one(database: Database) -> None:
    notes, dogs = Repository(Note), Repository(Dog)
    async with unit(database):
        assert await notes.insert_many([Note("a"), {"id": "b", "title": "B"}]) == 2
        assert await notes.update_many(values={"title": "B"}, everything=True) == 1
        assert await notes.delete_many(id="a") == 1
        with pytest.raises(Invalid, match="colour"):
            await notes.update_many(values={"colour": 1}, everything=True)
    async with unit(database):
        assert await dogs.insert_many([Dog(id="a", name="Rex"), {"id": "b", "name": "Bello", "trick": "roll"}]) == 2
        assert await dogs.update_many(values={"trick": "roll"}, everything=True) == 1
        assert await dogs.delete_many(name="Rex") == 1
    async with unit(database) as uow:
        await uow.session()
        await shops.insert_many([{"name": "a"}, {"name": "b"}])
        assert await shops.update_many(values={"stock": 1}, name="a") == 1
    assert [note.title for note in await _all(database, notes)] == ["B"]
    assert [(dog.id, dog.trick) for dog in await _all(database, dogs)] == [("b", "roll")]
    assert await stored(database, Shop.name, Shop.stock) == [("a", 1), ("b", 0)]


async def _all(database: Database, repository: Repository[Any]) -> list[Any]:
    async with unit(database):
        return await repository.find()


async def test_a_table_with_row_level_security_takes_them_without_copy(fresh: Fresh) -> None:
    database = await fresh("postgresql", Base.metadata)
    async with database.transaction() as transaction:
        await transaction.execute(text("ALTER TABLE bulk_seats ENABLE ROW LEVEL SECURITY"))
    async with unit(database) as uow:
        await uow.transaction()
        await seats.insert_many([{"row": 1, "number": n} for n in range(3)])
        assert await seats.update_many(Seat.number > 0, values={"taken": True}) == 2
    assert await stored(database, Seat.number, Seat.taken) == [(0, False), (1, True), (2, True)]
    assert [operation for operation, _ in await trail(database)].count("create") == 3


async def test_ids_of_the_trail_stay_in_order_beyond_one_counter(database: Database) -> None:
    async with unit(database):
        await seats.insert_many({"row": 1, "number": n} for n in range(10_000))
    assert [id for _, id in await trail(database)] == [f"1,{n}" for n in range(10_000)]
    assert (await database.query(select(func.count()).select_from(Seat)))[0][0] == 10_000


async def test_a_class_with_hooks_runs_them_for_each_row(database: Database) -> None:
    ran: list[str] = []

    @hooks.before_insert(Seat)
    def take(seat: Seat) -> None:
        seat.taken = True

    @hooks.after_update(Seat)
    @hooks.after_delete(Seat)
    def note(seat: Seat) -> None:
        ran.append(f"{seat.number} {seat.taken}")

    try:
        async with unit(database):
            assert await seats.insert_many([{"row": 1, "number": n} for n in range(3)]) == 3
            assert await seats.update_many(Seat.number > 0, values={"taken": False}) == 2
            assert await seats.delete_many(number=2) == 1
    finally:
        hooks.remove(take)
        hooks.remove(note)
    assert sorted(ran) == ["1 False", "2 False", "2 False"]
    assert await stored(database, Seat.number, Seat.taken) == [(0, True), (1, False)]


class Unfinished(Specification[Shop]):
    def filter(self) -> Filter:
        return Filter()


@pytest.mark.parametrize(
    "empty",
    [
        Filter(),
        Filter.of({}),
        Filter() | Filter(stock=1),
        Filter(stock=1) | ~Filter.group("or", ()),
        Filter() & Filter.of({"or": [{}, {}]}),
        ~~Filter(),
        Unfinished(),
        Unfinished() & Unfinished(),
        true(),
        and_(true(), *[]),
        or_(true(), Shop.stock == 1),
        literal(True),
        Filter(name__not_in=[]),
        Filter(name__not_in=iter([])),
        ~Filter(name__in=()),
        Filter(stock=1) | Filter.of({"name__not_in": []}),
        Filter.of_query([("name__not_in", "")]),
    ],
)
async def test_a_condition_that_every_row_fits_is_none(database: Database, empty: Any) -> None:
    async with unit(database):
        await shops.insert_many([{"name": name} for name in "ab"])
        for change in (shops.delete_many, shops.soft_delete_many, partial(shops.update_many, values={"stock": 9})):
            with pytest.raises(Misconfigured, match="everything=True"):
                await change(empty)
        assert await shops.delete_many(empty, name="b") == 1
        assert await shops.delete_many(empty, everything=True) == 1


@pytest.mark.parametrize("nothing", [[], (), set(), iter([])])
async def test_neither_is_one_of_another_name_than_none_at_all(database: Database, nothing: Any) -> None:
    async with unit(database):
        await shops.insert_many([{"name": name} for name in "ab"])
        with pytest.raises(Misconfigured, match="everything=True"):
            await shops.delete_many(name__not_in=nothing)
        assert await shops.delete_many(name__in=nothing) == 0
        assert await shops.delete_many(name__not_in=iter(["a"])) == 1
        assert await shops.delete_many(name__not_in=[], everything=True) == 1


async def test_the_opposite_of_an_empty_filter_changes_nothing(database: Database) -> None:
    async with unit(database):
        await shops.insert_many([{"name": name} for name in "ab"])
        assert await shops.delete_many(~Filter()) == 0
        assert await shops.delete_many(Filter(name="a") & Filter()) == 1
