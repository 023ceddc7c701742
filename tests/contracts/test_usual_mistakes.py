"""What means the same finds the same on every backend, and a usual mistake is one sentence that names it."""

import enum
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ForeignKey, MetaData, Numeric, String, TypeDecorator, exists, func, select
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import BACKENDS, Fresh

from uno.data import Database, Model, Repository, UnitOfWork, UUIDMixin, VersionMixin
from uno.data.filters import Filter
from uno.domain import AggregateRoot, Specification
from uno.errors import Invalid, Misconfigured


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class State(enum.Enum):
    NEW = "n"
    SENT = "s"


class Cents(TypeDecorator[Decimal]):
    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        return None if value is None else str(int(value * 100))

    def process_result_value(self, value: Any, dialect: Any) -> Decimal | None:
        return None if value is None else Decimal(value) / 100


class UsualBuyer(Base):
    __tablename__ = "mistakes_buyers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    orders: Mapped[list["UsualOrder"]] = relationship(viewonly=True)


class UsualOrder(VersionMixin, Base):
    __tablename__ = "mistakes_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int] = mapped_column(default=0)
    state: Mapped[State] = mapped_column(default=State.NEW)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2), default=Decimal(0))
    paid: Mapped[Decimal | None] = mapped_column(Cents)
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    buyer_id: Mapped[int | None] = mapped_column(ForeignKey("mistakes_buyers.id"))
    buyer: Mapped[UsualBuyer | None] = relationship(viewonly=True)


class Token(UUIDMixin, Base):
    __tablename__ = "mistakes_tokens"
    name: Mapped[str]


class Weight(Base):
    __tablename__ = "mistakes_weights"
    grams: Mapped[Decimal] = mapped_column(Numeric(10, 2), primary_key=True)
    code: Mapped[str] = mapped_column(primary_key=True)


class Note(AggregateRoot[str]):
    def __init__(self, id: str, stars: int = 0, state: State = State.NEW) -> None:
        super().__init__(id=id)
        self.stars = stars
        self.state = state


class Constant(Specification[UsualOrder]):
    filter = Filter(amount=5)  # type: ignore[assignment]


class Mapping5(Specification[UsualOrder]):
    def filter(self) -> Any:
        return {"amount": 5}


ID = UUID("018f0000-0000-7000-8000-000000000001")
orders: Repository[UsualOrder] = Repository(UsualOrder)
tokens: Repository[Token] = Repository(Token)
notes: Repository[Note] = Repository(Note)
Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(params=BACKENDS, scope="module")
async def database(request: pytest.FixtureRequest, lasting: Fresh) -> Database:
    made = await lasting(request.param, Base.metadata)
    async with UnitOfWork(made):
        await Repository(UsualBuyer).add(UsualBuyer(id=1, name="Ada"))
        await orders.add(UsualOrder(id=1, amount=5, price=Decimal("0.10"), paid=Decimal("1.50"), buyer_id=1))
        await orders.add(UsualOrder(id=2, state=State.SENT))
        await tokens.add(Token(id=ID, name="z"))
        await notes.add(Note("n", stars=5))
        await Repository(Weight).add(Weight(grams=Decimal(5), code="a"))
    return made


async def ways(of: Repository[Any], condition: dict[str, Any]) -> list[int]:
    """How many each way finds that takes a condition."""
    many = [one async for one in of.stream(**condition)]
    one = await of.find_one(**condition)
    changes = await of.update_many(**condition, values={"name": "z"}) if of is tokens else len(many)
    page = (await of.page(**condition, total=True)).total
    counts = [len(await of.find(**condition)), len(await of.find(Filter(**condition)))]
    counts += [await of.count(**condition), int(await of.exists(**condition)), int(one is not None)]
    return [*counts, len(many), page or 0, changes if changes else len(many)]


@pytest.mark.parametrize(
    ("of", "condition"),
    [
        (orders, {"state": "n"}),
        (orders, {"state": State.NEW}),
        (orders, {"amount": "5"}),
        (orders, {"price": 0.1}),
        (orders, {"price": "0.1", "amount": 5}),
        (tokens, {"id": str(ID)}),
        (tokens, {"id": ID.hex}),
        (notes, {"stars": "5", "state": "n"}),
    ],
)
async def test_an_equality_reads_its_value_as_a_filter_does(
    database: Database, of: Repository[Any], condition: dict[str, Any]
) -> None:
    async with UnitOfWork(database):
        assert await ways(of, condition) == [1] * 8


