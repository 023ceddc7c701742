"""Filters of documents, and of repositories: the same on every backend and as in Python."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tests.contracts.conftest import BACKENDS, Fresh

from uno.data import Database, Filter, Repository, UnitOfWork
from uno.domain import AggregateRoot
from uno.errors import Invalid


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass(eq=False)
class Parcel(AggregateRoot[str]):
    id: str
    label: str | None = None
    count: int | None = None
    weight: float = 0.5
    price: Decimal | None = None
    fragile: bool | None = None
    size: Size = Size.SMALL
    sent: datetime | None = None
    tags: list[str] = field(default_factory=list)


LABELS = ["", "a", "A", "Olive oil", "50%", "x_y"]
PRICES = [Decimal("0"), Decimal("1.50"), Decimal("-3"), Decimal("19.99")]
MOMENTS = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 11, 21, 8, 0, 0, 7, tzinfo=UTC)]
VALUES: dict[str, list[Any]] = {
    "label": LABELS,
    "count": [-1, 0, 1, 2**40],
    "weight": [0.5, 1.25, -2.0],
    "price": PRICES,
    "fragile": [True, False],
    "size": list(Size),
    "sent": MOMENTS,
}
ORDER = ["lt", "lte", "gt", "gte"]
EVERY = ["eq", "ne", "is_null", "in", "not_in"]
OPERATORS = {
    **{name: [*EVERY, *ORDER] for name in ("count", "weight", "price", "sent")},
    "label": [*EVERY, *ORDER, "contains", "icontains", "starts_with", "ends_with"],
    "fragile": EVERY,
    "size": EVERY,
}


def parcels() -> list[Parcel]:
    made = []
    for at in range(20):
        values = {
            name: None if at % 4 == shift % 4 and name not in ("weight", "size") else known[(at + shift) % len(known)]
            for shift, (name, known) in enumerate(VALUES.items())
        }
        made.append(Parcel(f"p{at:02}", **values))
    return made


@pytest.fixture(scope="module")
async def filled(lasting: Fresh) -> dict[str, Database]:
    made = {backend: await lasting(backend) for backend in BACKENDS}
    for database in made.values():
        async with UnitOfWork(database):
            for parcel in parcels():
                await Repository(Parcel).add(parcel)
    return made


def fits(parcel: Parcel, name: str, operator: str, value: Any) -> bool:
    stored = getattr(parcel, name)
    match operator:
        case "eq" | "ne":
            return (stored == value) is (operator == "eq")
        case "is_null":
            return (stored is None) is value
        case "in" | "not_in":
            return (stored in value) is (operator == "in")
    if stored is None:
        return False
    match operator:
        case "contains":
            return value in stored
        case "icontains":
            return value.lower() in stored.lower()
        case "starts_with":
            return bool(stored.startswith(value))
        case "ends_with":
            return bool(stored.endswith(value))
    low, high = (stored, value) if operator in ("lt", "lte") else (value, stored)
    return bool(low < high or (low == high and operator.endswith("e")))


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, str, Any]:
    name = draw(st.sampled_from(sorted(VALUES)))
    operator = draw(st.sampled_from(OPERATORS[name]))
    one = st.sampled_from(VALUES[name])
    takes = {"is_null": st.booleans(), "in": st.lists(one, max_size=3), "not_in": st.lists(one, max_size=3)}
    return name, operator, draw(takes.get(operator, one))


@given(one=conditions(), other=conditions(), both=st.booleans(), turned=st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_documents_are_found_as_in_python(
    filled: dict[str, Database], one: Any, other: Any, both: bool, turned: bool
) -> None:
    first, second = (Filter(**{f"{name}__{operator}": value}) for name, operator, value in (one, other))
    wanted = first & second if both else first | second
    expected = []
    for parcel in parcels():
        each = [fits(parcel, *one), fits(parcel, *other)]
        if (all(each) if both else any(each)) is not turned:
            expected.append(parcel.id)
    for database in filled.values():
        async with UnitOfWork(database):
            found = await Repository(Parcel).find(~wanted if turned else wanted)
        assert sorted(parcel.id for parcel in found) == expected, database.backend


async def test_conditions_may_stand_beside_each_other(filled: dict[str, Database]) -> None:
    for database in filled.values():
        parcels_: Repository[Parcel] = Repository(Parcel)
        async with UnitOfWork(database):
            some = await parcels_.find(Filter(count__gte=0), label__icontains="A", sort="id")
            assert some
            assert all("a" in str(p.label).lower() for p in some)
            assert await parcels_.count(id__in=["p01", "p02"], version__gte=1) == 2
            assert await parcels_.exists(label__starts_with="Olive")


@pytest.mark.parametrize("key", ["tags__has", "tags", "fragile__lt", "nothing__gte", "label__between"])
async def test_what_cannot_be_compared_is_named(filled: dict[str, Database], key: str) -> None:
    for database in filled.values():
        async with UnitOfWork(database):
            with pytest.raises(Invalid) as caught:
                await Repository(Parcel).find(Filter(**{key: "x"}))
            assert caught.value.errors[0].field == key


@pytest.mark.parametrize(
    "pair",
    [
        ("count__gte", "1"),
        ("weight__in", "0.5,-2"),
        ("price", "1.50"),
        ("fragile", "false"),
        ("size", "l"),
        ("sent__lt", "2026-11-21T08:00:00Z"),
    ],
    ids=str,
)
async def test_texts_of_a_query_fit_the_documents_that_they_find(
    filled: dict[str, Database], pair: tuple[str, str]
) -> None:
    given = Filter.of_query([pair])
    for one in (given, ~given):
        wanted = [parcel.id for parcel in parcels() if one.fits(parcel)]
        assert 0 < len(wanted) < len(parcels())
        for database in filled.values():
            async with UnitOfWork(database):
                assert [parcel.id for parcel in await Repository(Parcel).find(one, sort="id")] == wanted


def test_a_document_that_no_database_stores_fits_what_is_of_its_own_types() -> None:
    class Unstorable(AggregateRoot[int]):
        def __init__(self, id: int, lock: "Missing", size: int) -> None:  # type: ignore[name-defined]  # noqa: F821
            super().__init__(id=id)
            self.lock, self.size = lock, size

    one = Unstorable(1, object(), 5)
    assert Filter(size__gte=5, id=1).fits(one)
    assert not Filter(size=6).fits(one)
