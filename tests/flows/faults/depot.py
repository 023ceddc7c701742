"""A depot whose tables are resources, to be asked by clients that mean no good, or have no luck."""

import asyncio
import enum
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2
from sqlalchemy import ARRAY, JSON, CheckConstraint, DateTime, Float, ForeignKey, MetaData, Numeric, String, event, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from uno.api import asgi
from uno.app import App, Module, Route, resource
from uno.bus import command_handler
from uno.data import Database, Model, Repository, SoftDeleteMixin, TimestampMixin, UUIDMixin, VersionMixin
from uno.data.model import ActorMixin, UtcDateTime
from uno.domain import AggregateRoot
from uno.messages import Command
from uno.settings import DatabaseSettings


class Base(Model):
    __abstract__ = True
    metadata = MetaData(naming_convention=Model.metadata.naming_convention)


class Grade(enum.Enum):
    COMMON = "common"
    RARE = "rare"


class Supplier(Base):
    """No version: a key of the database's, and a secret."""

    __tablename__ = "depot_suppliers"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(20), unique=True)
    name: Mapped[str | None] = mapped_column(String(40))
    city: Mapped[str | None] = mapped_column(String(40))
    password: Mapped[str] = mapped_column(default="s3cret", info={"hidden": True})


@event.listens_for(Supplier.__table__, "before_create")
def _stricter(table: Any, *_: Any, **__: Any) -> None:
    """The database takes less than the model says."""
    table.c.city.nullable = False


@event.listens_for(Supplier.__table__, "after_create")
def _as_declared(table: Any, *_: Any, **__: Any) -> None:
    table.c.city.nullable = True


class Item(UUIDMixin, VersionMixin, TimestampMixin, ActorMixin, SoftDeleteMixin, Base):
    __tablename__ = "depot_items"
    sku: Mapped[str] = mapped_column(String(20), unique=True)
    shelf: Mapped[str | None] = mapped_column(String(10))
    place: Mapped[int | None]
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2), default=Decimal("1.00"))
    stock: Mapped[int] = mapped_column(default=0)
    weight: Mapped[float | None] = mapped_column(Float)
    active: Mapped[bool] = mapped_column(default=True)
    grade: Mapped[Grade] = mapped_column(default=Grade.COMMON)
    made_on: Mapped[date | None]
    seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    batch: Mapped[UUID | None]
    label: Mapped[bytes | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    left_at: Mapped[datetime | None] = mapped_column(DateTime)
    marks: Mapped[list[str] | None] = mapped_column(ARRAY(String).with_variant(JSON(none_as_null=True), "sqlite"))
    margin: Mapped[int] = mapped_column(default=30, info={"hidden": True})
    tenant: Mapped[str | None]
    supplier_id: Mapped[int | None] = mapped_column(ForeignKey("depot_suppliers.id"))
    supplier: Mapped[Supplier | None] = relationship(viewonly=True)
    __table_args__ = (CheckConstraint("stock >= 0", name="stock_is_there"),)


class Counter(VersionMixin, Base):
    __tablename__ = "depot_counters"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(default=0)


class Shift(Base):
    """A key of two parts, a duration, a moment. It is opened by tests that need it."""

    __tablename__ = "depot_shifts"
    place: Mapped[str] = mapped_column(String(10), primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str | None] = mapped_column(unique=True)
    took: Mapped[timedelta | None]
    began: Mapped[datetime | None] = mapped_column(UtcDateTime)
    wage: Mapped[Decimal | None] = mapped_column(Numeric(5, 2))


class Crate(AggregateRoot[str]):
    """A document."""

    def __init__(
        self,
        id: str,
        label: str,
        weight: int = 0,
        ratio: float = 1.5,
        worth: Decimal = Decimal("1.50"),
        closed: bool = False,
        grade: Grade = Grade.COMMON,
        packed_at: datetime | None = None,
        packed_on: date | None = None,
    ) -> None:
        super().__init__(id=id)
        self.label = label
        self.weight = weight
        self.ratio = ratio
        self.worth = worth
        self.closed = closed
        self.grade = grade
        self.packed_at = packed_at
        self.packed_on = packed_on


class Weigh(Command[int]):
    """Asks somebody else how much there is, and writes it down."""

    counter_id: int
    seconds: float


@command_handler(Weigh)
async def weigh(command: Weigh, counters: Repository[Counter]) -> int:
    counter = await counters.get(command.counter_id)
    await asyncio.sleep(command.seconds)  # the foreign call: nothing is held meanwhile
    await counters.add(Counter())
    return counter.number


ALL = ("list", "create", "get", "replace", "merge", "delete", "restore", "history", "bulk_create", "bulk_delete")
SIMPLE = tuple(one for one in ALL if one != "restore")
FILTERABLE = (
    *("id", "sku", "shelf", "place", "price", "stock", "weight", "active", "grade", "made_on", "seen_at", "batch"),
    *("left_at", "marks", "label", "data", "supplier_id", "supplier.code", "version", "created_at"),
)


def depot(url: str, **settings: Any) -> App:
    routes: list[Any] = [
        resource(Item, access="open", operations=ALL, filterable=FILTERABLE),
        resource(Supplier, access="open", operations=SIMPLE),
        resource(Counter, access="open", operations=SIMPLE),
        resource(Crate, access="open", operations=SIMPLE),
        Route(Weigh, path="/weighings", access="open"),
    ]
    module = Module("depot", routes=routes, handlers=[weigh])
    return App(module, database=Database(url, settings=DatabaseSettings(**settings)))


def served() -> App:
    """The application of a process of its own."""
    return depot(os.environ["UNO_DB_URL"])


@asynccontextmanager
async def calling(app: App) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=asgi(app))
    async with app, httpx2.AsyncClient(transport=transport, base_url="http://depot") as client:
        yield client


