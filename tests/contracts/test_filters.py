"""Filters find the same rows on PostgreSQL, on SQLite and in Python, and nothing outside becomes SQL."""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from sqlalchemy import (
    BigInteger,
    ForeignKey,
    MetaData,
    Numeric,
    SmallInteger,
    delete,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import BACKENDS, Fresh

from uno.data import Database, Model, Repository, UnitOfWork
from uno.data.fields import Fields
from uno.data.filter_sql import compile_filter
from uno.data.filters import OPERATORS, Condition, Filter, Limits
from uno.domain import Specification
from uno.errors import Invalid, Misconfigured


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Shelf(Base):
    __tablename__ = "filter_shelves"
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str]
    things: Mapped[list["Stocked"]] = relationship(back_populates="shelf", viewonly=True)


class Stocked(Base):
    __tablename__ = "filter_things"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    size: Mapped[int | None]
    small: Mapped[int | None] = mapped_column(SmallInteger)
    large: Mapped[int | None] = mapped_column(BigInteger)
    weight: Mapped[float | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 2, asdecimal=True))
    fresh: Mapped[bool | None]
    colour: Mapped[Colour | None]
    code: Mapped[UUID | None]
    born: Mapped[date | None]
    seen: Mapped[datetime | None]
    data: Mapped[dict[str, Any] | None]
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("filter_shelves.id"))
    shelf: Mapped[Shelf | None] = relationship(back_populates="things", viewonly=True)


TEXTS = ["", "a", "A", "oil", "Olive oil", "100%", "a_b", "a\\b", "ä", "zz", "'; DROP TABLE filter_things --"]
NUMBERS = [-(2**31), -1, 0, 1, 2, 2**31 - 1]
UUIDS = [UUID(int=n) for n in (0, 1, 2**128 - 1)]
DATES = [date(1, 1, 1), date(2026, 11, 21), date(9999, 12, 31)]
MOMENTS = [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 11, 21, 12, 30, 0, 5, tzinfo=UTC)]
INSIDE: list[Any] = [None, True, False, 0, 1, 1.5, -3, "", "a", "1", "true", [1, "a", True], {"x": 1}]
VALUES: dict[str, list[Any]] = {
    "name": TEXTS,
    "size": NUMBERS,
    "small": [-(2**15), 0, 3, 2**15 - 1],
    "large": [-(2**63), 0, 2**63 - 1],
    "weight": [-1.5, 0.0, 0.1, 1e300],
    "price": [Decimal("-0.01"), Decimal(0), Decimal("19.99")],
    "fresh": [True, False],
    "colour": list(Colour),
    "code": UUIDS,
    "born": DATES,
    "seen": MOMENTS,
    "data.k": INSIDE,
    "shelf.label": ["left", "Right"],
}
SHELVES = {1: "left", 2: "Right"}


def rows() -> list[dict[str, Any]]:
    """Every value of every field, with NULLs between."""
    made: list[dict[str, Any]] = []
    for at in range(26):
        row: dict[str, Any] = {"id": at}
        for shift, (name, values) in enumerate(VALUES.items()):
            if "." not in name:
                row[name] = None if (at + shift) % 5 == 0 else values[(at + shift) % len(values)]
        row["data"] = (
            None if at % 7 == 0 else {"k": INSIDE[at % len(INSIDE)], "o": {"k": at}} if at % 6 else {"other": 1}
        )
        row["shelf_id"] = [None, 1, 2][at % 3]
        made.append(row)
    return made


ROWS = rows()


@pytest.fixture(scope="module")
async def filled(lasting: Fresh) -> dict[str, Database]:
    made = {backend: await lasting(backend, Base.metadata) for backend in BACKENDS}
    for database in made.values():
        transaction = await database.begin()
        shelves = [{"id": id, "label": label} for id, label in SHELVES.items()]
        await transaction.execute(Shelf.__table__.insert(), shelves)  # type: ignore[attr-defined]
        await transaction.execute(Stocked.__table__.insert(), ROWS)  # type: ignore[attr-defined]
        await transaction.commit()
        await transaction.close()
    return made


def fields(database: Database) -> Fields:
    shelf = Fields(database.plan(Shelf))  # type: ignore[arg-type]
    return Fields(database.plan(Stocked), relations={"shelf": shelf})  # type: ignore[arg-type]


async def found(database: Database, given: Filter) -> list[int]:
    where = compile_filter(given, fields(database), database.backend)
    return sorted(row.id for row in await database.query(select(Stocked.__table__.c.id).where(where)))


# ── what Python finds ──