@pytest.mark.parametrize(
    ("of", "field", "value"),
    [
        (orders, "state", "NEW"),
        (orders, "amount", "x"),
        (orders, "amount", 2**40),
        (orders, "price", Decimal("nan")),
        (orders, "buyer_id", UsualBuyer(id=1)),
        (tokens, "id", "zz"),
        (tokens, "id", 5),
        (tokens, "name", "a\0b"),
        (notes, "state", "NEW"),
        (notes, "stars", "x"),
    ],
)
async def test_a_value_that_is_none_of_the_field_is_named(
    database: Database, of: Repository[Any], field: str, value: Any
) -> None:
    asks: list[Ask] = [of.find, of.find_one, of.count, of.exists, of.page, of.delete_many]
    async with UnitOfWork(database):
        for ask in asks:
            with pytest.raises(Invalid) as caught:
                await ask(**{field: value})
            assert [one.field for one in caught.value.errors] == [field]


async def test_an_equality_with_what_a_filter_does_not_read_is_the_columns(database: Database) -> None:
    async with UnitOfWork(database):
        assert [one.id for one in await orders.find(paid=Decimal("1.50"))] == [1]
        assert [one.id for one in await orders.find(amount=func.coalesce(5, 6))] == [1]
        assert await orders.count(buyer_id=None) == 1


@pytest.mark.parametrize("id", [5, 1.5, [ID], {}, b"x"])
async def test_a_key_of_another_type_is_named(database: Database, id: Any) -> None:
    async with UnitOfWork(database):
        for ask in (tokens.get, tokens.get_by_id, tokens.get_for_update, tokens.delete):
            with pytest.raises(Invalid, match=f"^id: It is a UUID, and a {type(id).__name__} is none"):
                await ask(id)


async def test_a_key_may_be_given_as_what_it_is_made_of(database: Database) -> None:
    async with UnitOfWork(database):
        assert (await tokens.get(str(ID))).id == ID
        weights: Repository[Weight] = Repository(Weight)
        for grams in (5, "5", Decimal(5), 5.0):
            assert (await weights.get((grams, "a"))).code == "a"
        with pytest.raises(Invalid, match="code: It is a str, and a int is none"):
            await weights.get((5, 5))
        with pytest.raises(Invalid, match="grams: It is a Decimal, and 'x' is none"):
            await weights.get(("x", "a"))


async def test_what_would_not_be_stored_is_refused(database: Database) -> None:
    async with UnitOfWork(database):
        buyer = await Repository(UsualBuyer).get(1)
        for wrong in (orders.create(buyer=buyer), orders.update(2, buyer=buyer)):
            with pytest.raises(Invalid, match="buyer: .*viewonly=True; set buyer_id"):
                await wrong
        with pytest.raises(Invalid, match="orders: .* change the UsualOrder itself"):
            await Repository(UsualBuyer).create(id=2, name="Bob", orders=[])
        with pytest.raises(Misconfigured, match=r"UsualOrder.version is not changed by update\(\)"):
            await orders.update(1, version=9)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: orders.find({"amount": 1}), r"a dict; Filter\.of"),
        (lambda: orders.find("amount=1"), "not str 'amount=1'; write name=value"),
        (lambda: orders.exists(ID), "not a UUID; write name=value"),
        (lambda: orders.count(False), "not False; write name=value"),
        (lambda: orders.find(Filter), "not the class Filter"),
        (lambda: orders.find(Constant()), r"Constant\.filter is a Filter, and has to be a method that gives one"),
        (lambda: orders.find(Mapping5()), r"Mapping5\.filter\(\) has to give a Filter, not a dict"),
        (lambda: orders.find(sort=UsualOrder.amount.desc()), "sort takes names of attributes"),
        (lambda: orders.page(sort=UsualOrder.amount), "sort takes names of attributes"),
        (lambda: orders.find(sort=[UsualOrder.amount]), "sort takes names of attributes"),
        (lambda: orders.find(sort=None), "sort takes names of attributes, .* not None"),
        (lambda: orders.get(1, include=UsualOrder.buyer), "include takes names of attributes"),
        (lambda: orders.find(UsualBuyer.name == "Ada"), "for UsualOrder is about mistakes_buyers, which"),
        (lambda: orders.count(UsualBuyer.id == UsualOrder.buyer_id), "for UsualOrder is about mistakes_buyers, which"),
        (lambda: notes.find(UsualOrder.amount == 5), "for Note is about mistakes_orders, which"),
        (lambda: orders.add(None), "stores objects of UsualOrder, not None"),
        (lambda: orders.add({"amount": 1}), "stores objects of UsualOrder, not a dict"),
        (lambda: orders.add(UsualOrder), "stores objects of UsualOrder, not the class UsualOrder"),
        (lambda: orders.save(UsualBuyer(name="Bob")), "stores objects of UsualOrder, not a UsualBuyer"),
        (lambda: notes.add(UsualOrder()), "stores objects of Note, not a UsualOrder"),
    ],
)
async def test_a_mistake_is_told(database: Database, wrong: Callable[[], Awaitable[Any]], says: str) -> None:
    async with UnitOfWork(database):
        with pytest.raises(Misconfigured, match=says):
            await wrong()


