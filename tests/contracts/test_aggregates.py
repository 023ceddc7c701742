"""Aggregates are stored in three ways: as a `Model`, mapped to a table, or as a document."""

import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import BaseModel
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Numeric, String, Table, select
from sqlalchemy.orm import Mapped, mapped_column, registry

from uno.audit import AuditBook, AuditTrail
from uno.data import Changes, Database, Model, Repository, UnitOfWork, UUIDMixin, VersionMixin
from uno.data.tables import documents
from uno.domain import AggregateRoot, ValueObject
from uno.errors import Conflict, Invalid, Misconfigured, NotFound, UnoError, VersionConflict
from uno.messages import DomainEvent

Fresh = Callable[..., Awaitable[Database]]
tables = MetaData()


class AccountOpened(DomainEvent):
    account_id: str


class Account:
    """What all three have in common."""

    def open(self: Any) -> None:
        self.register_event(AccountOpened(account_id=str(self.id)))


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = tables


class DeclaredAccount(VersionMixin, Account, Tables, AggregateRoot[str]):
    __tablename__ = "declared_account"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    owner: Mapped[str]
    balance: Mapped[Decimal] = mapped_column(Numeric(12, 2))


class Named(UUIDMixin, Tables):
    __tablename__ = "named"
    name: Mapped[str]


class MappedAccount(Account, AggregateRoot[str]):
    """A plain class; the table and the mapping are elsewhere."""

    def __init__(self, id: str, owner: str, balance: Decimal) -> None:
        super().__init__(id=id)
        self.owner = owner
        self.balance = balance


mapped_account = Table(
    "mapped_account",
    tables,
    Column("account_id", String(20), primary_key=True),
    Column("owner_name", String(50), key="owner_key"),
    Column("balance", Numeric(12, 2)),
    Column("version", BigInteger, nullable=False),
)


@dataclass
class Stay(AggregateRoot[UUID]):
    """A dataclass mapped imperatively, with a version column of another name."""

    id: UUID
    guest: str
    until: datetime | None = None


stay = Table(
    "stay",
    tables,
    Column("id", String(40).with_variant(String(40), "sqlite"), primary_key=True),
    Column("guest", String(50)),
    Column("until", DateTime(timezone=True)),
    Column("revision", BigInteger, nullable=False),
)


class StoredAccount(Account, AggregateRoot[str]):
    def __init__(self, id: str, owner: str, balance: Decimal) -> None:
        super().__init__(id=id)
        self.owner = owner
        self.balance = balance


mapping = registry()
mapping.map_imperatively(
    MappedAccount,
    mapped_account,
    properties={"id": mapped_account.c.account_id, "owner": mapped_account.c.owner_key},
    version_id_col=mapped_account.c.version,
)
mapping.map_imperatively(
    Stay,
    stay,
    properties={"version": stay.c.revision},
    version_id_col=stay.c.revision,
)

WAYS = [DeclaredAccount, MappedAccount, StoredAccount]


@pytest.fixture
async def database(backend: str, fresh: Fresh) -> Database:
    return await fresh(backend, tables)


def unit(database: Database, **options: Any) -> UnitOfWork:
    return UnitOfWork(database, books=(AuditBook(),), **options)


@pytest.mark.parametrize("cls", WAYS)
async def test_an_aggregate_is_stored_changed_and_deleted_in_the_same_way(
    database: Database, cls: Callable[..., Any]
) -> None:
    told: list[Changes] = []

    async def after(changes: Changes) -> None:
        told.append(changes)

    accounts: Repository[Any] = Repository(cls)  # type: ignore[arg-type]
    async with unit(database, after=[after]):
        account = cls(id="a", owner="Ada", balance=Decimal("10.50"))
        account.open()
        await accounts.add(account)
    assert account.version == 1
    async with unit(database):
        account = await accounts.get("a")
        assert (account.owner, account.balance, account.version) == ("Ada", Decimal("10.50"), 1)
        assert type(account.balance) is Decimal
        account.balance -= Decimal("0.25")
        assert await accounts.find_one(owner="Ada") is account
        assert await accounts.count(owner="Bob") == 0
    assert account.version == 2
    async with unit(database):
        await accounts.delete("a")
    async with unit(database):
        with pytest.raises(NotFound):
            await accounts.get("a")
    assert [type(e) for changes in told for e in changes.events] == [AccountOpened]
    created, changed, deleted = await AuditTrail(database).query(component=cls.__name__, record_id="a")
    assert (created.operation, created.before) == ("create", None)
    assert created.after is not None
    assert {**created.after, "id": "a"} == {"id": "a", "owner": "Ada", "balance": "10.50"}
    assert (changed.before, changed.after) == ({"balance": "10.50"}, {"balance": "10.25"})
    assert (deleted.operation, deleted.after) == ("delete", None)
    assert deleted.before is not None
    assert deleted.before["balance"] == "10.25"


