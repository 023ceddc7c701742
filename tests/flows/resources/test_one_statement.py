"""One row created or changed by one statement of PostgreSQL: the same answers, rows and audit rows as the usual way."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import combinations
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import CheckConstraint, ForeignKey, Numeric, String, select
from sqlalchemy.orm import Mapped, mapped_column, validates
from tests.flows.resources.shop import Base, Client, State, calling

from uno.api import build_crud_router
from uno.app import App, Module, resource
from uno.audit.tables import audit
from uno.data import Database, Repository, SoftDeleteMixin, TimestampMixin, UUIDMixin, VersionMixin, direct, hooks
from uno.data.lease import Lease
from uno.errors import NotFound
from uno.testing.postgres import DatabaseFarm

DIFFERENT = {"id", "created_at", "deleted_at", "updated_at", "correlation_id", "trace_id", "instance"}
TICKET = {"number": "A-1", "price": "9.90"}
# The tag that it has now.
NOW = "now"
# Method, body, If-Match.
REQUESTS: Sequence[tuple[str, Any, str | None]] = (
    ("PATCH", {"note": "it\u00e4 \"quoted\" \\ 'x'"}, NOW),
    ("PATCH", {"amount": 7, "price": 12, "state": "sent"}, '"2"'),
    ("PATCH", {"amount": 7}, NOW),
    ("PATCH", {"amount": 7}, '"1"'),
    ("PATCH", {"amount": 8}, '"1", W/"3", "x", "99999999999"'),
    ("PATCH", {"amount": 8}, '"1", "3"'),
    ("PATCH", {"note": None}, "*"),
    ("PATCH", {"amount": 0}, NOW),
    ("PATCH", {"amount": 9}, '"x"'),
    ("PATCH", {"data": {"a": {"b": 1}}}, None),
    ("PATCH", {"data": {"a": {"c": 2}}, "amount": 2}, NOW),
    ("PATCH", {}, NOW),
    ("PATCH", {"number": "B-2"}, NOW),
    ("PATCH", {"customer_id": 77}, NOW),
    ("PATCH", {"note": "\u0000"}, NOW),
    ("PUT", {"number": "C", "price": "1.00"}, NOW),
    ("PUT", {"number": "C", "price": "1.00", "amount": 3}, '"1"'),
    ("DELETE", None, None),
    ("PATCH", {"note": "gone"}, NOW),
)


class Ticket(UUIDMixin, VersionMixin, TimestampMixin, SoftDeleteMixin, Base):
    """A bit of everything, all of it plain."""

    __tablename__ = "rest_tickets"
    number: Mapped[str] = mapped_column(String(12), unique=True)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    amount: Mapped[int] = mapped_column(default=1)
    state: Mapped[State] = mapped_column(default=State.NEW)
    note: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    secret: Mapped[str] = mapped_column(default="s3cret", info={"hidden": True})
    origin: Mapped[str] = mapped_column(default="shop", info={"read_only": True})
    tenant: Mapped[str | None]
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("rest_customers.id"))
    __table_args__ = (CheckConstraint("amount > 0", name="some"),)


def shop(database: Any) -> App:
    return App(Module("tickets", routes=[resource(Ticket, access="open")]), database=database)


async def a_ticket(client: Client, number: str = "A-1", **values: Any) -> httpx2.Response:
    response = await client.post("/tickets", json={"number": number, "price": "9.90", **values})
    assert response.status_code == 201, response.text
    return response


def test_such_a_class_is_written_in_one_statement() -> None:
    assert resource(Ticket).in_one_statement is not None
    assert all(resource(one).in_one_statement is None for one in (Strict, Made, Owns))


@pytest.fixture
async def url(farm: DatabaseFarm) -> str:
    return await farm.create("shop")


@asynccontextmanager
async def serving(url: str, way: str) -> AsyncIterator[Client]:
    """With `batch` everything is written in the usual way."""
    async with calling(shop(Database(url, commit=way))) as client:
        yield client


async def told(url: str, way: str) -> list[Any]:
    """Everything that is answered and written down."""
    async with serving(url, way) as client:
        answers = [
            await client.post("/tickets", json=TICKET),
            await client.post("/tickets", json={**TICKET, "number": "B-2"}),
        ]
        answers.append(await client.post("/tickets", json=TICKET))
        answers.append(await client.post("/tickets", json={**TICKET, "number": "x" * 13}))
        answers.append(
            await client.post("/tickets", json={"number": "D", "price": "1.5", "state": "sent", "note": "n"})
        )
        there = answers[0].headers["location"]
        tags = {NOW: answers[0].headers["etag"]}
        for method, body, tag in REQUESTS:
            headers = {} if tag is None else {"If-Match": tags.get(tag, tag)}
            answers.append(await client.request(method, there, json=body, headers=headers))
            tags[NOW] = answers[-1].headers.get("etag", tags[NOW])
        keys = [answer.headers["location"].rpartition("/")[2] for answer in answers if "location" in answer.headers]
        found = [_shown(answer, keys[0]) for answer in answers]
    async with Database(url) as database:
        rows = await database.query(select(audit).order_by(audit.c.id))
    return [*found, *(_entry(row._asdict(), keys) for row in rows)]


def _shown(answer: httpx2.Response, key: str) -> Any:
    body = json.loads(answer.text.replace(key, "KEY")) if answer.content else None
    return answer.status_code, answer.headers.get("etag"), _same(body)


def _entry(row: dict[str, Any], keys: list[str]) -> Any:
    own = {"record_id": keys.index(row["record_id"]), "before": _same(row["before"]), "after": _same(row["after"])}
    kept = ("kind", "component", "operation", "actor", "actor_source", "tenant")
    return {name: row[name] for name in kept} | own


def _same(shown: Any) -> Any:
    return {n: v for n, v in shown.items() if n not in DIFFERENT} if isinstance(shown, dict) else shown


async def test_both_ways_answer_and_write_the_same(farm: DatabaseFarm, url: str) -> None:
    usual, direct = await told(await farm.create("shop"), "batch"), await told(url, "auto")
    for one, other in zip(usual, direct, strict=True):
        assert one == other


async def test_both_ways_refuse_the_same(url: str) -> None:
    async with serving(url, "auto") as client:
        missing = f"/tickets/{'0' * 8}-0000-7000-8000-{'0' * 12}"
        assert (await client.patch(missing, json={"note": "x"})).status_code == 404
        assert (await client.patch(missing, json={"note": "x"}, headers={"If-Match": '"1"'})).status_code == 404
        large = await client.post("/tickets", json={"number": "A", "price": 1, "amount": 2**31})
        assert large.status_code == 422


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What leases are asked to run."""
    found: list[str] = []
    run, fetch = Lease.fetch_text, Lease.fetch

    async def fetch_text(lease: Lease, sql: str, arguments: Sequence[Any]) -> Any:
        found.append(sql)
        return await run(lease, sql, arguments)

    async def fetch_prepared(lease: Lease, prepared: Any, parameters: dict[str, Any]) -> Any:
        found.append(prepared.sql)
        return await fetch(lease, prepared, parameters)

    monkeypatch.setattr(Lease, "fetch_text", fetch_text)
    monkeypatch.setattr(Lease, "fetch", fetch_prepared)
    return found


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    prepare = Database.prepare

    def prepared(database: Database, statement: Any, columns: tuple[Any, ...] = ()) -> Any:
        found.append(statement)
        return prepare(database, statement, columns)

    monkeypatch.setattr(Database, "prepare", prepared)
    return found


