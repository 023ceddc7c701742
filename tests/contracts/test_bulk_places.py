"""An error of many new rows says which one it is about: the same on both backends, one way or the other."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, ForeignKey, MetaData, String
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import BACKENDS, Fresh

from uno.data import Database, Model, Repository, UnitOfWork, UUIDMixin, VersionMixin, hooks
from uno.domain import AggregateRoot
from uno.errors import Conflict, Invalid


class Base(Model):
    __abstract__ = True
    metadata = MetaData(naming_convention=Model.metadata.naming_convention)


class _Columns(UUIDMixin, VersionMixin):
    sku: Mapped[str] = mapped_column(String(8), unique=True)
    stock: Mapped[int] = mapped_column(default=0)


class Plain(_Columns, Base):
    __tablename__ = "place_plain"
    __table_args__ = (CheckConstraint("stock >= 0", name="stock"),)
    plain_id: Mapped[Any] = mapped_column(ForeignKey("place_plain.id"), nullable=True)


class Hooked(_Columns, Base):
    """Each row goes the way of a single one."""

    __tablename__ = "place_hooked"
    __table_args__ = (CheckConstraint("stock >= 0", name="stock"),)
    plain_id: Mapped[Any] = mapped_column(ForeignKey("place_plain.id"), nullable=True)


class Box(AggregateRoot[str]):
    def __init__(self, id: str) -> None:
        super().__init__(id=id)


class Odd(Invalid):
    """A program's own, with a signature of its own."""

    def __init__(self, sku: str, limit: int) -> None:
        super().__init__(f"{sku} is odd")
        self.limit = limit


@pytest.fixture(autouse=True)
def hook() -> Iterator[None]:
    @hooks.before_insert(Hooked)
    def refuse(one: Hooked) -> None:
        if one.sku == "bad":
            raise Invalid.field("sku", "Nobody wants it.", "bad")
        if one.sku == "odd":
            raise Odd("odd", 7)

    yield
    hooks.remove(refuse)


@pytest.fixture(params=BACKENDS)
async def database(fresh: Fresh, request: pytest.FixtureRequest) -> Database:
    return await fresh(request.param, Base.metadata)


async def refused(database: Database, cls: type[Any], rows: list[Any], **more: Any) -> Invalid | Conflict:
    with pytest.raises((Invalid, Conflict)) as caught:
        async with UnitOfWork(database):
            await Repository(cls).insert_many(rows, **more)
    return caught.value  # type: ignore[return-value]


def told(error: Invalid | Conflict) -> tuple[Any, ...]:
    return error.row, [(one.field, one.code) for one in error.errors]


@pytest.mark.parametrize("cls", [Plain, Hooked])
async def test_a_duplicate_says_its_row(database: Database, cls: type[Any]) -> None:
    async with UnitOfWork(database):
        await Repository(cls).insert_many([{"sku": "a"}])
    for rows, row in (
        ([{"sku": "b"}, {"sku": "c"}, {"sku": "a"}], 3),
        ([{"sku": "b"}, {"sku": "c"}, {"sku": "b"}, {"sku": "d"}], 3),
        ([{"sku": f"n{n}"} for n in range(50)] + [{"sku": "a"}], 51),
    ):
        error = await refused(database, cls, rows)
        assert told(error) == (row, [("sku", "duplicate")])
        assert str(error) == f"sku: There is one with this value already (row {row})."
    error = await refused(database, cls, [{"sku": "b"}, {"sku": "c"}, {"sku": "a"}], batch=2)
    assert told(error) == (3, [("sku", "duplicate")])


@pytest.mark.parametrize("cls", [Plain, Hooked])
async def test_a_check_says_its_row(database: Database, cls: type[Any]) -> None:
    error = await refused(database, cls, [{"sku": "b", "stock": 1}, {"sku": "c", "stock": -1}, {"sku": "d"}])
    assert told(error) == (2, [("stock", "check")])


@pytest.mark.parametrize("cls", [Plain, Hooked])
async def test_a_reference_to_nothing_says_its_field(database: Database, cls: type[Any]) -> None:
    """SQLite looks at references when the statement has ended, of the rows together or of each."""
    from uno import ids

    rows = [{"sku": "b"}, {"sku": "c", "plain_id": ids.uuid7()}, {"sku": "d"}]
    assert told(await refused(database, cls, rows)) == (2, [("plain_id", "reference")])


async def test_a_hook_says_the_row_and_keeps_its_own_error(database: Database) -> None:
    error = await refused(database, Hooked, [{"sku": "b"}, Hooked(sku="bad")])
    assert told(error) == (2, [("sku", "bad")])
    error = await refused(database, Hooked, [{"sku": "b"}, {"sku": "c"}, {"sku": "odd"}])
    assert isinstance(error, Odd)
    assert (error.row, error.limit, str(error)) == (3, 7, "odd is odd (row 3)")


async def test_the_number_is_beside_the_sentences_and_in_the_text_of_the_error(database: Database) -> None:
    error = await refused(database, Hooked, [{"sku": "b"}, {"sku": "bad"}])
    assert (error.row, [one.message for one in error.errors]) == (2, ["Nobody wants it."])
    assert str(error) == "sku: Nobody wants it (row 2)."
    error = await refused(database, Plain, [{"sku": "b"}, {"sku": "c", "colour": "red"}])
    assert (error.row, str(error)) == (2, "colour: Plain has no such attribute (row 2).")


async def test_a_document_says_its_row(database: Database) -> None:
    async with UnitOfWork(database):
        await Repository(Box).add(Box("x"))
    error = await refused(database, Box, [Box("a"), Box("b"), Box("x")])
    assert error.row == 3