@pytest.mark.parametrize("cls", WAYS)
async def test_a_stale_aggregate_is_a_conflict_and_a_second_one_of_its_id_too(
    database: Database, cls: Callable[..., Any]
) -> None:
    accounts: Repository[Any] = Repository(cls)  # type: ignore[arg-type]
    async with unit(database):
        await accounts.add(cls(id="a", owner="Ada", balance=Decimal(1)))
    async with UnitOfWork(database):
        early = await accounts.get("a")
    async with unit(database):
        (await accounts.get("a")).balance = Decimal(2)
    early.balance = Decimal(3)
    with pytest.raises(VersionConflict) as caught:
        async with unit(database):
            await accounts.save(early)
    assert (caught.value.kind, caught.value.ids) == (cls.__name__, ("a",))
    with pytest.raises(Conflict):
        async with unit(database):
            await accounts.add(cls(id="a", owner="Eve", balance=Decimal(0)))
    async with UnitOfWork(database):
        assert (await accounts.get("a")).balance == Decimal(2)


async def test_a_mapped_dataclass_keeps_its_identity_and_its_own_version_column(database: Database) -> None:
    stays: Repository[Stay] = Repository(Stay)
    async with unit(database):
        await stays.add(Stay(id="1", guest="Ada"))  # type: ignore[arg-type]
    async with unit(database):
        (await stays.get("1")).until = datetime(2026, 1, 2, tzinfo=UTC)
    async with unit(database):
        found = await stays.get("1")
        assert found.until is not None
        assert (found.guest, found.until.replace(tzinfo=UTC), found.version) == (
            "Ada",
            datetime(2026, 1, 2, tzinfo=UTC),
            2,
        )


# -- documents


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Money(ValueObject):
    amount: Decimal
    currency: str = "EUR"


class Item(BaseModel):
    name: str
    prices: list[Money]


@dataclass(frozen=True)
class Place:
    street: str
    since: date


class Cart(AggregateRoot[UUID]):
    """Its own __init__, with attributes of its own beside the parameters."""

    size: Size | None
    items: dict[str, list[Item]]
    opened_at: datetime
    places: tuple[Place, ...]
    tags: set[str]
    LIMIT: ClassVar[int] = 5

    def __init__(self, *, id: UUID, total: Money, ratio: float = 0.5) -> None:
        super().__init__(id=id)
        self.total = total
        self.ratio = ratio
        self.size = None
        self.items = {}
        self.opened_at = datetime(2026, 1, 1, tzinfo=UTC)
        self.places = ()
        self.tags = set()

    @property
    def is_large(self) -> bool:
        return self.size is Size.LARGE


@dataclass(eq=False)
class Trip(AggregateRoot[str]):
    id: str
    stops: list[Place] = field(default_factory=list)
    length: timedelta = timedelta(0)
    price: Decimal | None = None
    photo: bytes = b""
    key: UUID | None = None


places = st.builds(Place, st.text(max_size=5), st.dates())
money = st.builds(Money, amount=st.decimals(allow_nan=False, allow_infinity=False), currency=st.text(max_size=3))
printable = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    id=st.uuids(),
    total=st.builds(Money, amount=st.decimals(-(10**9), 10**9, places=5), currency=printable),
    ratio=st.floats(-1e9, 1e9),
    size=st.none() | st.sampled_from(Size),
    items=st.dictionaries(
        printable,
        st.lists(
            st.builds(
                Item,
                name=printable,
                prices=st.lists(
                    st.builds(Money, amount=st.decimals(-100, 100, places=2), currency=printable), max_size=2
                ),
            ),
            max_size=2,
        ),
        max_size=2,
    ),
    opened_at=st.datetimes(timezones=st.just(UTC)),
    places=st.lists(st.builds(Place, printable, st.dates()), max_size=2).map(tuple),
    tags=st.sets(printable, max_size=3),
)
async def test_a_document_comes_back_as_it_was(both: list[Database], **values: Any) -> None:
    carts: Repository[Cart] = Repository(Cart)
    cart = Cart(id=values["id"], total=values["total"], ratio=values["ratio"])
    vars(cart).update({k: v for k, v in values.items() if k not in ("id", "total", "ratio")})
    for database in both:
        async with UnitOfWork(database):
            await carts.save(cart)
        async with UnitOfWork(database):
            found = await carts.get(values["id"])
            assert found is not cart
            assert {name: getattr(found, name) for name in values} == values
            assert [type(getattr(found, name)) for name in values] == [type(value) for value in values.values()]
        async with UnitOfWork(database):
            await carts.delete(values["id"])
        cart.version = 0


@pytest.fixture(scope="module")
async def both(lasting: Fresh) -> list[Database]:
    return [await lasting(backend, tables) for backend in ("sqlite", "postgresql")]


