"""What documents are found and sorted by, and how their classes may change."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from uno.data import Database, Repository, UnitOfWork
from uno.data.tables import documents
from uno.domain import AggregateRoot
from uno.errors import Invalid, Misconfigured

Fresh = Callable[..., Awaitable[Database]]
EAST = timezone(timedelta(hours=2))


class Colour(Enum):
    BLUE = "blue"
    RED = "red"


class Level(IntEnum):
    LOW = 2
    HIGH = 10


class Line(BaseModel):
    amount: int


@dataclass
class Sample(AggregateRoot[str]):
    id: str
    integer: int | None = None
    positive: Annotated[int, Field(gt=0)] | None = None
    real: float | None = None
    decimal: Decimal | None = None
    yes: bool | None = None
    text: str | None = None
    uuid: UUID | None = None
    colour: Colour | None = None
    level: Level | None = None
    word: Literal["a", "b"] | None = None
    day: date | None = None
    moment: datetime | None = None
    hour: time | None = None
    duration: timedelta | None = None
    raw: bytes | None = None
    line: Line | None = None
    lines: list[Line] = field(default_factory=list)
    mixed: int | str = 0


@dataclass
class Other(AggregateRoot[str]):
    """Has under the same names what cannot be cast to the types of the other one."""

    id: str
    decimal: str = "no decimal"
    moment: str = "not yet"
    integer: str = "none"


# In ascending order, the third one far from the second.
SCALARS: dict[str, list[Any]] = {
    "integer": [-3, 5, 10_000_000_000],
    "positive": [1, 9, 10],
    "real": [-0.5, 0.1, 1e300],
    "decimal": [Decimal("-1.10"), Decimal("9.5"), Decimal("10")],
    "text": ["a", "b", "b c"],
    "uuid": [UUID(int=1), UUID(int=2), UUID(int=2**127)],
    "colour": [Colour.BLUE, Colour.RED],
    "level": [Level.LOW, Level.HIGH],
    "word": ["a", "b"],
    "yes": [False, True],
    "day": [date(1, 2, 3), date(2024, 2, 29), date(2024, 10, 1)],
    "moment": [
        datetime(1960, 1, 1, 12, 0, 0, 5, EAST),
        datetime(2024, 1, 1, 12, tzinfo=UTC),
        datetime(2024, 1, 1, 12, 0, 0, 1, UTC),
        datetime(2024, 1, 1, 13, tzinfo=timezone(timedelta(hours=-1))),
        datetime(2024, 1, 1, 16, 30, tzinfo=EAST),
    ],
    "hour": [time(1), time(1, 0, 0, 500_000), time(23, 59)],
}
SAME: list[tuple[str, Any, Any]] = [
    ("decimal", Decimal("30.00"), Decimal(30)),
    ("decimal", Decimal(30), Decimal("30.000")),
    ("decimal", Decimal("1E+3"), Decimal(1000)),
    ("decimal", Decimal("-0.00"), Decimal(0)),
    ("decimal", Decimal("12345678901234567890.000000000000000012"), Decimal("12345678901234567890.000000000000000012")),
    ("decimal", Decimal("2.50"), "2.5"),
    ("moment", datetime(2024, 1, 1, 12, tzinfo=UTC), datetime(2024, 1, 1, 14, tzinfo=EAST)),
    ("moment", datetime.fromisoformat("2024-01-01T12:00:00"), datetime.fromisoformat("2024-01-01T12:00:00")),
    ("uuid", UUID(int=7), str(UUID(int=7))),
    ("colour", Colour.RED, "red"),
    ("level", Level.HIGH, 10),
    ("real", 2.0, 2),
    ("duration", timedelta(days=1), timedelta(hours=24)),
    ("raw", b"\xff\x00", b"\xff\x00"),
]
DIFFERENT: list[tuple[str, Any, Any]] = [
    ("decimal", Decimal("12345678901234567890.000000000000000012"), Decimal("12345678901234567890.000000000000000013")),
    ("decimal", Decimal(100), Decimal(1)),
    ("moment", datetime(2024, 1, 1, 12, tzinfo=UTC), datetime(2024, 1, 1, 12, tzinfo=EAST)),
    ("moment", datetime(2024, 1, 1, 12, 0, 0, 1, UTC), datetime(2024, 1, 1, 12, tzinfo=UTC)),
    ("positive", 1, -1),
    ("text", "5", "05"),
    ("integer", 5, 2**70),
]


@pytest.fixture
async def database(backend: str, fresh: Fresh) -> Database:
    return await fresh(backend)


async def stored(database: Database, *samples: AggregateRoot[str]) -> None:
    async with UnitOfWork(database):
        for one in samples:
            await Repository(type(one)).add(one)


async def ids(database: Database, **query: Any) -> list[str]:
    async with UnitOfWork(database):
        return [one.id for one in await Repository(Sample).find(**query)]


def of(name: str, *values: Any) -> list[Sample]:
    return [Sample(str(n), **{name: value}) for n, value in enumerate(values)]


@pytest.mark.parametrize("name", SCALARS)
async def test_documents_are_found_by_the_value_of_an_attribute_and_by_its_absence(
    database: Database, name: str
) -> None:
    values = SCALARS[name]
    await stored(database, Other("o"), *of(name, *values, None))
    for n, value in enumerate(values):
        assert await ids(database, **{name: value}) == [str(n)]
    assert await ids(database, **{name: None}) == [str(len(values))]
    async with UnitOfWork(database):
        assert await Repository(Sample).count(**{name: values[0]}) == 1


@pytest.mark.parametrize("name", SCALARS)
async def test_documents_are_sorted_by_the_order_of_the_values(database: Database, name: str) -> None:
    values = SCALARS[name]
    await stored(database, Other("o"), *of(name, *reversed(values)))
    ascending = [str(n) for n in reversed(range(len(values)))]
    assert await ids(database, sort=name) == ascending
    assert await ids(database, sort=f"-{name}") == ascending[::-1]


@pytest.mark.parametrize(("name", "held", "wanted"), SAME)
async def test_values_that_are_equal_are_found(database: Database, name: str, held: Any, wanted: Any) -> None:
    await stored(database, *of(name, held))
    assert await ids(database, **{name: wanted}) == ["0"]


@pytest.mark.parametrize(("name", "held", "wanted"), DIFFERENT)
async def test_values_that_differ_are_not_found(database: Database, name: str, held: Any, wanted: Any) -> None:
    await stored(database, *of(name, held))
    assert await ids(database, **{name: wanted}) == []


async def test_a_value_of_another_type_is_invalid(database: Database) -> None:
    with pytest.raises(Invalid, match=r"Sample\.uuid is never such a str"):
        await ids(database, uuid="x")


@pytest.mark.parametrize("name", ["line", "lines", "mixed"])
async def test_what_cannot_be_compared_is_refused_with_the_way_out(database: Database, name: str) -> None:
    with pytest.raises(Misconfigured, match=rf"Sample\.{name} cannot be filtered by; .* store Sample in a table"):
        await ids(database, **{name: 1})
    with pytest.raises(Misconfigured, match=rf"Sample\.{name} cannot be sorted by"):
        await ids(database, sort=name)


@pytest.mark.parametrize("name", ["duration", "raw"])
async def test_what_has_no_stored_order_cannot_be_sorted_by(database: Database, name: str) -> None:
    with pytest.raises(Misconfigured, match=rf"Sample\.{name} cannot be sorted by"):
        await ids(database, sort=f"-{name}")


async def test_an_unknown_attribute_is_refused(database: Database) -> None:
    with pytest.raises(Invalid, match="There is no field .nothing. to sort by"):
        await ids(database, sort="nothing")


@dataclass
class Flight(AggregateRoot[str]):
    id: str
    name: str = "?"
    seats: int = 100
    price: Decimal = Decimal("9.50")
    stops: list[str] = field(default_factory=list)


class Train(AggregateRoot[str]):
    note: str = "quiet"
    wagons: list[int]

    def __init__(self, id: str, seats: int = 40, wagons: list[int] | None = None) -> None:
        super().__init__(id=id)
        self.seats = seats
        self.wagons = wagons or []


async def rewrite(database: Database, body: dict[str, Any]) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(documents.update().values(body=body))


async def test_a_dataclass_may_get_new_attributes_with_defaults(database: Database) -> None:
    await stored(database, Flight("f"))
    await rewrite(database, {"price": "1"})
    async with UnitOfWork(database):
        flight = await Repository(Flight).get("f")
        assert (flight.name, flight.seats, flight.price, flight.stops) == ("?", 100, Decimal(1), [])
    async with UnitOfWork(database):
        assert (await Repository(Flight).get("f")).version == 1


async def test_a_plain_class_may_get_new_attributes_with_defaults(database: Database) -> None:
    await stored(database, Train("t"))
    await rewrite(database, {"wagons": [1]})
    async with UnitOfWork(database):
        train = await Repository(Train).get("t")
        assert (train.note, train.seats, train.wagons) == ("quiet", 40, [1])


async def test_a_default_is_found_and_sorted_as_if_it_were_stored(database: Database) -> None:
    await stored(database, Flight("old"))
    await rewrite(database, {})
    await stored(database, Flight("small", seats=20), Flight("large", seats=200))
    async with UnitOfWork(database):
        flights = Repository(Flight)
        assert [one.id for one in await flights.find(sort="seats")] == ["small", "old", "large"]
        assert [one.id for one in await flights.find(seats=100)] == ["old"]
        assert [one.id for one in await flights.find(price=Decimal("9.5"), name="?", sort="-id")] == [
            "small",
            "old",
            "large",
        ]
        assert await flights.find(seats=None) == []


async def test_an_attribute_called_name_does_not_name_the_kind(database: Database) -> None:
    assert database.plan(Flight).key("f")[0].endswith("Flight")


async def test_a_default_that_does_not_fit_its_annotation_is_none(database: Database) -> None:
    await stored(database, Train("t"))
    await rewrite(database, {"seats": 3})
    with pytest.raises(Misconfigured, match=r"wagons \(Field required\); give a new attribute a default") as caught:
        async with UnitOfWork(database):
            await Repository(Train).get("t")
    assert "pydantic" not in str(caught.value)


async def test_a_document_that_does_not_fit_is_a_bug_and_shows_no_values(database: Database) -> None:
    await stored(database, Train("t"))
    await rewrite(database, {"seats": "secret", "wagons": [], "gone": 1})
    with pytest.raises(Misconfigured, match="The stored Train 't' does not fit its class: ") as caught:
        async with UnitOfWork(database):
            await Repository(Train).get("t")
    assert "secret" not in str(caught.value)
    assert "gone (Extra inputs are not permitted)" in str(caught.value)