async def test_a_row_is_created_and_changed_in_one_round_trip(url: str, statements: list[str]) -> None:
    async with serving(url, "auto") as client:
        there = (await a_ticket(client)).headers["location"]
        for _ in range(2):  # the first asks which tables are special, too
            statements.clear()
            await a_ticket(client, f"B-{_}")
        assert [sql.split()[0] for sql in statements] == ["WITH"]
        statements.clear()
        assert (await client.patch(there, json={"note": "x"}, headers={"If-Match": '"1"'})).json()["version"] == 2
        assert [sql.split()[0] for sql in statements] == ["WITH"]


async def test_clients_that_give_ever_other_attributes_do_not_fill_the_memory(
    url: str, monkeypatch: pytest.MonkeyPatch, statements: list[str], compiled: list[Any]
) -> None:
    monkeypatch.setattr(direct, "MOST_SHAPES", 4)
    tickets = resource(Ticket, access="open")
    async with calling(App(Module("tickets", routes=[tickets]), database=url)) as client:
        there = (await a_ticket(client)).headers["location"]
        names = ("number", "price", "amount", "note")
        odd = [some for count in (1, 2, 3, 4) for some in combinations(names, count)]
        found = []
        for version, shape in enumerate([*odd, *odd[-4:], *odd[:4]], 1):
            statements.clear()
            compiled.clear()
            values = {"number": str(version), "price": version, "amount": version, "note": str(version)}
            body = {name: values[name] for name in shape}
            answer = await client.patch(there, json=body, headers={"if-match": f'"{version}"'})
            assert answer.json()["version"] == version + 1
            assert [sql.split()[0] for sql in statements] == ["WITH"] or version == 1
            found.append(len(compiled))
        # The last four are remembered, and those before them are not.
        assert found[-8:] == [0, 0, 0, 0, 1, 1, 1, 1]