@pytest.mark.parametrize("wrong", [{"limit": "5"}, {"limit": 1.5}, {"limit": True}, {"offset": "1"}, {"offset": None}])
async def test_a_stretch_takes_whole_numbers(database: Database, wrong: dict[str, Any]) -> None:
    async with UnitOfWork(database):
        for ask in (orders.find, orders.page, orders.get_all):
            with pytest.raises(Invalid, match="It takes a whole number, not"):
                await ask(**wrong)  # type: ignore[operator]
        with pytest.raises(Invalid, match="limit: It takes a whole number, not None"):
            await orders.page(limit=None)  # type: ignore[arg-type]
        with pytest.raises(Invalid, match="batch: It takes a whole number"):
            orders.stream(batch="5")  # type: ignore[arg-type]


async def test_one_relationship_may_be_named_by_itself(database: Database) -> None:
    async with UnitOfWork(database):
        for found in (await orders.get(1, include="buyer"), *await orders.find(UsualOrder.id == 1, include="buyer")):
            assert found.buyer is not None
            assert found.buyer.name == "Ada"


async def test_others_are_asked_for_in_subqueries(database: Database) -> None:
    asked: list[Any] = [
        UsualOrder.buyer.has(UsualBuyer.name == "Ada"),
        exists().where(UsualBuyer.id == UsualOrder.buyer_id),
        UsualOrder.buyer_id.in_(select(UsualBuyer.id)),
        UsualOrder.buyer_id == select(func.max(UsualBuyer.id)).scalar_subquery(),
        UsualOrder.buyer == UsualBuyer(id=1),
    ]
    async with UnitOfWork(database):
        for one in asked:
            assert [order.id for order in await orders.find(one)] == [1]


@pytest.mark.parametrize("wrong", ["UsualOrder", int, UsualOrder(id=1)])
def test_a_repository_is_of_a_class(wrong: Any) -> None:
    with pytest.raises(Misconfigured, match=r"Repository takes a class of entities, as Repository\(Order\), not"):
        Repository(wrong)


def test_a_unit_of_work_is_of_a_database() -> None:
    with pytest.raises(Misconfigured, match=r"UnitOfWork takes a Database, as .*, not a str\.$"):
        UnitOfWork("sqlite://user:secret@host")  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["sort", "limit", "offset", "include"])
async def test_an_argument_of_another_method_is_told(database: Database, word: str) -> None:
    async with UnitOfWork(database):
        for ask in (orders.count, orders.exists, orders.delete_many):
            with pytest.raises(Invalid, match=f"{word}: UsualOrder has no .*, and this method takes no such argument"):
                await ask(**{word: 1})  # type: ignore[operator]
        with pytest.raises(Invalid, match="batch: UsualOrder has no such attribute, and this method"):
            await orders.find(batch=5)
        with pytest.raises(Invalid, match="amonut: UsualOrder has no such attribute\\.$"):
            await orders.count(amonut=5)


@pytest.mark.parametrize("given", [[], [{"amount": 1}], "amount=1", None, 5, {5: 1}], ids=repr)
def test_plain_data_that_is_no_filter_is_told(given: Any) -> None:
    with pytest.raises(Invalid, match="filter: (It has to be an object|Its keys are texts)"):
        Filter.of(given)


@pytest.mark.parametrize("given", [[], None, 5], ids=repr)
def test_text_that_is_no_filter_is_told(given: Any) -> None:
    with pytest.raises(Invalid, match="where: It is not JSON"):
        Filter.of_json(given, name="where")


@pytest.mark.parametrize(
    "other", [UsualOrder.amount > 5, {"amount": 5}, None, True], ids=lambda one: type(one).__name__
)
def test_a_filter_is_put_together_with_filters(other: Any) -> None:
    for together in (Filter.__and__, Filter.__or__):
        with pytest.raises(Misconfigured, match=f"put together with Filters, not with a {type(other).__name__}"):
            together(Filter(amount=1), other)
