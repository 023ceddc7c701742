"""A value that a column cannot hold is refused by the name of its attribute, on every backend and in every form."""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import CheckConstraint, ForeignKey, MetaData, Numeric, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import Fresh

from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.domain import AggregateRoot
from uno.errors import Invalid

FORMS = ("postgresql auto", "postgresql batch", "postgresql session", "sqlite auto", "sqlite session")
Way = Callable[[Any, str, Any], Awaitable[Any]]


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Status(Enum):
    NEW = "n"
    SENT = "s"


class Ordered(VersionMixin, Base):
    """Its columns; `id` is the database's."""

    __abstract__ = True
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(10))
    total: Mapped[int] = mapped_column(default=0)
    status: Mapped[Status] = mapped_column(default=Status.NEW)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2), default=Decimal(1))
    ratio: Mapped[float | None]
    is_paid: Mapped[bool | None]
    at: Mapped[datetime | None]
    day: Mapped[date | None]
    seal: Mapped[bytes | None]
    ref: Mapped[UUID | None]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    note: Mapped[str | None] = mapped_column("remark")


class Plain(Ordered):
    __tablename__ = "wrong_plain"
    __table_args__ = (CheckConstraint("total >= 0", name="positive"),)


class Whole(Ordered):
    """What belongs to it makes it a class of the session path."""

    __tablename__ = "wrong_whole"
    __table_args__ = (CheckConstraint("total >= 0", name="whole_positive"),)
    parts: Mapped[list["WrongPart"]] = relationship(cascade="all, delete-orphan", lazy="selectin")


class WrongPart(Base):
    __tablename__ = "wrong_part"
    id: Mapped[int] = mapped_column(primary_key=True)
    whole_id: Mapped[int] = mapped_column(ForeignKey("wrong_whole.id"))


class Named(AggregateRoot[str]):
    def __init__(self, id: str, title: str = "") -> None:
        super().__init__(id=id)
        self.title = title


class Numbered(AggregateRoot[int]):
    def __init__(self, id: int) -> None:
        super().__init__(id=id)


class Word(str):
    __slots__ = ()


@pytest.fixture(scope="module", params=FORMS)
async def database(request: pytest.FixtureRequest, lasting: Fresh) -> Database:
    backend, commit = request.param.split()
    database = await lasting(backend, Base.metadata, commit=commit)
    async with UnitOfWork(database):
        for cls in (Plain, Whole):
            await Repository(cls).add(cls(name="first"))
    return database


def fields(error: "pytest.ExceptionInfo[Invalid]") -> list[str]:
    return [one.field for one in error.value.errors]


async def _add(cls: Any, name: str, value: Any) -> None:
    await Repository(cls).add(cls(**{"name": "new", name: value}))


async def _add_with_id(cls: Any, name: str, value: Any) -> None:
    await Repository(cls).add(cls(**{"id": 2, "name": "new", name: value}))


async def _add_two(cls: Any, name: str, value: Any) -> None:
    await Repository(cls).add(cls(id=2, name="new"))
    await Repository(cls).add(cls(**{"id": 3, "name": "new", name: value}))


async def _create(cls: Any, name: str, value: Any) -> None:
    await Repository(cls).create(**{"name": "new", name: value})


async def _set(cls: Any, name: str, value: Any) -> None:
    setattr(await Repository(cls).get(1), name, value)


async def _update(cls: Any, name: str, value: Any) -> None:
    await Repository(cls).update(1, **{name: value})


async def _find_after(cls: Any, name: str, value: Any) -> None:
    await _set(cls, name, value)
    await Repository(cls).find()


async def _insert_many(cls: Any, name: str, value: Any) -> None:
    await Repository(cls).insert_many([{"name": "good"}, {"name": "new", name: value}])


async def _update_many(cls: Any, name: str, value: Any) -> None:
    await Repository(cls).update_many(id=1, values={name: value})


WAYS: tuple[Way, ...] = (
    _add,
    _add_with_id,
    _add_two,
    _create,
    _set,
    _update,
    _find_after,
    _insert_many,
    _update_many,
)
WRONG = [
    ("status", "s"),  # the value, not the name
    ("status", 5),
    ("total", "x"),
    ("total", "5"),
    ("total", 2**40),
    ("total", [1]),
    ("name", 5),
    ("name", "x" * 11),
    ("name", "a\0"),
    ("name", "a\ud800"),
    ("price", "abc"),
    ("price", Decimal("123456789.00")),
    ("ratio", "1.5"),
    ("is_paid", "yes"),
    ("at", datetime(2026, 1, 1)),  # noqa: DTZ001 - that is what is wrong with it
    ("at", "2026-01-01T00:00:00Z"),
    ("day", "2026-01-01"),
    ("seal", "text"),
    ("ref", "zz"),
    ("data", {"at": datetime(2026, 1, 1, tzinfo=UTC)}),
    ("data", {"is": {1, 2}}),
    ("data", {"is": Decimal(1)}),
    ("data", {"is": float("nan")}),
    ("data", {"is": "\0"}),
    ("note", 5),
]


