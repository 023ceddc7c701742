"""What `uno db revision` writes is Python that makes the tables as they are declared, or it writes nothing."""

import enum
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Enum,
    Float,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    PickleType,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    Unicode,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, UserDefinedType

from uno.data import Database, Model, UtcDateTime
from uno.data.migrations.driving import Migrations
from uno.errors import Misconfigured

Make = Callable[[MetaData], Migrations]


class Mood(enum.Enum):
    good = "it's good"
    bad = 'so "bad"'


class Money(TypeDecorator[Decimal]):
    """Its arguments are not those of what it is made of, and are no Python."""

    impl = Numeric
    cache_ok = True

    def __init__(self, currency: Mood) -> None:
        super().__init__(12, 2)
        self.currency = currency


class Feeling(TypeDecorator[Mood]):
    impl = Enum(Mood, name="feeling")
    cache_ok = True


class Tags(TypeDecorator[Any]):
    """Another type on each kind of database."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        return dialect.type_descriptor(postgresql.ARRAY(Text()) if dialect.name == "postgresql" else Text())


class Outer:
    class Inner(TypeDecorator[str]):
        """Not to be found by module and name."""

        impl = String(7)
        cache_ok = True


class Point(UserDefinedType[Any]):
    cache_ok = True

    def __init__(self, unit: Mood = Mood.good) -> None:
        self.unit = unit

    def get_col_spec(self, **_: Any) -> str:
        return "point"


class Label(String):
    """A text with an argument that a migration cannot name."""

    def __init__(self, mood: Mood) -> None:
        super().__init__(20)
        self.mood = mood


BOTH: dict[str, Callable[[], list[Any]]] = {
    "info": lambda: [Column("a", Integer, info={"cls": Mood, "audit": "redact"})],
    "numbers": lambda: [
        Column("a", SmallInteger),
        Column("b", BigInteger),
        Column("c", Numeric(9, 3, asdecimal=False)),
    ],
    "floats": lambda: [Column("a", Float), Column("b", Float(53))],
    "texts": lambda: [Column("a", Unicode(9)), Column("b", String(3), comment='it\'s "his"\n\\ %s {x} %(y)s')],
    "moments": lambda: [Column("a", Date), Column("b", Time), Column("c", DateTime), Column("d", UtcDateTime())],
    "spans": lambda: [Column("a", Interval)],
    "bytes": lambda: [Column("a", LargeBinary), Column("b", PickleType)],
    "ids": lambda: [Column("a", Uuid(as_uuid=False))],
    "defaults": lambda: [
        Column("a", String, default="x", server_default="it's"),
        Column("b", Integer, default=lambda: 7, onupdate=lambda: 8),
        Column("c", Enum(Mood, native_enum=False), default=Mood.good, server_default="good"),
        Column("d", Numeric(6, 2), default=Decimal("1.5"), server_default=text("1.50")),
    ],
    "enum": lambda: [Column("a", Enum(Mood, name="mood"))],
    "enum of values": lambda: [
        Column("a", Enum(Mood, name="moods", values_callable=lambda m: [one.value for one in m]))
    ],
    "enum of a metadata": lambda: [Column("a", Enum(Mood, native_enum=False, name="mood", metadata=MetaData()))],
    "computed": lambda: [Column("a", Integer), Column("b", Integer, Computed("a * 2", persisted=True))],
    "money": lambda: [Column("a", Money(Mood.good), server_default="0")],
    "feeling": lambda: [Column("a", Feeling())],
    "tags": lambda: [Column("a", Tags())],
    "inner": lambda: [Column("a", Outer.Inner())],
    "unique": lambda: [Column("a", Integer), UniqueConstraint("a", info={"x": Mood})],
    "check": lambda: [Column("a", Text), CheckConstraint("a <> 'it''s'", name="nice", info={"x": Mood})],
    "index": lambda: [Column("a", Text), Column("b", Text), Index("ix_kinds_both", "a", "b", info={"x": Mood})],
    "keys": lambda: [Column('It\'s a "key"', Text, key="k"), Column("user", Text, key="v")],
}
POSTGRESQL: dict[str, Callable[[], list[Any]]] = {
    "arrays": lambda: [Column("a", ARRAY(Integer)), Column("b", ARRAY(UtcDateTime)), Column("c", ARRAY(Numeric(5, 2)))],
    "array of an enum": lambda: [Column("a", ARRAY(Enum(Mood, name="mood", metadata=MetaData())))],
    "identity": lambda: [Column("a", Integer, Identity(always=True, start=5, increment=2))],
    "types of its own": lambda: [
        Column("a", postgresql.INET),
        Column("b", postgresql.TSVECTOR),
        Column("c", postgresql.INT4RANGE),
        Column("d", postgresql.BIT(4)),
        Column("e", postgresql.MACADDR),
        Column("f", postgresql.INTERVAL(fields="DAY TO SECOND")),
    ],
    "index": lambda: [
        Column("a", Text),
        Column("b", Text),
        Index(
            "ix_kinds_a",
            "a",
            postgresql_include=["b"],
            postgresql_ops={"a": "text_pattern_ops"},
            postgresql_with={"fillfactor": 50},
            postgresql_where=text("b <> 'it''s'"),
        ),
    ],
}


def kinds(backend: str, *, filled: bool = True) -> MetaData:
    """A table for each case, with its columns or without."""
    metadata = MetaData(naming_convention=Model.metadata.naming_convention)
    for name, columns in {**BOTH, **(POSTGRESQL if backend == "postgresql" else {})}.items():
        own: list[Any] = [Column("id", Integer, primary_key=True), *(columns() if filled else [])]
        Table(f"with {name}", metadata, *own, comment="it's a table", info={"cls": Mood})
    return metadata


def one(*columns: Any) -> MetaData:
    metadata = MetaData()
    Table("notes", metadata, Column("id", Integer, primary_key=True), *columns)
    return metadata


@pytest.fixture
async def database(backend: str, templates: Any) -> Any:
    async with Database(await templates.empty_url(backend)) as database:
        yield database


@pytest.fixture
def made(database: Database, tmp_path: Path) -> Make:
    return lambda tables: Migrations(database, tmp_path / "migrations", [tables], application="shop:app")


@pytest.mark.parametrize("added", [False, True], ids=["in new tables", "in tables that are there"])
async def test_every_kind_of_column_is_written_so_that_it_can_be_made(made: Make, backend: str, added: bool) -> None:
    if added:
        before = made(kinds(backend, filled=False))
        await before.revise("tables")
        await before.upgrade()
    wanted = made(kinds(backend))
    path = await wanted.revise("columns")
    assert path is not None
    assert "info=" not in path.read_text()
    for _ in range(2):
        assert len(await wanted.upgrade()) == 1
        assert [str(one) for one in await wanted.differences()] == []
        assert await wanted.revise("none") is None
        await wanted.downgrade("-1")


async def test_what_is_no_python_is_told_with_its_column_and_nothing_is_written(made: Make, tmp_path: Path) -> None:
    versions = tmp_path / "migrations" / "versions"
    for kind in (Point(Mood.bad), Label(Mood.bad)):
        with pytest.raises(Misconfigured, match="a: the type .* cannot be written into a migration; give"):
            await made(one(Column("a", kind))).revise("first")
        assert list(versions.iterdir()) == []
    for said in ("<strange>", "strange"):
        with pytest.raises(Misconfigured, match=rf"in it of notes\.a is no Python: sa\.Column\('a', .*{said}"):
            await made(one(Column("b", Text), Column("a", Text, comment=Strange(said)))).revise("first")
        assert list(versions.iterdir()) == []
    assert await made(one()).revise("first") is not None


class Strange(str):
    """What it says is not in quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
