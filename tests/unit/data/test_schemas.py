"""From one declaration to what can be read, given and changed."""

import enum
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import JSON, Column, Enum, Float, Integer, MetaData, Numeric, SmallInteger, String, Table
from sqlalchemy.orm import Mapped, mapped_column, registry

from uno.data import ActorMixin, Model, Schemas, SoftDeleteMixin, TimestampMixin, ULIDMixin, VersionMixin, schemas_of
from uno.domain import AggregateRoot
from uno.errors import Misconfigured


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Money:
    pass


class Thing(ULIDMixin, VersionMixin, ActorMixin, TimestampMixin, SoftDeleteMixin, Base):
    __tablename__ = "schema_things"
    name: Mapped[str] = mapped_column(String(5))
    code: Mapped[Annotated[str, Field(pattern="^[a-z]+$")]]
    small: Mapped[int] = mapped_column(SmallInteger, default=7)
    price: Mapped[Decimal] = mapped_column(Numeric(6, 2))
    ratio: Mapped[float | None] = mapped_column(Float)
    colour: Mapped[Colour] = mapped_column(default=Colour.RED)
    size: Mapped[str | None] = mapped_column(Enum("s", "m"))
    born: Mapped[date | None]
    seen: Mapped[datetime | None]
    alarm: Mapped[time | None]
    span: Mapped[timedelta | None]
    code_of: Mapped[UUID | None]
    raw: Mapped[bytes | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    copy: Mapped[str] = mapped_column(default="")
    secret: Mapped[str] = mapped_column(default="", info={"hidden": True})
    origin: Mapped[str] = mapped_column(default="", info={"read_only": True})


GOOD: dict[str, Any] = {"name": "abc", "code": "x", "price": "1.20"}


@pytest.fixture(scope="module")
def thing() -> Schemas:
    return schemas_of(Thing)


def read(model: type[BaseModel], body: str) -> BaseModel:
    return model.model_validate_json(body, strict=True)


def test_field_lists_are_explicit(thing: Schemas) -> None:
    owned = {"id", "version", "created_at", "updated_at", "created_by", "updated_by", "deleted_at", "origin"}
    assert set(thing.read.model_fields) == {a.name for a in thing.traits} - {"secret"}
    for schema in (thing.create, thing.replace, thing.merge):
        assert set(schema.model_fields) == set(thing.read.model_fields) - owned
    assert [n for n, f in thing.create.model_fields.items() if f.is_required()] == ["name", "code", "price"]
    assert not any(f.is_required() for f in thing.merge.model_fields.values())


BAD: list[tuple[str, Any]] = [
    ("name", "abcdef"),
    ("name", None),
    ("name", 1),
    ("code", "X"),
    ("small", 2**15),
    ("small", 1.5),
    ("price", "1.234"),
    ("price", "12345.00"),
    ("price", "Infinity"),
    ("colour", "green"),
    ("size", "xl"),
    ("born", "2020-13-01"),
    ("seen", "2020-01-01T00:00:00"),
    ("seen", "0001-01-01T00:00:00+14:00"),
    ("span", 1e300),
    ("span", True),
    ("code_of", "x"),
    ("data", []),
    ("data", None),
    ("secret", "x"),
    ("version", 1),
    ("id", "x"),
    ("metadata", 1),
    ("__class__", 1),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_what_a_column_does_not_take_is_refused_before_it_is_written(thing: Schemas, name: str, value: Any) -> None:
    for schema in (thing.create, thing.replace, thing.merge):
        with pytest.raises(ValidationError) as refused:
            schema.model_validate({**GOOD, name: value})
        assert {str(error["loc"][0]) for error in refused.value.errors()} == {name}


def test_values_come_as_their_json_forms(thing: Schemas) -> None:
    made: Any = read(
        thing.create,
        """{"name": "é", "code": "x", "price": 1.5, "colour": "blue", "size": "m", "born": "2020-02-29",
        "seen": "2020-01-01T02:00:00+02:00", "alarm": "10:00:00.5", "span": 1.5, "raw": "+/8=",
        "code_of": "00000000-0000-7000-8000-000000000000", "data": {"a": [1, null]}, "ratio": 2}""",
    )
    assert (made.price, made.colour, made.raw, made.span) == (
        Decimal("1.5"),
        Colour.BLUE,
        b"\xfb\xff",
        timedelta(seconds=1.5),
    )
    assert made.seen == datetime(2020, 1, 1, tzinfo=UTC)
    assert made.seen.utcoffset() == timedelta(0)
    assert (made.alarm, made.data, made.ratio) == (time(10, 0, 0, 500_000), {"a": [1, None]}, 2.0)


def test_what_a_replacement_leaves_out_has_its_default(thing: Schemas) -> None:
    given: Any = thing.replace.model_validate(GOOD)
    whole = thing.complete(given)
    assert (whole["small"], whole["data"], whole["seen"], whole["colour"]) == (7, {}, None, Colour.RED)
    assert whole.keys() == thing.replace.model_fields.keys()
    assert whole["data"] is not thing.complete(given)["data"]


def test_absent_is_not_null(thing: Schemas) -> None:
    assert thing.merge.model_validate({"seen": None}).model_fields_set == {"seen"}
    assert thing.merge.model_validate({}).model_fields_set == set()
    assert "default" not in thing.merge.model_json_schema()["properties"]["name"]


class Shelf:
    """Mapped from outside, and no `Model`."""

    id: int
    label: str


shelves = Table("schema_shelves", MetaData(), Column("id", Integer, primary_key=True), Column("label", String(3)))
registry().map_imperatively(Shelf, shelves)


@dataclass(eq=False)
class Box(AggregateRoot[str]):
    id: str
    sides: list[int]
    lid: bool = True
    pin: str = field(default="", metadata={"hidden": True})


def test_any_mapped_class_and_any_document_has_them() -> None:
    shelf = schemas_of(Shelf)
    assert set(shelf.create.model_fields) == {"label"}
    with pytest.raises(ValidationError):
        shelf.create.model_validate({"label": "four"})
    box = schemas_of(Box, read_only=["lid"])
    assert set(box.read.model_fields) == {"id", "sides", "lid", "version"}
    assert set(box.create.model_fields) == {"id", "sides"}
    assert set(box.merge.model_fields) == {"sides"}
    with pytest.raises(ValidationError):
        box.create.model_validate({"id": "b", "sides": ["x"]})


class Priced(Base):
    __tablename__ = "schema_priced"
    id: Mapped[int] = mapped_column(primary_key=True)
    money: Mapped[Money] = mapped_column(String)


def test_a_type_without_json_is_told_unless_it_is_hidden() -> None:
    with pytest.raises(Misconfigured, match="Priced.money is of a type of which there is no JSON; hide it"):
        schemas_of(Priced)
    assert set(schemas_of(Priced, hidden=["money"]).read.model_fields) == {"id"}
    with pytest.raises(Misconfigured, match="nothing can be new without it"):
        schemas_of(Priced, hidden=["money"]).create.model_fields  # noqa: B018 - made when it is asked for


def test_times_of_any_zone_become_utc(thing: Schemas) -> None:
    zone = timezone(timedelta(hours=-5))
    made: Any = thing.merge.model_validate({"seen": datetime(2020, 1, 1, tzinfo=zone)})
    assert made.seen.isoformat() == "2020-01-01T05:00:00+00:00"