def thing(row: dict[str, Any]) -> Stocked:
    shelf = SHELVES.get(row["shelf_id"])
    return Stocked(**row, shelf=None if shelf is None else Shelf(id=row["shelf_id"], label=shelf))


# ── any filter ──


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    name = draw(st.sampled_from(sorted(VALUES)))
    known = [one for one in VALUES[name] if not isinstance(one, list | dict)]
    kind = "json" if name.startswith("data.") else None
    allowed = SORTS.get(name, sorted(OPERATORS)) if kind is None else sorted(OPERATORS)
    operator = draw(st.sampled_from(allowed))
    values = st.sampled_from([one for one in known if one is not None])
    texts = st.sampled_from(TEXTS)
    taken: dict[str, Any] = {
        "one": texts if operator in TEXT else st.none() | values if operator in ("eq", "ne") else values,
        "several": st.lists(st.none() | values, max_size=3),
        "two": st.lists(values, min_size=2, max_size=2),
        "flag": st.booleans(),
    }
    return Condition(f"{name}__{operator}", draw(taken[OPERATORS[operator]]))


TEXT = ("contains", "icontains", "starts_with", "istarts_with", "ends_with", "iends_with")
EVERY = ["eq", "ne", "in", "not_in", "is_null"]
ORDER = ["lt", "lte", "gt", "gte", "between"]
SORTS = {
    **{name: [*EVERY, *ORDER, *TEXT] for name in ("name", "shelf.label")},
    **{name: [*EVERY, *ORDER] for name in ("size", "small", "large", "weight", "price", "born", "seen")},
    **dict.fromkeys(("fresh", "colour", "code"), EVERY),
}


def filters() -> st.SearchStrategy[Filter]:
    leaf = st.lists(conditions(), max_size=3).map(lambda parts: Filter.group("and", parts))
    return st.recursive(
        leaf,
        lambda inner: (
            st.builds(Filter.group, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3))
            | inner.map(lambda one: ~one)
        ),
        max_leaves=5,
    )


@given(given=filters())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_a_filter_finds_the_same_rows_everywhere(filled: dict[str, Database], given: Filter) -> None:
    wanted = [row["id"] for row in ROWS if given.fits(thing(row))]
    for database in filled.values():
        assert await found(database, given) == wanted, database.backend


def test_an_attribute_that_is_not_there_is_named() -> None:
    with pytest.raises(Invalid, match="Stocked has no attribute 'sise'"):
        Filter(sise__gte=3).fits(thing(ROWS[0]))


class Heavy(Specification[Stocked]):
    def __init__(self, at_least: float) -> None:
        self.at_least = at_least

    def filter(self) -> Filter:
        return Filter(weight__gte=self.at_least)


class Unspoilt(Specification[Stocked]):
    def filter(self) -> Filter:
        return Filter(fresh=True)


@pytest.mark.parametrize("rule", [Heavy(0.1), ~Heavy(0.1), Heavy(0) & Unspoilt(), Heavy(0) | ~Unspoilt()], ids=repr)
async def test_a_specification_selects_what_satisfies_it(
    filled: dict[str, Database], rule: Specification[Stocked]
) -> None:
    wanted = [row["id"] for row in ROWS if rule(thing(row))]
    assert 0 < len(wanted) < len(ROWS)
    for database in filled.values():
        async with UnitOfWork(database):
            assert [one.id for one in await Repository(Stocked).find(rule, sort="id")] == wanted
            assert await Repository(Stocked).count(rule) == len(wanted)


async def test_a_specification_without_a_filter_says_so(filled: dict[str, Database]) -> None:
    class Rare(Specification[Stocked]):
        def is_satisfied_by(self, candidate: Stocked) -> bool:
            return False

    async with UnitOfWork(filled["sqlite"]):
        with pytest.raises(Misconfigured, match=r"Rare defines no filter\(\)"):
            await Repository(Stocked).find(Unspoilt() & Rare())


# ── what nobody should send ──

ODD: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
NAMES = [
    *VALUES,
    "id",
    "data",
    "data.k.x",
    "shelf",
    "shelf.id",
    "shelf.things",
    "__class__",
    "metadata",
    "name;--",
    "data.1",
]
KEYS = st.builds(
    lambda name, operator: f"{name}__{operator}" if operator else name,
    st.sampled_from(NAMES) | st.text(max_size=6),
    st.sampled_from(["", *OPERATORS]) | st.text(max_size=4),
)


@given(said=st.dictionaries(KEYS, ODD, min_size=1, max_size=3))
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_anything_is_a_query_or_an_error_that_names_the_field(
    filled: dict[str, Database], said: dict[str, Any]
) -> None:
    for database in filled.values():
        refused = await refusal(database, said)
        assert all(any(key.startswith(name[:5]) or name in GROUPS for key in said) for name in refused)