@pytest.mark.parametrize("cls", [Plain, Whole])
@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}-{n}" for n, (name, _) in enumerate(WRONG)])
async def test_a_wrong_value_is_refused_by_name(database: Database, cls: Any, name: str, value: Any) -> None:
    found = {}
    for way in WAYS:
        with pytest.raises(Invalid) as caught:
            async with UnitOfWork(database):
                await way(cls, name, value)
        found[way.__name__] = fields(caught)
        assert caught.value.row == (2 if way is _insert_many else None)
    assert found == {way.__name__: [name] for way in WAYS}
    async with UnitOfWork(database):
        [one] = await Repository(cls).find()
    assert (one.name, one.status, one.total, one.price, one.at, one.version) == (
        "first",
        Status.NEW,
        0,
        Decimal(1),
        None,
        1,
    )


@pytest.mark.parametrize("cls", [Plain, Whole])
async def test_what_postgresql_takes_is_taken(database: Database, cls: Any) -> None:
    good: dict[str, Any] = {
        "name": Word("word"),
        "total": True,
        "status": "SENT",
        "price": 5,
        "ratio": 2,
        "is_paid": 1,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "day": datetime(2026, 1, 1, 5, tzinfo=UTC),
        "seal": bytearray(b"a"),
        "ref": UUID(int=1),
        "data": {"text": "\\u0000", "none": None},
    }
    async with UnitOfWork(database):
        await Repository(cls).add(cls(id=7, **good))
        await Repository(cls).add(cls(id=8, name="", price="3.10"))
        await Repository(cls).add(cls(id=9, name="", price=1.5))
    async with UnitOfWork(database):
        one = await Repository(cls).get(7)
        seen = (one.name, one.total, one.status, one.price, one.ratio, one.is_paid, one.at, one.day, one.seal)
        assert seen == ("word", 1, Status.SENT, 5, 2.0, True, good["at"], date(2026, 1, 1), b"a")
        assert (one.ref, one.data) == (good["ref"], good["data"])
        assert [(await Repository(cls).get(n)).price for n in (8, 9)] == [Decimal("3.10"), Decimal("1.5")]
        for n in (7, 8, 9):
            await Repository(cls).delete(n)


@pytest.mark.parametrize("cls", [Plain, Whole])
async def test_only_what_changed_is_looked_at(database: Database, cls: Any) -> None:
    if database.backend == "sqlite":
        async with UnitOfWork(database) as uow:
            longer = text(f"UPDATE {cls.__tablename__} SET name = 'much longer than ten' WHERE id = 1")
            await uow.execute(longer)
    async with UnitOfWork(database):
        (await Repository(cls).get(1)).total = 3
    async with UnitOfWork(database):
        one = await Repository(cls).get(1)
        assert one.total == 3
        await Repository(cls).delete(one)
        await Repository(cls).add(cls(id=1, name="first"))
    async with UnitOfWork(database) as uow:
        await uow.execute(text(f"UPDATE {cls.__tablename__} SET version = 1, total = 0"))


@pytest.mark.parametrize("cls", [Plain, Whole])
@pytest.mark.parametrize("values", [{"name": None}, {"name": "new", "total": -1}], ids=["missing", "check"])
async def test_a_missing_value_and_a_check_are_named(database: Database, cls: Any, values: dict[str, Any]) -> None:
    wrong = list(values)[-1]
    for id in (None, 2):
        with pytest.raises(Invalid) as caught:
            async with UnitOfWork(database):
                await Repository(cls).add(cls(id=id, **values))
        assert fields(caught) == [wrong]
    for way in (_set, _update, _find_after, _update_many):
        with pytest.raises(Invalid) as caught:
            async with UnitOfWork(database):
                await way(cls, wrong, values[wrong])
        assert (way.__name__, fields(caught)) == (way.__name__, [wrong])


@pytest.mark.parametrize(
    "make", [*(lambda id=id: Named(id) for id in (None, "", 5, "a\0")), lambda: Numbered(cast(Any, "5"))]
)
async def test_a_document_is_not_stored_without_an_id_of_its_type(
    database: Database, make: Callable[[], AggregateRoot[Any]]
) -> None:
    document = make()
    repository: Repository[Any] = Repository(type(document))
    for store in (repository.add, repository.save, lambda one: repository.insert_many([one])):
        with pytest.raises(Invalid) as caught:
            async with UnitOfWork(database):
                await store(document)
        assert fields(caught) == ["id"]
    async with UnitOfWork(database):
        assert await repository.find() == []


async def test_a_document_with_text_that_no_database_stores(database: Database) -> None:
    documents = Repository(Named)
    async with UnitOfWork(database):
        await documents.add(Named("d", "good"))
    for title in ("a\0", "a\ud800"):
        with pytest.raises(Invalid) as caught:
            async with UnitOfWork(database):
                await documents.add(Named("e", title))
        assert fields(caught) == ["title"]
        with pytest.raises(Invalid) as caught:
            async with UnitOfWork(database):
                (await documents.get("d")).title = title
        assert fields(caught) == ["title"]
    async with UnitOfWork(database):
        await documents.delete("d")
