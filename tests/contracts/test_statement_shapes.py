"""Conditions of one shape share a statement, and never each other's values."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from sqlalchemy import ColumnElement, MetaData, and_, bindparam, insert, literal, not_, or_, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Mapped, mapped_column, with_loader_criteria
from tests.contracts.conftest import Fresh

from uno.data import Database, Model, Repository, UnitOfWork

NUMBERS = range(1, 11)


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Span(Base):
    __tablename__ = "shape_spans"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    low: Mapped[int]
    high: Mapped[int]


spans = Repository(Span)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(fresh: Fresh, request: pytest.FixtureRequest) -> Database:
    database = await fresh(request.param, tables=Base.metadata)
    async with UnitOfWork(database) as uow:
        await uow.execute(insert(Span).values([{"id": n, "low": n, "high": 10 * n} for n in NUMBERS]))
    return database


async def found(*conditions: Any, **more: Any) -> list[int]:
    return [one.id for one in await spans.find(*conditions, **more)]


async def test_one_value_in_two_conditions_is_not_two_values(database: Database) -> None:
    five = literal(5)
    async with UnitOfWork(database, read_only=True):
        assert await found(Span.low >= five, Span.id <= five) == [5]
        two = (Span.low >= literal(3), Span.id <= literal(7))
        assert await found(*two) == [3, 4, 5, 6, 7]
        assert await spans.count(*two) == 5
        assert await spans.count(Span.low >= five, Span.id <= five) == 1
        assert not await spans.exists(Span.low <= literal(2), Span.id >= literal(3))
        page = await spans.page(*two, limit=3)
        assert [one.id for one in page.items] == [3, 4, 5]
    once = Span.low == 4
    async with UnitOfWork(database, read_only=True):
        assert await found(once, once) == [4]
        assert await found(Span.low == 4, Span.low == 5) == []


@pytest.mark.parametrize("name", ["size", "start", "more"])
async def test_parameters_may_have_any_name(database: Database, name: str) -> None:
    async with UnitOfWork(database, read_only=True):
        assert await found(Span.low >= bindparam(name, 8), limit=2) == [8, 9]
        assert await found(Span.low >= bindparam(name, 7), limit=2, offset=1) == [8, 9]
        page = await spans.page(Span.low >= bindparam(name, 6), limit=4)
        assert [one.id for one in page.items] == [6, 7, 8, 9]


async def test_a_parameter_without_a_value_is_an_error(database: Database) -> None:
    async with UnitOfWork(database, read_only=True):
        with pytest.raises(InvalidRequestError, match="'low'"):
            await spans.find(Span.low > bindparam("low"))
        with pytest.raises(InvalidRequestError, match="'low'"):
            await spans.count(Span.low > bindparam("low"))


async def test_values_that_are_no_parameters_of_the_statement_are_taken_as_usual(database: Database) -> None:
    async with UnitOfWork(database, read_only=True) as uow:
        for low in (3, 4):
            within = Span.id.in_(select(Span.id).options(with_loader_criteria(Span, Span.low == low)))
            usual = (await uow.execute(select(Span.id).where(within).order_by(Span.id))).scalars().all()
            assert await found(within) == usual
            assert await spans.count(within) == len(usual)


# Some stand in several conditions.
SHARED = [literal(n) for n in (3, 5, 8)]
VALUES = st.one_of(st.integers(0, 11), st.sampled_from(SHARED), st.sampled_from(SHARED))


def compared(column: Any, sign: str, value: Any) -> ColumnElement[bool]:
    return column <= value if sign == "<=" else column >= value  # type: ignore[no-any-return]


LEAVES = st.builds(
    compared,
    st.sampled_from([Span.low, Span.id]),
    st.sampled_from(["<=", ">="]),
    VALUES,
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda all_of: and_(*all_of)),
        st.lists(inner, min_size=1, max_size=3).map(lambda any_of: or_(*any_of)),
        inner.map(not_),
    ),
    max_leaves=4,
)

# A few shapes, each many times.
PLAIN = st.lists(LEAVES, min_size=2, max_size=2)
QUESTIONS = st.lists(st.one_of(PLAIN, st.lists(CONDITIONS, min_size=1, max_size=3)), min_size=5, max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(QUESTIONS)
async def test_what_is_found_is_what_sqlalchemy_finds(
    database: Database, questions: list[list[ColumnElement[bool]]]
) -> None:
    async with UnitOfWork(database, read_only=True) as uow:
        for conditions in questions:
            usual = list((await uow.execute(select(Span.id).where(*conditions).order_by(Span.id))).scalars())
            assert await found(*conditions, sort="id") == usual
            assert await spans.count(*conditions) == len(usual)