async def test_a_router_compiles_no_statement_twice(url: str, compiled: list[Any]) -> None:
    plain, database = FastAPI(), Database(url)
    plain.include_router(build_crud_router(Ticket, database=database))
    transport = httpx2.ASGITransport(app=plain)
    async with database, httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
        there = (await a_ticket(client)).headers["location"]
        await client.patch(there, json={"note": "1"}, headers={"if-match": '"1"'})
        compiled.clear()
        for number in range(2, 12):
            key = {"idempotency-key": str(number)} if number % 2 else {}
            made = await client.post("/tickets", json={**TICKET, "number": f"B-{number}"}, headers=key)
            changed = await client.patch(there, json={"note": str(number)}, headers={"if-match": f'"{number}"'})
            assert (made.status_code, changed.status_code) == (201, 200)
        assert not compiled


async def test_of_many_who_change_the_same_version_one_does(url: str) -> None:
    async with serving(url, "auto") as client:
        there = (await a_ticket(client)).headers["location"]

        async def change(number: int) -> int:
            answer = await client.patch(there, json={"note": str(number)}, headers={"If-Match": '"1"'})
            return answer.status_code

        assert sorted(await asyncio.gather(*map(change, range(20)))) == [200, *[412] * 19]
        assert (await client.get(there)).json()["version"] == 2


async def test_hooks_see_every_object(url: str) -> None:
    seen: list[str | None] = []

    async def see(ticket: Ticket) -> None:
        seen.append(ticket.note)
        ticket.origin = "hook"

    hooks.before_insert(Ticket)(see)
    hooks.before_update(Ticket)(see)
    try:
        async with serving(url, "auto") as client:
            made = await a_ticket(client, note="a")
            changed = await client.patch(made.headers["location"], json={"note": "b"})
    finally:
        hooks.remove(see)
    assert (seen, made.json()["origin"], changed.json()["origin"]) == (["a", "b"], "hook", "hook")


async def test_who_asks_in_python_gets_objects(url: str) -> None:
    app = shop(url)
    create = app.endpoints[1].message
    async with app:
        made = (await app.bus.dispatch(create(values={"number": "A", "price": "1"}))).unwrap()
    assert isinstance(made, Ticket)


class Strict(UUIDMixin, VersionMixin, Base):
    """It looks at what it is given."""

    __tablename__ = "rest_strict"
    name: Mapped[str] = mapped_column(String(20))

    @validates("name")
    def tidy(self, _key: str, value: str) -> str:
        return value.strip()


class Made(UUIDMixin, VersionMixin, Base):
    """It has a constructor of its own."""

    __tablename__ = "rest_made"
    name: Mapped[str]

    def __init__(self, name: str = "") -> None:
        self.name = name.upper()


class Own(UUIDMixin, VersionMixin, Base):
    __tablename__ = "rest_own"
    name: Mapped[str]


class Owns(Repository[Own]):
    """It stores and finds in a way of its own."""

    async def add(self, entity: Own) -> Own:
        entity.name = f"own {entity.name}"
        return await super().add(entity)

    async def get(self, id: Any, **options: Any) -> Own:
        raise NotFound("Own", id)


@pytest.mark.parametrize(("source", "wanted"), [(Strict, "a"), (Made, " A "), (Owns, "own  a ")])
async def test_what_python_has_a_part_in_goes_the_usual_way(url: str, source: Any, wanted: str) -> None:
    routes = [resource(source, prefix="/them", access="open")]
    async with Database(url) as database:
        await database.create_tables([Base.metadata])
    async with calling(App(Module("them", routes=routes), database=url)) as client:
        made = await client.post("/them", json={"name": " a "})
        assert (made.status_code, made.json()["name"]) == (201, wanted)
        found = await client.get(made.headers["location"])
        assert found.status_code == (404 if source is Owns else 200)