GROUPS = ("filter", "and", "or", "not")


async def refusal(database: Database, said: dict[str, Any]) -> list[str]:
    """The fields that were refused; empty where it was a query."""
    try:
        await found(database, Filter.of(said))
    except Invalid as error:
        return [one.field for one in error.errors] or ["nothing was named"]
    return []


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("nothing", 1, "unknown"),
        ("name__like", "a", "operator"),
        ("nothing__like", "a", "unknown"),
        ("__class____eq", 1, "unknown"),
        ("shelf.things", 1, "unknown"),
        ("shelf.shelf.label", 1, "unknown"),
        ('data.k"x', 1, "unknown"),
        ("data.0", 1, "unknown"),
        ("fresh__lt", True, "operator"),
        ("data__eq", 1, "operator"),
        ("size", "many", "value"),
        ("size", 2**31, "value"),
        ("small__gt", 40000, "value"),
        ("large", 2**63, "value"),
        ("weight", math.inf, "value"),
        ("price", "NaN", "value"),
        ("name", "a\0b", "value"),
        ("name__contains", 5, "value"),
        ("code", "x", "value"),
        ("colour", "green", "value"),
        ("born", "2026-02-30", "value"),
        ("size__in", "1,2", "value"),
        ("size__between", [1], "value"),
        ("size__gt", None, "value"),
        ("size__is_null", "perhaps", "value"),
    ],
)
async def test_what_is_wrong_is_named(filled: dict[str, Database], key: str, value: Any, code: str) -> None:
    for database in filled.values():
        with pytest.raises(Invalid) as caught:
            await found(database, Filter.of({key: value}))
        assert [(e.field, e.code) for e in caught.value.errors] == [(key, code)]


async def test_keywords_ask_for_related_objects_and_for_json_as_filters_do(filled: dict[str, Database]) -> None:
    things = Repository(Stocked)
    for database in filled.values():
        async with UnitOfWork(database):
            for key, value in (("shelf.label", "left"), ("shelf.label__in", ["left"]), ("data.k", "a")):
                wanted = {one.id for one in await things.find(Filter(**{key: value}))}
                assert wanted == {one.id for one in await things.find(**{key: value})} != set()
                assert await things.count(**{key: value}) == len(wanted)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("shelf__label", r"There is no field 'shelf__label' to filter by\. Did you mean 'shelf\.label'\?"),
        ("data__k", r"Did you mean 'data\.k'\?"),
        ("name__startswith", r"name cannot be compared with startswith; it takes .*, starts_with\."),
        ("size__foo", "size cannot be compared with foo; it takes between, eq, "),
        ("shelf.label__foo", r"shelf\.label cannot be compared with foo; it takes between, contains, "),
        ("nothing__foo", r"There is no field 'nothing__foo' to filter by\.$"),
    ],
)
async def test_who_asks_otherwise_is_told_how(filled: dict[str, Database], key: str, said: str) -> None:
    for database in filled.values():
        async with UnitOfWork(database):
            with pytest.raises(Invalid, match=said):
                await Repository(Stocked).find(**{key: "a"})
            with pytest.raises(Invalid, match=said):
                await Repository(Stocked).find(Filter(**{key: "a"}))


async def test_limits_hold(filled: dict[str, Database]) -> None:
    deep: dict[str, Any] = {"size": 1}
    for _ in range(6):
        deep = {"not": deep}
    many: list[dict[str, Any]] = [{"size": n} for n in range(51)]
    for said in (deep, {"or": many}):
        with pytest.raises(Invalid):
            Filter.of(said)
    with pytest.raises(Invalid, match="at most 1000 values"):
        await found(filled["sqlite"], Filter(size__in=range(1001)))
    assert Filter.of({"or": many}, Limits(conditions=60)).kind == "and"


def test_query_parameters_are_the_same_filter() -> None:
    pairs = [("size__gte", "1"), ("name__in", r"a,b\,c"), ("fresh", "true"), ("size__between", "1,2")]
    conditions = {one.key: one.value for one in Filter.of_query(pairs).walk()}
    assert conditions == {
        "size__gte": "1",
        "name__in": ["a", "b,c"],
        "fresh": "true",
        "size__between": ["1", "2"],
    }


