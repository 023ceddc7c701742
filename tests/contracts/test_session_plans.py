"""Classes whose rows only SQLAlchemy's own flush can write: the reason, the rows and the audit trail."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from sqlalchemy import Computed, ForeignKey, Integer, MetaData, String, event, func, select, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, column_property, composite, deferred, mapped_column, relationship, synonym

from uno.audit import AuditBook, AuditTrail
from uno.data import Changes, Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.messages import DomainEvent

Fresh = Callable[..., Awaitable[Database]]


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData()


class Key:
    id: Mapped[str] = mapped_column(String(20), primary_key=True)


class OrderPlaced(DomainEvent):
    order_id: str


class Purchase(Key, VersionMixin, Tables, AggregateRoot[str]):
    __tablename__ = "purchase"
    total: Mapped[int] = mapped_column(default=0)
    lines: Mapped[list["Line"]] = relationship(cascade="all, delete-orphan", lazy="selectin", order_by="Line.id")
    notes: Mapped[list["Remark"]] = relationship(lazy="selectin", order_by="Remark.id")


class Line(Key, Tables):
    __tablename__ = "line"
    purchase_id: Mapped[str | None] = mapped_column(ForeignKey("purchase.id"))
    amount: Mapped[int]


class Remark(Key, Tables):
    __tablename__ = "remark"
    purchase_id: Mapped[str | None] = mapped_column(ForeignKey("purchase.id"))


class Animal(Key, Tables):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str]
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    id: Mapped[str] = mapped_column(ForeignKey("animal.id"), primary_key=True)
    tricks: Mapped[int] = mapped_column(default=0)
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "dog", "polymorphic_load": "inline"}


class Cat(Animal):
    lives: Mapped[int | None]
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "cat"}


class Heard(Key, Tables):
    """A mapper listener rewrites it."""

    __tablename__ = "heard"
    name: Mapped[str]
    loud: Mapped[str | None]


@event.listens_for(Heard, "before_insert")
@event.listens_for(Heard, "before_update")
def _shout(_mapper: Any, _connection: Any, target: Heard) -> None:
    target.loud = target.name.upper()


class Counted(Key, Tables):
    """The database computes a column and the default of another."""

    __tablename__ = "counted"
    price: Mapped[int]
    double: Mapped[int] = mapped_column(Computed("price * 2"))
    length: Mapped[int] = mapped_column(default=func.length("four"))


class WithProperty(Key, Tables):
    __tablename__ = "with_property"
    name: Mapped[str]


WithProperty.shouted = column_property(func.upper(WithProperty.name))  # type: ignore[attr-defined]


@dataclass
class Point:
    x: int
    y: int


class WithComposite(Key, Tables):
    __tablename__ = "with_composite"
    point: Mapped[Point] = composite(mapped_column("x", Integer), mapped_column("y", Integer))


class WithDeferred(Key, Tables):
    __tablename__ = "with_deferred"
    body: Mapped[str] = deferred(mapped_column(String(50)))


class WithContext(Key, Tables):
    __tablename__ = "with_context"
    copy: Mapped[str] = mapped_column(String(50), default=lambda context: context.get_current_parameters()["id"])


class WithSynonym(Key, Tables):
    __tablename__ = "with_synonym"
    name: Mapped[str]
    title = synonym("name")


class WithUnknown(Key, Tables):
    __tablename__ = "with_unknown"
    address: Mapped[str] = mapped_column(INET().with_variant(String(50), "sqlite"))


class WithView(Key, Tables):
    """Nothing is written through a relationship that is only looked at."""

    __tablename__ = "with_view"
    purchase_id: Mapped[str | None] = mapped_column(ForeignKey("purchase.id"))
    purchase: Mapped[Purchase | None] = relationship(viewonly=True)


class WithServerDefault(Key, Tables):
    __tablename__ = "with_server_default"
    state: Mapped[str] = mapped_column(server_default=text("'open'"))


@pytest.fixture
async def database(backend: str, fresh: Fresh) -> Database:
    return await fresh(backend, Tables.metadata)


def unit(database: Database, **options: Any) -> UnitOfWork:
    return UnitOfWork(database, books=(AuditBook(),), **options)


async def trail(database: Database, component: str | None = None) -> list[tuple[str, str, Any, Any]]:
    """What the audit trail says since the last call, in the order of names."""
    found = await AuditTrail(database).query(component=component)
    return sorted((f"{e.component} {e.record_id}", e.operation, e.before, e.after) for e in found)


async def forget(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(text("DELETE FROM uno_audit"))


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (Purchase, "relationship lines"),
        (Animal, "inheritance"),
        (Dog, "inheritance"),
        (Cat, "inheritance"),
        (Heard, "mapper listeners"),
        (Counted, "server-side update of double"),
        (WithProperty, "column property shouted"),
        (WithComposite, "Composite point"),
        (WithDeferred, "deferred column body"),
        (WithContext, "context-sensitive default of copy"),
        (WithSynonym, "Synonym title"),
        (WithUnknown, "type INET() of address"),
        (Line, None),
        (WithView, None),
        (WithServerDefault, None),
    ],
)
async def test_every_plan_says_why_it_is_not_the_fast_one(database: Database, cls: type, reason: str | None) -> None:
    assert database.plan(cls).reason == reason
    assert database.plan(cls).fast is (reason is None)
    assert database.plan(cls) in database.plans


async def test_an_aggregate_with_its_parts_is_stored_audited_and_published(database: Database) -> None:
    told: list[Changes] = []

    async def after(changes: Changes) -> None:
        told.append(changes)

    purchases: Repository[Purchase] = Repository(Purchase)
    async with unit(database, after=[after]):
        purchase = Purchase(id="p", total=3, lines=[Line(id="1", amount=1), Line(id="2", amount=2)])
        purchase.notes = [Remark(id="n")]
        purchase.register_event(OrderPlaced(order_id="p"))
        await purchases.add(purchase)
    assert [type(e) for changes in told for e in changes.events] == [OrderPlaced]
    assert await trail(database) == [
        ("Line 1", "create", None, {"id": "1", "purchase_id": "p", "amount": 1}),
        ("Line 2", "create", None, {"id": "2", "purchase_id": "p", "amount": 2}),
        ("Purchase p", "create", None, {"id": "p", "total": 3}),
        ("Remark n", "create", None, {"id": "n", "purchase_id": "p"}),
    ]
    await forget(database)
    async with unit(database):
        purchase = await purchases.get("p")
        assert [line.amount for line in purchase.lines] == [1, 2]
        purchase.total = 9
        purchase.lines[0].amount = 7
        purchase.lines.pop()
        purchase.lines.append(Line(id="3", amount=3))
        purchase.notes = []
    assert await trail(database) == [
        ("Line 1", "update", {"amount": 1}, {"amount": 7}),
        ("Line 2", "delete", {"id": "2", "purchase_id": "p", "amount": 2}, None),
        ("Line 3", "create", None, {"id": "3", "purchase_id": "p", "amount": 3}),
        ("Purchase p", "update", {"total": 3}, {"total": 9}),
        ("Remark n", "update", {"purchase_id": "p"}, {"purchase_id": None}),
    ]
    await forget(database)
    async with unit(database):
        await purchases.delete("p")
    assert [(record, operation) for record, operation, _, _ in await trail(database)] == [
        ("Line 1", "delete"),
        ("Line 3", "delete"),
        ("Purchase p", "delete"),
    ]
    assert [row[0] for row in await database.query(select(Remark.id))] == ["n"]


async def test_subclasses_are_stored_and_found_as_what_they_are(database: Database) -> None:
    animals: Repository[Animal] = Repository(Animal)
    async with unit(database):
        await animals.add(Dog(id="d", name="Rex", tricks=2))
        await animals.add(Cat(id="c", name="Tom", lives=9))
    async with unit(database):
        found = await animals.find(sort="id")
        assert [type(animal) for animal in found] == [Cat, Dog]
        dog = await Repository(Dog).get("d")
        assert dog is found[1]
        dog.tricks += 1
        assert await Repository(Dog).count(Dog.tricks > 1) == 1
        await animals.delete("c")
    rows = await trail(database)
    assert [row[:2] for row in rows] == [
        ("Cat c", "create"),
        ("Cat c", "delete"),
        ("Dog d", "create"),
        ("Dog d", "update"),
    ]
    assert rows[3][2:] == ({"tricks": 2}, {"tricks": 3})


async def test_what_a_mapper_listener_wrote_is_audited(database: Database) -> None:
    repository: Repository[Heard] = Repository(Heard)
    async with unit(database):
        await repository.add(Heard(id="h", name="soft"))
    async with unit(database):
        (await repository.get("h")).name = "quiet"
    assert await trail(database) == [
        ("Heard h", "create", None, {"id": "h", "name": "soft", "loud": "SOFT"}),
        ("Heard h", "update", {"name": "soft", "loud": "SOFT"}, {"name": "quiet", "loud": "QUIET"}),
    ]


async def test_what_the_database_computed_is_audited(database: Database) -> None:
    repository: Repository[Counted] = Repository(Counted)
    async with unit(database) as uow:
        counted = await repository.add(Counted(id="c", price=2))
        await uow.flush()
        assert (counted.double, counted.length) == (4, 4)
    async with unit(database):
        (await repository.get("c")).price = 5
    assert await trail(database) == [
        ("Counted c", "create", None, {"id": "c", "price": 2, "double": 4, "length": 4}),
        ("Counted c", "update", {"price": 2, "double": 4}, {"price": 5, "double": 10}),
    ]


async def test_other_properties_are_stored_as_sqlalchemy_does(database: Database) -> None:
    async with unit(database):
        await Repository(WithProperty).add(WithProperty(id="a", name="low"))
        await Repository(WithComposite).add(WithComposite(id="a", point=Point(1, 2)))
        await Repository(WithDeferred).add(WithDeferred(id="a", body="long"))
        await Repository(WithContext).add(WithContext(id="a"))
        await Repository(WithSynonym).add(WithSynonym(id="a", title="Sir"))
        await Repository(WithUnknown).add(WithUnknown(id="a", address="10.0.0.1"))
        await Repository(WithServerDefault).add(WithServerDefault(id="a"))
    async with unit(database):
        found: Any = await Repository(WithProperty).get("a")
        assert found.shouted == "LOW"
        placed = await Repository(WithComposite).get("a")
        assert placed.point == Point(1, 2)
        placed.point = Point(3, 4)
        late = await Repository(WithDeferred).get("a")
        late.body = "longer"
        assert (await Repository(WithContext).get("a")).copy == "a"
        assert (await Repository(WithSynonym).get("a")).name == "Sir"
        assert str((await Repository(WithUnknown).get("a")).address) == "10.0.0.1"
        assert (await Repository(WithServerDefault).get("a")).state == "open"
    changed = [row for row in await trail(database) if row[1] == "update"]
    assert [(name, after) for name, _, _, after in changed] == [
        ("WithComposite a", {"x": 3, "y": 4}),
        ("WithDeferred a", {"body": "longer"}),
    ]


async def test_an_attribute_that_was_never_read_is_audited_when_it_is_set(database: Database) -> None:
    async with unit(database):
        await Repository(Remark).add(Remark(id="n"))
        await Repository(Purchase).add(Purchase(id="p"))
    async with unit(database) as uow:
        session = await uow.session()
        purchase = await session.get_one(Purchase, "p")
        session.expire(purchase, ["total"])
        purchase.total = 5
    assert [row for row in await trail(database, "Purchase") if row[1] == "update"] == [
        ("Purchase p", "update", {"total": None}, {"total": 5})
    ]


async def test_fast_and_session_classes_live_in_one_unit_of_work(database: Database) -> None:
    async with unit(database):
        await Repository(Remark).add(Remark(id="before"))
        await Repository(Heard).add(Heard(id="h", name="x"))
        await Repository(Remark).add(Remark(id="after"))
        assert await Repository(Remark).count() == 2
        assert await Repository(Remark).get("before")
    assert [row[0] for row in await trail(database)] == ["Heard h", "Remark after", "Remark before"]