async def test_a_document_can_be_a_dataclass(database: Database) -> None:
    trips: Repository[Trip] = Repository(Trip)
    stop = Place("Main", date(2026, 2, 3))
    trip = Trip("t", [stop], timedelta(hours=2, microseconds=5), Decimal("1.20"), b"\x00\xff", UUID(int=7))
    async with unit(database):
        await trips.add(trip)
    async with unit(database):
        found = await trips.get("t")
        assert dataclasses.asdict(found) == dataclasses.asdict(trip)
        found.stops.append(stop)
    async with unit(database):
        assert (await trips.get("t")).stops == [stop, stop]
    changed = (await AuditTrail(database).query(record_id="t", operation="update"))[0]
    assert list(changed.after or ()) == ["stops"]


async def test_a_change_deep_inside_a_document_is_noticed_and_nothing_else_is_written(database: Database) -> None:
    carts: Repository[Cart] = Repository(Cart)
    id = UUID(int=1)
    async with unit(database):
        cart = await carts.add(Cart(id=id, total=Money(amount=Decimal(1))))
        cart.items["a"] = [Item(name="tea", prices=[Money(amount=Decimal("2.5"))])]
    async with unit(database):
        await carts.get(id)
    async with unit(database):
        (await carts.get(id)).items["a"][0].prices.append(Money(amount=Decimal(3), currency="USD"))
    async with unit(database):
        found = await carts.get(id)
        assert found.version == 2
        assert [price.currency for price in found.items["a"][0].prices] == ["EUR", "USD"]
    assert [e.operation for e in await AuditTrail(database).query()] == ["create", "update"]


async def test_documents_are_found_by_their_attributes_and_sorted(database: Database) -> None:
    trips: Repository[Trip] = Repository(Trip)
    async with unit(database):
        for n in range(3):
            await trips.add(Trip(f"t{n}", price=Decimal(n)))
    async with unit(database):
        assert [trip.id for trip in await trips.find(sort="-id", limit=2)] == ["t2", "t1"]
        found = await trips.find_one(documents.c.id == "t1")
        assert found is not None
        assert found.price == Decimal(1)
        assert await trips.count() == 3
        assert [t.id for t in await trips.get_all(offset=1, limit=1, order_by="id")] == ["t1"]


class Careless(AggregateRoot[str]):
    def __init__(self, id: str, name: str) -> None:
        super().__init__(id=id)
        self.name = name
        self.surprise = 1


class Forgetful(AggregateRoot[str]):
    name: str

    def __init__(self, id: str) -> None:
        super().__init__(id=id)


class Unstorable:
    pass


class Opaque(AggregateRoot[str]):
    def __init__(self, id: str, thing: Unstorable) -> None:
        super().__init__(id=id)
        self.thing = thing


async def test_an_attribute_that_is_not_declared_is_refused(database: Database) -> None:
    with pytest.raises(Misconfigured, match=r"Careless\.surprise would not be stored; annotate it in the class"):
        async with unit(database):
            await Repository(Careless).add(Careless("c", "n"))
    assert await database.query(select(documents.c.id)) == []


async def test_an_attribute_that_was_never_set_is_refused(database: Database) -> None:
    with pytest.raises(Misconfigured, match=r"Forgetful\.name was never set"):
        async with unit(database):
            await Repository(Forgetful).add(Forgetful("c"))


async def test_a_class_that_cannot_be_stored_is_refused_when_it_is_planned(database: Database) -> None:
    with pytest.raises(Misconfigured, match="Unstorable cannot be stored; derive it from"):
        database.plan(Unstorable)
    with pytest.raises(Misconfigured, match=r"Opaque\.thing"):
        database.plan(Opaque)
    with pytest.raises(Misconfigured, match="has no version"):
        database.plan(_without_version())


def _without_version() -> type:
    class Bare(AggregateRoot[str]):
        pass

    registry().map_imperatively(Bare, Table("bare", MetaData(), Column("id", String(5), primary_key=True)))
    return Bare


async def test_a_value_that_does_not_fit_its_annotation_is_refused(database: Database) -> None:
    with pytest.raises(Invalid) as caught:
        async with unit(database):
            await Repository(Trip).add(Trip("t", price="a lot"))  # type: ignore[arg-type]
    assert [one.field for one in caught.value.errors] == ["price"]
    assert await database.query(select(documents.c.id)) == []


async def test_a_stored_document_that_does_not_fit_its_class_says_which(database: Database) -> None:
    async with unit(database):
        await Repository(Trip).add(Trip("t"))
    async with database.transaction() as transaction:
        await transaction.execute(documents.update().values(body={"stops": 5}))
    with pytest.raises(UnoError, match="The stored Trip 't' does not fit its class"):
        async with unit(database):
            await Repository(Trip).get("t")


async def test_a_model_makes_its_own_uuid_in_python(database: Database) -> None:
    async with unit(database):
        named = await Repository(Named).add(Named(name="x"))
        assert named.id.version == 7
    async with unit(database):
        assert (await Repository(Named).get(str(named.id))).name == "x"