async def test_texts_are_read_as_the_type_of_the_field(filled: dict[str, Database]) -> None:
    python = Filter(size__gte=1, seen__lt=MOMENTS[1] + timedelta(1)) | Filter(colour=Colour.RED, code__ne=UUIDS[0])
    text = Filter.of(
        {
            "or": [
                {"size__gte": "1", "seen__lt": "2026-11-22T12:30:00.000005Z"},
                {"colour": "red", "code__ne": str(UUIDS[0])},
            ]
        }
    )
    for database in filled.values():
        assert await found(database, python) == await found(database, text) != []


TEXTS_OF_A_QUERY = [
    ("size", "1"),
    ("size__between", "-1,1"),
    ("small__in", "3,0"),
    ("large__lt", "9223372036854775807"),
    ("weight__gte", "0.1"),
    ("price", "19.990"),
    ("price__gte", "0.1"),
    ("fresh", "true"),
    ("colour", "red"),
    ("colour__not_in", "red"),
    ("code", str(UUIDS[0])),
    ("born__gt", "2026-11-21"),
    ("seen__gte", "2026-11-21T14:30:00.000005+02:00"),
    ("seen__lt", "2026-01-01"),
    ("name__is_null", "false"),
    ("data.k", "1"),
    ("data.k", '"1"'),
    ("data.k__ne", "true"),
    ("data.k__has", "1"),
    ("shelf.id", "2"),
    ("shelf.label__ne", "left"),
]


@pytest.mark.parametrize("pair", TEXTS_OF_A_QUERY, ids=str)
async def test_texts_of_a_query_fit_what_they_find(filled: dict[str, Database], pair: tuple[str, str]) -> None:
    given = Filter.of_query([pair])
    for one in (given, ~given):
        wanted = [row["id"] for row in ROWS if one.fits(thing(row))]
        assert 0 < len(wanted) < len(ROWS)
        for database in filled.values():
            assert await found(database, one) == wanted, database.backend


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", "many"),
        ("colour", "green"),
        ("born__gt", 5),
        ("size__in", 1),
        ("code", "x"),
        ("size__icontains", "1"),
        ("price__starts_with", "1"),
        ("born__has", "2026-11-21"),
        ("colour__lte", Colour.RED),
        ("data__lt", {"k": 1}),
        ("data__starts_with", [1]),
        ("data", {"k": 1}),
        ("data.k__lt", {"k": 1}),
        ("shelf.id__contains", 2),
    ],
)
async def test_what_no_query_takes_fits_nothing(filled: dict[str, Database], key: str, value: Any) -> None:
    with pytest.raises(Invalid) as in_python:
        Filter(**{key: value}).fits(thing(ROWS[0]))
    for database in filled.values():
        with pytest.raises(Invalid) as in_sql:
            await found(database, Filter(**{key: value}))
        assert in_python.value.errors == in_sql.value.errors


@pytest.mark.parametrize("key", ["data.k", "data.k__ne", "data.k__in", "data.k.m__is_null", "data.k__has"])
@pytest.mark.parametrize("stored", ["k", 1, True, [1, "k"], ["k", {"k": 1}], {"k": [1]}, {"k": 1}])
async def test_json_that_has_no_keys_has_nothing_at_any_path(
    filled: dict[str, Database], key: str, stored: Any
) -> None:
    given = Filter(**{key: {"in": [1], "is_null": False}.get(key.partition("__")[2], 1)})
    row = {**ROWS[0], "id": 99, "data": stored}
    for database in filled.values():
        async with database.transaction() as transaction:
            await transaction.execute(Stocked.__table__.insert(), row)  # type: ignore[attr-defined]
        for one in (given, ~given):
            assert (99 in await found(database, one)) is one.fits(thing(row))
        async with database.transaction() as transaction:
            await transaction.execute(delete(Stocked).where(Stocked.id == 99))


def test_a_list_that_is_changed_is_read_again() -> None:
    sizes = ["1"]
    given = Filter(size__in=sizes)
    one = thing({**ROWS[0], "size": 2})
    assert not given.fits(one)
    sizes.append("2")
    assert given.fits(one)


@pytest.mark.parametrize(
    ("key", "value"),
    [("things.size", 1), ("things.size__gt", "0"), ("things.name__ne", "a"), ("things.name__is_null", True)],
)
async def test_of_a_list_of_objects_any_fits(filled: dict[str, Database], key: str, value: Any) -> None:
    given, shelves = Filter(**{key: value}), Repository(Shelf)
    for database in filled.values():
        async with UnitOfWork(database):
            everything = await shelves.find(include="things")
            everything += [Shelf(id=9, label="empty", things=[])]
            for one in (given, ~given):
                wanted = {shelf.id for shelf in everything if one.fits(shelf)} - {9}
                assert wanted == {shelf.id for shelf in await shelves.find(one)}
            assert not given.fits(everything[-1])
