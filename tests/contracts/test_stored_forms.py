"""What is stored, what the object has afterwards and what the audit trail says are one value, on every backend."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy import ARRAY, JSON, DateTime, ForeignKey, Integer, MetaData, Numeric, delete
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import Fresh

from uno import App, Module
from uno.api import asgi, resource
from uno.audit import AuditBook, AuditTrail
from uno.data import Database, Model, Repository, UnitOfWork, UUIDMixin, VersionMixin
from uno.errors import Invalid

FORMS = ("postgresql auto", "postgresql session", "sqlite auto", "sqlite session")
Way = Callable[[Any, str, Any], Awaitable[Any]]


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Stage(Enum):
    NEW = "n"
    SENT = "s"


class Formed(VersionMixin, Base):
    """Its columns."""

    __abstract__ = True
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    total: Mapped[int | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    units: Mapped[Decimal | None] = mapped_column(Numeric(10))
    exact: Mapped[Decimal | None]
    ratio: Mapped[float | None]
    stage: Mapped[Stage | None]
    is_paid: Mapped[bool | None]
    day: Mapped[date | None]
    hour: Mapped[time | None]
    naive: Mapped[datetime | None] = mapped_column(DateTime)
    ref: Mapped[UUID | None]
    data: Mapped[Any | None] = mapped_column(JSON)
    share: Mapped[float | None] = mapped_column(Numeric(6, 2, asdecimal=False))
    at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    span: Mapped[timedelta | None]


class FormPlain(Formed):
    __tablename__ = "form_plain"


class FormWhole(Formed):
    """What belongs to it makes it a class of the session path."""

    __tablename__ = "form_whole"
    parts: Mapped[list["FormPart"]] = relationship(cascade="all, delete-orphan", lazy="selectin")


class FormPart(Base):
    __tablename__ = "form_part"
    id: Mapped[int] = mapped_column(primary_key=True)
    whole_id: Mapped[int] = mapped_column(ForeignKey("form_whole.id"))


class FormKeyed(UUIDMixin, VersionMixin, Base):
    __tablename__ = "form_keyed"
    exact: Mapped[Decimal | None]
    ratio: Mapped[float | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    share: Mapped[float | None] = mapped_column(Numeric(6, 2, asdecimal=False))
    name: Mapped[str | None]


class FormUnversioned(UUIDMixin, Base):
    """Its tag is a hash of what is shown."""

    __tablename__ = "form_unversioned"
    exact: Mapped[Decimal | None]
    ratio: Mapped[float | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    share: Mapped[float | None] = mapped_column(Numeric(6, 2, asdecimal=False))
    data: Mapped[Any | None] = mapped_column(JSON)
    name: Mapped[str | None]


class ListBase(Model):
    __abstract__ = True
    metadata = MetaData()


class FormLists(ListBase):
    __tablename__ = "form_lists"
    id: Mapped[int] = mapped_column(primary_key=True)
    counts: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    grid: Mapped[list[list[int]] | None] = mapped_column(ARRAY(Integer, dimensions=2))


@pytest.fixture(scope="module", params=FORMS)
async def database(request: pytest.FixtureRequest, lasting: Fresh) -> Database:
    backend, commit = request.param.split()
    return await lasting(backend, Base.metadata, commit=commit)


def unit(database: Database) -> UnitOfWork:
    return UnitOfWork(database, books=[AuditBook()])


async def _add(cls: Any, name: str, value: Any) -> Any:
    return await Repository(cls).add(cls(id=2, **{name: value}))


async def _save(cls: Any, name: str, value: Any) -> Any:
    return await Repository(cls).save(cls(id=2, **{name: value}))


async def _create(cls: Any, name: str, value: Any) -> Any:
    return await Repository(cls).create(id=2, **{name: value})


async def _set(cls: Any, name: str, value: Any) -> Any:
    one = await Repository(cls).get(1)
    setattr(one, name, value)
    return one


async def _update(cls: Any, name: str, value: Any) -> Any:
    return await Repository(cls).update(1, **{name: value})


async def _insert_objects(cls: Any, name: str, value: Any) -> Any:
    made = [cls(id=3, total=1), cls(id=2, **{name: value})]
    await Repository(cls).insert_many(made)
    return made[1]


async def _insert_many(cls: Any, name: str, value: Any) -> None:
    await Repository(cls).insert_many([{"id": 3}, {"id": 2, name: value}])


async def _update_many(cls: Any, name: str, value: Any) -> None:
    await Repository(cls).update_many(id=1, values={name: value})


WAYS: tuple[Way, ...] = (_add, _save, _create, _set, _update, _insert_objects, _insert_many, _update_many)
UPDATES = (_set, _update, _update_many)
A_REF = UUID("0190a0e2-7e4e-7c1b-9b7e-3d1f0e5a4b6c")
# What is given, what is stored, and how the trail has it.
TAKEN = [
    ("total", True, 1, 1),
    ("total", 2.0, 2, 2),
    ("total", Decimal("2.00"), 2, 2),
    ("price", Decimal("0.125"), Decimal("0.13"), "0.13"),
    ("price", Decimal("1.005"), Decimal("1.01"), "1.01"),
    ("price", Decimal("1.015"), Decimal("1.02"), "1.02"),
    ("price", Decimal("-0.125"), Decimal("-0.13"), "-0.13"),
    ("price", 1.005, Decimal("1.01"), "1.01"),
    ("price", "1.005", Decimal("1.01"), "1.01"),
    ("price", 3, Decimal(3), "3.00"),
    ("price", Decimal("-0.001"), Decimal(0), "0.00"),
    ("units", Decimal("2.5"), Decimal(3), "3"),
    ("exact", Decimal("1234567.1"), Decimal("1234567.1"), "1234567.1"),
    ("exact", Decimal("1E-27"), Decimal("1E-27"), "0.000000000000000000000000001"),
    ("exact", Decimal("-0"), Decimal(0), "0"),
    ("ratio", 3, 3.0, 3),
    ("ratio", Decimal("1.5"), 1.5, 1.5),
    ("stage", "SENT", Stage.SENT, "s"),
    ("is_paid", 1, True, True),
    ("day", datetime(2026, 1, 2, 5, tzinfo=UTC), date(2026, 1, 2), "2026-01-02"),
    ("hour", datetime(2026, 1, 2, 5, tzinfo=UTC), time(5), "05:00:00"),
    ("naive", date(2026, 1, 2), datetime(2026, 1, 2), "2026-01-02T00:00:00"),  # noqa: DTZ001 - it has none
    ("ref", str(A_REF), A_REF, str(A_REF)),
    ("share", 1.005, 1.01, 1.01),
    ("share", Decimal("1.5"), 1.5, 1.5),
    ("share", 2, 2.0, 2),
    ("share", -0.001, 0.0, 0),
    ("share", True, 1.0, 1),
    ("price", True, Decimal(1), "1.00"),
    ("exact", True, Decimal(1), "1"),
    ("is_paid", 1.0, True, True),
    ("is_paid", Decimal(0), False, False),
    ("at", date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
    ("at", datetime(2026, 1, 2, 3), datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00+00:00"),  # noqa: DTZ001
    ("hour", time(5, tzinfo=UTC), time(5), "05:00:00"),
]


async def clear(database: Database, cls: Any) -> None:
    async with UnitOfWork(database) as uow:
        await uow.execute(delete(cls))
        await Repository(cls).add(cls(id=1))


@pytest.mark.parametrize("cls", [FormPlain, FormWhole])
@pytest.mark.parametrize(("name", "given", "stored", "told"), TAKEN, ids=[f"{one[0]}-{one[1]}" for one in TAKEN])
async def test_the_object_the_row_and_the_trail_agree(
    database: Database, cls: Any, name: str, given: Any, stored: Any, told: Any
) -> None:
    for way in WAYS:
        await clear(database, cls)
        id = 1 if way in UPDATES else 2
        async with unit(database):
            one = await way(cls, name, given)
        async with UnitOfWork(database):
            read = getattr(await Repository(cls).get(id), name)
        entry = (await AuditTrail(database).history(cls, id))[-1]
        seen = [read] if one is None else [read, getattr(one, name)]
        assert all(isinstance(value, type(stored)) and value == stored for value in seen), (way.__name__, seen)
        assert entry.after is not None
        assert json.dumps(entry.after[name]) in {json.dumps(told), json.dumps(told) + ".0"}, way.__name__


WRONG = [
    ("total", 2.7),
    ("total", Decimal("2.5")),
    ("total", float("inf")),
    ("ratio", [1]),
    ("ratio", b"x"),
    ("ratio", date(2026, 1, 1)),
    ("ratio", UUID(int=1)),
    ("ratio", 1j),
    ("ratio", object()),
    ("ratio", 10**400),
    ("stage", "s"),
    ("ref", "no uuid"),
    ("price", [1]),
    ("price", Fraction(1, 2)),
    ("share", Fraction(1, 2)),
    ("share", 99999),
    ("share", 9999.996),
    ("share", "abc"),
    ("span", 5),
    ("data", "a\0"),
    ("data", {"a": ["\ud800"]}),
]
WRONG_ON_SQLITE = [
    ("ratio", float("nan")),
    ("exact", Decimal("NaN")),
    ("exact", Decimal("1.00000000000000000001")),
    ("exact", 12345678901234567),
    ("data", 12345678901234567890),
    ("data", -(10**400)),
]


@pytest.mark.parametrize("cls", [FormPlain, FormWhole])
@pytest.mark.parametrize(("name", "value"), [*WRONG, *WRONG_ON_SQLITE], ids=lambda one: str(one)[:20])
async def test_what_would_become_another_value_is_refused_by_name(
    database: Database, cls: Any, name: str, value: Any
) -> None:
    await clear(database, cls)
    only_lite = (name, value) in WRONG_ON_SQLITE
    if only_lite and database.backend == "postgresql":
        async with unit(database):
            await _add(cls, name, value)
        async with UnitOfWork(database):
            read = getattr(await Repository(cls).get(2), name)
        assert read == value or (read != read and value != value)
        return
    for way in WAYS:
        with pytest.raises(Invalid) as caught:
            async with unit(database):
                await way(cls, name, value)
        assert [one.field for one in caught.value.errors] == [name], way.__name__
        assert caught.value.row == (2 if way in (_insert_objects, _insert_many) else None)
    async with UnitOfWork(database):
        assert [getattr(one, name) for one in await Repository(cls).find()] == [None]


async def test_a_refused_uuid_and_fraction_say_what_would_do(database: Database) -> None:
    for name, value, wanted in (("ref", "no", "uuid.UUID("), ("total", 2.7, "a whole number")):
        with pytest.raises(Invalid, match=f"{name}: It has to be") as caught:
            async with UnitOfWork(database):
                await _add(FormPlain, name, value)
        assert wanted in str(caught.value)


async def test_an_object_with_its_key_as_text_is_found_by_it(database: Database) -> None:
    keyed = Repository(FormKeyed)
    async with unit(database) as uow:
        one = await keyed.add(FormKeyed(id=str(A_REF), name="a"))
        await uow.flush()
        one.name = "b"
    async with unit(database):
        assert ((await keyed.get(A_REF)).name, one.id) == ("b", A_REF)
        await keyed.delete(A_REF)


async def test_an_attribute_set_to_what_is_stored_changes_nothing(database: Database) -> None:
    await clear(database, FormPlain)
    plain = Repository(FormPlain)
    async with unit(database):
        await plain.update(1, price=Decimal("1.01"))
    async with unit(database):
        await plain.update(1, price=Decimal("1.005"))
    async with UnitOfWork(database):
        assert (await plain.get(1)).version == 2


async def test_the_answer_to_a_create_is_what_is_read_and_its_tag_holds(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Base.metadata)
    routes = [resource(cls, access="open", prefix=f"/{cls.__tablename__}") for cls in (FormKeyed, FormUnversioned)]
    bodies: list[dict[str, Any]] = [
        {"exact": "-0"},
        {"exact": "1.0"},
        {"exact": "1000"},
        {"ratio": -0.0},
        {"price": "1.5"},
        {"price": "-0.0"},
        {"share": 1},
        {"share": 1.005},
        {"share": -0.0},
        {"data": 100.0},
        {"data": -0.0},
        {"data": 1e17},
        {"data": [100.0]},
    ]
    app = App(Module("forms", routes=routes), database=database)
    async with app, AsyncClient(transport=ASGITransport(app=asgi(app)), base_url="http://test") as client:
        for path in ("/form_keyed", "/form_unversioned"):
            for body in bodies if path == "/form_unversioned" else bodies[:9]:
                made = await client.post(path, json=body)
                assert made.status_code == 201, made.text
                there = made.headers["location"]
                assert (await client.get(there)).text == made.text
                tag = {"if-match": made.headers["etag"]}
                assert (await client.patch(there, json={"name": "x"}, headers=tag)).status_code == 200


async def test_numbers_in_lists_are_whole_too(fresh: Fresh) -> None:
    database = await fresh("postgresql", ListBase.metadata)
    lists = Repository(FormLists)
    async with unit(database):
        one = await lists.create(id=1, counts=[1, 2.0, None], grid=[[1, 2], [3, True]])
    async with UnitOfWork(database):
        read = await lists.get(1)
        assert (read.counts, read.grid, one.counts) == ([1, 2, None], [[1, 2], [3, 1]], [1, 2, None])
    for way in ("counts", "grid"):
        with pytest.raises(Invalid) as caught:
            async with unit(database):
                await lists.create(id=2, **{way: [1, 2.5] if way == "counts" else [[1, 2.5]]})
        assert [one.field for one in caught.value.errors] == [way]
