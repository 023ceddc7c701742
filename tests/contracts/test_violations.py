"""What a violated constraint says: the attributes it is about, the same by every way and on both backends."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import CheckConstraint, ForeignKey, MetaData, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from uno.api import build_crud_router
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin, hooks
from uno.data.default_names import default_name
from uno.errors import Conflict, Invalid

Fresh = Callable[..., Awaitable[Database]]
Told = list[tuple[str, str]]
MERGE = {"content-type": "application/merge-patch+json"}

LONG = "a_table_with_a_name_that_is_very_long_indeed_for_postgresql"
NAMES = [
    ("short", ["n"]),
    ("two", ["first", "second"]),
    (LONG, ["serial_number_of_a_thing"]),
    ("t", ["a_column_with_a_name_that_is_very_long_indeed_for_postgresql_x"]),
    (LONG, [LONG]),
    (LONG + "es", [LONG]),
    (LONG, [f"column_{n}_of_very_many" for n in range(9)]),
    ("straße_mit_einem_sehr_langen_namen_über_alle_maße_für_größen", ["größe_in_fuß_und_zöllen_über_alles"]),
    ("ß" * 31, ["ü" * 31]),
    ("ß" * 20, ["x" + "ü" * 30]),
]


class Unnamed(Model):
    """Whose constraints the databases name."""

    __abstract__ = True
    metadata = MetaData()


class Conventional(Model):
    """Whose constraints SQLAlchemy names, and cuts."""

    __abstract__ = True
    metadata = MetaData(naming_convention=Model.metadata.naming_convention)


class _Held:
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    serial_number_of_it: Mapped[str] = mapped_column(unique=True)
    quantity_on_hand: Mapped[int] = mapped_column(default=5)
    reserved: Mapped[int] = mapped_column(default=0)
    place: Mapped[int] = mapped_column("order", default=0)
    kind: Mapped[str] = mapped_column(default="a")


class Held(_Held, Unnamed):
    __tablename__ = LONG
    __table_args__ = (
        CheckConstraint("quantity_on_hand >= 0"),
        CheckConstraint("quantity_on_hand  <\n 1000"),
        CheckConstraint("reserved <= quantity_on_hand"),
        CheckConstraint('"order" >= 0'),
        CheckConstraint("kind <> 'reserved'"),
        UniqueConstraint("reserved", "order"),
    )
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("violated_owners.id"))


class Kept(_Held, Conventional):
    __tablename__ = LONG
    __table_args__ = (
        CheckConstraint("quantity_on_hand BETWEEN 0 AND 999", name="some"),
        CheckConstraint("reserved <= quantity_on_hand", name="enough_to_be_reserved_of_what_is_there"),
        CheckConstraint('"order" >= 0', name="place"),
        CheckConstraint("kind <> 'reserved'", name="kind"),
        UniqueConstraint("reserved", "order"),
    )
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("violated_owners.id"))


class HeldOwner(Unnamed):
    __tablename__ = "violated_owners"
    __table_args__ = (CheckConstraint("quantity_on_hand >= 0"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    quantity_on_hand: Mapped[int] = mapped_column(default=0)


class KeptOwner(Conventional):
    __tablename__ = "violated_owners"
    __table_args__ = (CheckConstraint("quantity_on_hand >= 0", name="some"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    quantity_on_hand: Mapped[int] = mapped_column(default=0)


class Linked(Model):
    __abstract__ = True
    metadata = MetaData()


class Customer(Linked):
    __tablename__ = "violated_customers"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Agent(Linked):
    __tablename__ = "violated_agents"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Order(VersionMixin, Linked):
    __tablename__ = "violated_orders"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("violated_customers.id"))
    agent_id: Mapped[int | None] = mapped_column(ForeignKey("violated_agents.id"))


class Line(Linked):
    __tablename__ = "violated_lines"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    order_id: Mapped[int] = mapped_column(ForeignKey("violated_orders.id"))


async def added(database: Database, cls: type[Any], values: dict[str, Any]) -> None:
    async with UnitOfWork(database):
        await Repository(cls).add(cls(**values))


async def inserted(database: Database, cls: type[Any], values: dict[str, Any]) -> None:
    async with UnitOfWork(database):
        await Repository(cls).insert_many([values])


async def changed(database: Database, cls: type[Any], values: dict[str, Any]) -> None:
    async with UnitOfWork(database):
        found = await Repository(cls).get(1)
        for name, value in _changes(values).items():
            setattr(found, name, value)


async def changed_in_a_session(database: Database, cls: type[Any], values: dict[str, Any]) -> None:
    async with UnitOfWork(database) as uow:
        found = await (await uow.session()).get_one(cls, 1)
        for name, value in _changes(values).items():
            setattr(found, name, value)


async def updated(database: Database, cls: type[Any], values: dict[str, Any]) -> None:
    async with UnitOfWork(database):
        await Repository(cls).update_many(id=1, values=_changes(values))


def _changes(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "id"}


WAYS = [added, inserted, changed, changed_in_a_session, updated]


async def refusals(database: Database, cls: type[Any], values: dict[str, Any]) -> AsyncIterator[tuple[str, Told]]:
    """What each way says: a sentence without the number of a row, the fields and codes."""
    for way in WAYS:
        with pytest.raises((Conflict, Invalid)) as caught:
            await way(database, cls, values)
        error: Any = caught.value
        yield str(error).replace(" (row 1)", ""), [(one.field, one.code) for one in error.errors]
    async with calling(database, cls) as client:
        answers = [
            await client.post("/it", json=values),
            await client.patch("/it/1", json=_changes(values), headers=MERGE),
            await client.post("/it/bulk", json={"items": [values]}),
        ]
    for answer in answers:
        assert answer.status_code in (409, 422), answer.text
        told = [(one["field"].removeprefix("items.0."), one["code"]) for one in answer.json()["errors"]]
        yield "; ".join({one["message"] for one in answer.json()["errors"]}), told


@asynccontextmanager
async def calling(database: Database, cls: type[Any]) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    app.include_router(
        build_crud_router(cls, database=database, prefix="/it", operations=["create", "get", "merge", "bulk_create"])
    )
    transport = httpx2.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url="http://it") as one:
        yield one


CHECK, DUPLICATE = "The database does not take this value.", "There is one with this value already."
PAIR, NOTHING = "There is one with these values already.", "It refers to something that is not there."


@pytest.mark.parametrize(
    ("values", "fields", "message", "code"),
    [
        ({"quantity_on_hand": -1, "reserved": -2}, ["quantity_on_hand"], CHECK, "check"),
        ({"quantity_on_hand": 5000}, ["quantity_on_hand"], CHECK, "check"),
        ({"reserved": 7}, ["quantity_on_hand", "reserved"], CHECK, "check"),
        ({"place": -1}, ["place"], CHECK, "check"),
        ({"kind": "reserved"}, ["kind"], CHECK, "check"),
        ({"serial_number_of_it": "taken"}, ["serial_number_of_it"], DUPLICATE, "duplicate"),
        ({"reserved": 1, "place": 1}, ["reserved", "place"], PAIR, "duplicate"),
        ({"owner_id": 99}, ["owner_id"], NOTHING, "reference"),
    ],
)
@pytest.mark.parametrize("cls", [Held, Kept])
async def test_every_way_names_the_same_attributes_in_the_same_words(
    fresh: Fresh, backend: str, cls: type[Any], values: dict[str, Any], fields: list[str], message: str, code: str
) -> None:
    database = await fresh(backend, cls.metadata)
    async with UnitOfWork(database):
        await Repository(cls).add(cls(id=1, serial_number_of_it="one"))
        await Repository(cls).add(cls(id=2, serial_number_of_it="taken", reserved=1, place=1))
    given = {"id": 3, "serial_number_of_it": "three", "place": 3, **values}
    async for text_, told in refusals(database, cls, given):
        assert told == [(field, code) for field in fields]
        assert message.rstrip(".") in text_


@pytest.mark.parametrize("cls", [HeldOwner, KeptOwner])
async def test_of_conditions_alike_it_is_that_of_the_table_that_was_written(
    fresh: Fresh, backend: str, cls: type[Any]
) -> None:
    database = await fresh(backend, cls.metadata)
    await added(database, cls, {"id": 1})
    async for _, told in refusals(database, cls, {"id": 2, "quantity_on_hand": -1}):
        assert told == [("quantity_on_hand", "check")]


async def test_nothing_of_sql_is_said_where_no_attribute_is_known(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Unnamed.metadata)
    with pytest.raises(Invalid, match="The database does not take one of the values") as caught:
        async with UnitOfWork(database) as uow:
            await uow.execute("INSERT INTO violated_owners (id, quantity_on_hand) VALUES (1, -1)")
    assert ">=" not in str(caught.value)


@pytest.mark.parametrize("values", [{"customer_id": 99}, {"customer_id": 99, "agent_id": None}])
async def test_a_foreign_key_to_nothing_is_the_one_that_was_written(
    fresh: Fresh, backend: str, values: dict[str, Any]
) -> None:
    database = await fresh(backend, Linked.metadata)
    async with UnitOfWork(database):
        await Repository(Agent).add(Agent(id=1))
        await Repository(Order).add(Order(id=1, agent_id=1))
        await Repository(Line).add(Line(id=1, order_id=1))
    async for text_, told in refusals(database, Order, {"id": 2, **values}):
        assert told == [("customer_id", "reference")]
        assert NOTHING.rstrip(".") in text_


async def test_the_second_of_many_changes_is_the_one_that_is_told(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Linked.metadata)
    rows = [{"id": 1, "customer_id": None, "agent_id": 1}, {"id": 2, "customer_id": 99, "agent_id": None}]
    await added(database, Agent, {"id": 1})
    with pytest.raises(Conflict, match=r"^customer_id: It refers to something that is not there \(row 2\)\.$"):
        async with UnitOfWork(database):
            await Repository(Order).insert_many(rows)


async def test_a_key_that_changes_says_who_refers_to_it(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Linked.metadata)
    async with UnitOfWork(database):
        await Repository(Order).add(Order(id=1))
        await Repository(Line).add(Line(id=1, order_id=1))
    with pytest.raises(Conflict, match=r"^Line refers to it\.$"):
        async with UnitOfWork(database) as uow:
            (await (await uow.session()).get_one(Order, 1)).id = 2


@pytest.fixture
def blocked() -> Iterator[str]:
    said = "The order refers to a customer who is blocked."

    @hooks.before_insert(Order)
    def refuse(_: Order) -> None:
        raise Conflict(said)

    yield said
    hooks.remove(refuse)


async def test_what_a_hook_says_of_references_stays_as_it_says_it(fresh: Fresh, backend: str, blocked: str) -> None:
    database = await fresh(backend, Linked.metadata)
    await added(database, Customer, {"id": 1})
    values = {"id": 2, "customer_id": 1}
    for way in (added, inserted):
        with pytest.raises(Conflict) as caught:
            await way(database, Order, values)
        assert (str(caught.value).replace(" (row 1)", ""), caught.value.errors) == (blocked, ())
    async with calling(database, Order) as client:
        answer = (await client.post("/it", json=values)).json()
        many = (await client.post("/it/bulk", json={"items": [values]})).json()
    assert (answer["detail"], answer.get("errors")) == (blocked, None)
    assert many["errors"] == [{"field": "items.0", "message": blocked, "code": "refused"}]


async def test_default_names_are_those_that_postgresql_gives(fresh: Fresh) -> None:
    database = await fresh("postgresql")
    for table, columns in NAMES:
        quoted = [f'"{one}"' for one in columns]
        listed = ", ".join(quoted)
        async with database.transaction() as transaction:
            await transaction.execute(
                text(
                    f'CREATE TABLE "{table}" (id int PRIMARY KEY, {", ".join(f"{one} int" for one in quoted)},'
                    f" UNIQUE ({listed}), CHECK ({quoted[0]} > 0),"
                    f' FOREIGN KEY ({listed}) REFERENCES "{table}" ({listed}))'
                )
            )
            rows = await transaction.execute(
                text("SELECT conname FROM pg_constraint WHERE contype IN ('p','u','c','f')")
            )
            there = set(rows.scalars())
            await transaction.execute(text(f'DROP TABLE "{table}"'))
        wanted = {default_name(table, columns, "key"), default_name(table, columns, "fkey")}
        assert wanted | {default_name(table, columns[:1], "check"), default_name(table, [], "pkey")} <= there
