"""The same table declared in every way that SQLAlchemy's world knows."""

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field as Limit
from sqlalchemy import JSON, BigInteger, Column, DateTime, Enum, Integer, MetaData, Numeric, String, Table
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    declarative_base,
    declared_attr,
    mapped_column,
    registry,
)
from sqlmodel import Field, SQLModel

from uno.data import Model, SoftDeleteMixin, VersionMixin
from uno.domain import AggregateRoot

# JSON of Python's None is SQL's NULL; SQLAlchemy's own default is JSON's null, which the session has to write.
AS_JSON = JSON(none_as_null=True)
TABLES = MetaData()
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


class State(enum.Enum):
    NEW = "new"
    SENT = "sent"


def long_ago() -> datetime:
    return NOW


# ── uno's own ──


class OwnTables(Model):
    __abstract__ = True
    metadata = TABLES


class Own(VersionMixin, SoftDeleteMixin, OwnTables):
    __tablename__ = "kind_own"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[Annotated[str, Limit(min_length=2)]] = mapped_column(String(20), unique=True)
    rank: Mapped[Annotated[int, Limit(ge=0)]] = mapped_column(default=1)
    state: Mapped[State] = mapped_column(default=State.NEW)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2), default=Decimal("1.50"))
    born: Mapped[datetime] = mapped_column(default=long_ago)
    data: Mapped[dict[str, Any]] = mapped_column(AS_JSON, default=dict)
    note: Mapped[str | None]


# ── SQLModel ──


class LiteTables(SQLModel):
    metadata = TABLES


class LiteBase(LiteTables):
    name: str = Field(min_length=2, max_length=20, unique=True)
    rank: int = Field(default=1, ge=0)
    state: State = State.NEW
    price: Decimal = Field(default=Decimal("1.50"), max_digits=10, decimal_places=2)
    born: datetime = Field(default_factory=long_ago)
    data: dict[str, Any] = Field(default_factory=dict, sa_type=AS_JSON)
    note: str | None = None


class Lite(LiteBase, table=True):
    __tablename__ = "kind_lite"
    id: int | None = Field(default=None, primary_key=True)
    deleted_at: datetime | None = None
    version: int = Field(default=1, sa_type=BigInteger)

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.__table__.c.version}


# ── a base of one's own ──


class Declared(DeclarativeBase):
    metadata = TABLES


class Plain(Declared):
    __tablename__ = "kind_plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[Annotated[str, Limit(min_length=2)]] = mapped_column(String(20), unique=True)
    rank: Mapped[Annotated[int, Limit(ge=0)]] = mapped_column(default=1)
    state: Mapped[State] = mapped_column(default=State.NEW)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2), default=Decimal("1.50"))
    born: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=long_ago)
    data: Mapped[dict[str, Any]] = mapped_column(AS_JSON, default=dict)
    note: Mapped[str | None]
    deleted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    version: Mapped[int] = mapped_column(BigInteger)
    __mapper_args__ = {"version_id_col": version}


class Datas(MappedAsDataclass, DeclarativeBase):
    metadata = TABLES


class Dataish(Datas):
    __tablename__ = "kind_dataish"
    id: Mapped[int] = mapped_column(init=False, primary_key=True)
    name: Mapped[Annotated[str, Limit(min_length=2)]] = mapped_column(String(20), unique=True)
    rank: Mapped[Annotated[int, Limit(ge=0)]] = mapped_column(default=1)
    state: Mapped[State] = mapped_column(default=State.NEW)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2), default=Decimal("1.50"))
    born: Mapped[datetime] = mapped_column(DateTime(timezone=True), default_factory=long_ago)
    data: Mapped[dict[str, Any]] = mapped_column(AS_JSON, default_factory=dict)
    note: Mapped[str | None] = mapped_column(default=None)
    deleted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), default=None)
    version: Mapped[int] = mapped_column(BigInteger, init=False)
    __mapper_args__ = {"version_id_col": version}


Legacy = declarative_base(metadata=TABLES)


class Old(Legacy):  # type: ignore[valid-type, misc]
    """Columns without a word about types."""

    __tablename__ = "kind_old"
    id = Column(Integer, primary_key=True)
    name = Column(String(20), nullable=False, unique=True)
    rank = Column(Integer, nullable=False, default=1)
    state = Column(Enum(State), nullable=False, default=State.NEW)
    price = Column(Numeric(10, 2), nullable=False, default=Decimal("1.50"))
    born = Column(DateTime(timezone=True), nullable=False, default=long_ago)
    data = Column(JSON, nullable=False, default=dict)
    note = Column(String)
    deleted_at = Column(DateTime(timezone=True))
    version = Column(BigInteger, nullable=False)
    __mapper_args__ = {"version_id_col": version}


# ── mapped from outside ──

outside = registry(metadata=TABLES)


def columns(*, defaults: bool, key: Any = Integer) -> list[Column[Any]]:
    made = {"rank": 1, "state": State.NEW, "price": Decimal("1.50"), "born": long_ago, "data": dict}
    said: dict[str, dict[str, Any]] = {name: {"default": one} if defaults else {} for name, one in made.items()}
    return [
        Column("id", key, primary_key=True),
        Column("name", String(20), nullable=False, unique=True),
        Column("rank", Integer, nullable=False, **said["rank"]),
        Column("state", Enum(State), nullable=False, **said["state"]),
        Column("price", Numeric(10, 2), nullable=False, **said["price"]),
        Column("born", DateTime(timezone=True), nullable=False, **said["born"]),
        Column("data", AS_JSON, nullable=False, **said["data"]),
        Column("note", String),
        Column("deleted_at", DateTime(timezone=True)),
        Column("version", BigInteger, nullable=False),
    ]


class Bare:
    """A class that knows nothing of databases."""

    def __init__(self, name: str, rank: Annotated[int, Limit(ge=0)] = 1, note: str | None = None) -> None:
        self.name = name
        self.rank = rank
        self.note = note


bare = Table("kind_bare", outside.metadata, *columns(defaults=True))
outside.map_imperatively(Bare, bare, version_id_col=bare.c.version)


@dataclass
class Data:
    """A dataclass whose defaults are its own, and not the table's."""

    name: Annotated[str, Limit(min_length=2)]
    rank: Annotated[int, Limit(ge=0)] = 1
    state: State = State.NEW
    price: Decimal = Decimal("1.50")
    born: datetime = field(default_factory=long_ago)
    data: dict[str, Any] = field(default_factory=dict)
    note: str | None = None
    deleted_at: datetime | None = None
    id: int | None = None
    version: int | None = None


datas = Table("kind_data", outside.metadata, *columns(defaults=False))
outside.map_imperatively(Data, datas, version_id_col=datas.c.version)


@dataclass(eq=False)
class Root(AggregateRoot[int]):
    name: Annotated[str, Limit(min_length=2)]
    id: int = None  # type: ignore[assignment]
    rank: Annotated[int, Limit(ge=0)] = 1
    state: State = State.NEW
    price: Decimal = Decimal("1.50")
    born: datetime = field(default_factory=long_ago)
    data: dict[str, Any] = field(default_factory=dict)
    note: str | None = None
    deleted_at: datetime | None = None


roots = Table("kind_root", outside.metadata, *columns(defaults=False))
outside.map_imperatively(Root, roots, version_id_col=roots.c.version)

KINDS: tuple[type[Any], ...] = (Own, Lite, Plain, Dataish, Old, Bare, Data, Root)