Client = httpx2.AsyncClient


async def get_raw(client: Client, path: str, query: bytes) -> httpx2.Response:
    """GET with a query of any length, which clients refuse to send."""
    api: Any = client._transport.app  # type: ignore[attr-defined]
    return await ask(api, "GET", path, query=query)


async def ask(
    api: Any, method: str, path: str, body: Any = None, query: bytes = b"", **headers: str
) -> httpx2.Response:
    """A request that goes straight to the application; `if_match="…"` is the header If-Match."""
    sent: list[dict[str, Any]] = []
    content = b"" if body is None else json.dumps(body).encode()
    said = {"host": "depot", "content-type": "application/json", "content-length": str(len(content)), **headers}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in said.items()],
    }
    waiting = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()  # nobody disconnects
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await api(scope, receive, send)
    answer = b"".join(one.get("body", b"") for one in sent[1:])
    return httpx2.Response(sent[0]["status"], headers=sent[0]["headers"], content=answer)


def database_of(app: App) -> Database:
    assert app.database is not None
    return app.database


async def rows_of(app: App, table: str) -> list[dict[str, Any]]:
    """All rows as they are stored, whoever may see them."""
    return [dict(row._mapping) for row in await database_of(app).query(text(f"SELECT * FROM {table} ORDER BY id"))]


async def counted(app: App, table: str) -> int:
    return len(await database_of(app).query(text(f"SELECT 1 FROM {table}")))


def problems_in(response: httpx2.Response) -> list[dict[str, str]]:
    """What a problem document says is wrong."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    found: list[dict[str, str]] = response.json().get("errors", [])
    return found


def fields_in(response: httpx2.Response) -> list[str]:
    return [one["field"] for one in problems_in(response)]


# ── what the database was asked ──

_TEXTS = re.compile(r"'(?:[^']|'')*'")
_OF_TABLE = re.compile(r'"?(\w+)"?\."?(\w+)"?')


@contextmanager
def sql_log(app: App) -> Iterator[list[str]]:
    """What reaches the drivers, through SQLAlchemy and past it; to be begun before the application starts."""
    statements: list[str] = []
    engine = database_of(app).engine.sync_engine

    def through(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    def opened(connection: Any, _record: Any) -> None:
        driver = connection.driver_connection
        if engine.dialect.name == "postgresql":
            driver.add_query_logger(lambda record: statements.append(record.query))
        else:
            driver.execute = _noting(driver.execute, statements)
            driver.execute_fetchall = _noting(driver.execute_fetchall, statements)

    event.listen(engine, "before_cursor_execute", through)
    event.listen(engine, "connect", opened)
    yield statements
    event.remove(engine, "before_cursor_execute", through)
    event.remove(engine, "connect", opened)


def _noting(execute: Callable[..., Any], statements: list[str]) -> Callable[..., Any]:
    def noting(sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    return noting


def undeclared(statements: Sequence[str]) -> list[tuple[str, str]]:
    """Columns in statements that no table declares."""
    tables = Base.metadata.tables
    found = {pair for one in set(statements) for pair in _OF_TABLE.findall(_TEXTS.sub("''", one))}
    return [(table, column) for table, column in found if table in tables and column not in tables[table].c]


def asked_for(statement: str) -> str:
    """The part of a statement that a client can choose: its conditions and its order."""
    plain = _TEXTS.sub("''", statement)
    return plain[found.start() :] if (found := re.search(r"\b(WHERE|ORDER BY)\b", plain)) else ""
