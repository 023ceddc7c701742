"""PostgreSQL keeps 131,072 digits before the point and 16,383 after it; nothing else is sent in their place."""

from decimal import Decimal

import pytest
from sqlalchemy import ARRAY, MetaData, Numeric
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.errors import Invalid


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Measure(VersionMixin, Base):
    __tablename__ = "digit_measures"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    exact: Mapped[Decimal | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    several: Mapped[list[Decimal] | None] = mapped_column(ARRAY(Numeric))


MOST = Decimal("9" * 131_072 + "." + "9" * 16_383)
TOO_MANY = [
    Decimal("9" * 131_073),
    Decimal("1E+131072"),
    Decimal("-1E+140000"),
    Decimal("1E-16384"),
    Decimal("1E-70000"),
]


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, request: pytest.FixtureRequest) -> Database:
    return await fresh("postgresql", Base.metadata, commit=request.param)


@pytest.mark.parametrize("value", [MOST, MOST.copy_negate(), *map(Decimal, ("1E+131071", "1E-16383", "NaN", "0"))])
async def test_what_fits_is_kept_to_the_last_digit(database: Database, value: Decimal) -> None:
    async with UnitOfWork(database):
        await Repository(Measure).add(Measure(id=1, exact=value, several=[value]))
    async with UnitOfWork(database):
        stored = await Repository(Measure).get(1)
        assert stored.exact == value or value.is_nan()
        assert [str(one) for one in stored.several or ()] == [str(stored.exact)]


@pytest.mark.parametrize("value", TOO_MANY, ids=range(len(TOO_MANY)))
@pytest.mark.parametrize("name", ["exact", "price"])
async def test_more_is_refused_by_name_and_nothing_is_written(database: Database, name: str, value: Decimal) -> None:
    measures = Repository(Measure)
    with pytest.raises(Invalid) as caught:
        async with UnitOfWork(database):
            await measures.add(Measure(id=1, **{name: value}))
    assert [(one.field, one.code) for one in caught.value.errors] == [(name, "too_large")]
    async with UnitOfWork(database):
        await measures.add(Measure(id=1, exact=Decimal(1)))
    with pytest.raises(Invalid) as caught:
        async with UnitOfWork(database):
            setattr(await measures.get(1), name, value)
    assert [one.field for one in caught.value.errors] == [name]
    with pytest.raises(Invalid, match=name):
        async with UnitOfWork(database):
            await measures.insert_many([{"id": 2}, {"id": 3, name: value}])
    async with UnitOfWork(database):
        assert [(one.id, one.exact, one.price) for one in await measures.find()] == [(1, Decimal(1), None)]


async def test_whole_numbers_are_counted_too(database: Database) -> None:
    with pytest.raises(Invalid):
        async with UnitOfWork(database):
            await Repository(Measure).add(Measure(id=1, exact=10**131_072))  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        async with UnitOfWork(database):
            await Repository(Measure).add(Measure(id=1, several=[Decimal(1), TOO_MANY[0]]))
