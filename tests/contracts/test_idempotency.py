"""A message with an idempotency key has its effect once, and its answer is the same each time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from pydantic import BaseModel, Field, SecretStr
from sqlalchemy import MetaData, delete, func, insert, select
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno import clock, context, ids
from uno.api import asgi
from uno.app import App, Module, Route
from uno.bus import command_handler, event_handler, idempotent, query_handler
from uno.context import Context
from uno.data import Database, Model, Repository, UnitOfWork, VersionMixin
from uno.data.idempotency import SWEEP_EVERY
from uno.data.tables import idempotency
from uno.domain import AggregateRoot
from uno.errors import Conflict, KeyReused, Misconfigured, OutcomeUnknown, Unavailable
from uno.messages import Command, DomainEvent, Query
from uno.result import Failure, Success

JSON = {"content-type": "application/json"}


class Order(AggregateRoot[str]):
    def __init__(self, id: str, title: str, version: int = 0) -> None:
        super().__init__(id=id)
        self.title = title


class OrderPlaced(DomainEvent):
    order_id: str


class PlaceOrder(Command[Order]):
    title: str
    options: dict[str, Any] = {}
    order_id: str = Field(default_factory=ids.new_id)


class DeleteOrder(Command[None]):
    order_id: str


class SearchOrders(Query[int]):
    title: str


class Receipt(BaseModel):
    order_id: str
    at: str


class Buy(Command[Receipt]):
    title: str
    tags: set[str] = set()
    code: SecretStr = SecretStr("")
    nonce: str = Field(default_factory=ids.new_id)


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Note(VersionMixin, Base):
    __tablename__ = "keyed_notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    seen: Mapped[int] = mapped_column(server_default="0")


class CreateNote(Command[Note]):
    text: str


class UpdateNote(Command[Note]):
    note_id: int
    text: str


class Shop:
    """The handlers, and what happens in them."""

    def __init__(self) -> None:
        self.runs = 0
        self.told: list[str] = []
        self.on_run: Callable[[], Any] | None = None

    async def run(self) -> None:
        self.runs += 1
        if self.on_run is not None:
            await self.on_run()

    def module(self) -> Module:
        @command_handler(PlaceOrder)
        async def place(command: PlaceOrder, orders: Repository[Order]) -> Order:
            order = await orders.add(Order(command.order_id, command.title))
            order.register_event(OrderPlaced(order_id=order.id))
            await self.run()
            return order

        @command_handler(CreateNote)
        async def note(command: CreateNote, notes: Repository[Note]) -> Note:
            return await notes.add(Note(text=command.text))

        @command_handler(UpdateNote)
        async def update(command: UpdateNote, notes: Repository[Note]) -> Note:
            note = await notes.get(command.note_id)
            note.text = command.text + "!"
            return note

        @command_handler(DeleteOrder)
        async def remove(command: DeleteOrder, orders: Repository[Order]) -> None:
            await orders.delete(command.order_id)

        @command_handler(Buy)
        async def buy(command: Buy, orders: Repository[Order]) -> Receipt:
            order = await orders.add(Order(ids.new_id(), command.title))
            await self.run()
            return Receipt(order_id=order.id, at=command.nonce)

        @query_handler(SearchOrders)
        async def search(query: SearchOrders, orders: Repository[Order]) -> int:
            await self.run()
            return await orders.count()

        @event_handler(OrderPlaced)
        async def on_placed(event: OrderPlaced) -> None:
            self.told.append(event.order_id)

        return Module(
            "shop",
            handlers=[place, remove, buy, search, on_placed, note, update],
            models=[Order, Note],
            routes=[
                Route(PlaceOrder, path="/orders", status=201),
                Route(CreateNote),
                Route(UpdateNote),
                Route(DeleteOrder),
                Route(SearchOrders),
            ],
        )


class Served:
    def __init__(self, app: App, client: httpx2.AsyncClient, shop: Shop) -> None:
        self.app = app
        self.client = client
        self.shop = shop

    @property
    def database(self) -> Database:
        assert self.app.database is not None
        return self.app.database

    async def post(self, body: str, key: str = "k", path: str = "/orders", **headers: str) -> httpx2.Response:
        return await self.client.post(path, content=body, headers={**JSON, "Idempotency-Key": key, **headers})

    async def orders(self) -> int:
        async with UnitOfWork(self.database) as uow:
            return await uow.repository(Order).count()

    async def keys(self) -> int:
        return int((await self.database.query(select(func.count()).select_from(idempotency)))[0][0])


@asynccontextmanager
async def served(database: Database) -> AsyncIterator[Served]:
    shop = Shop()
    async with App(shop.module(), database=database) as app:
        transport = httpx2.ASGITransport(app=asgi(app), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield Served(app, client, shop)


@pytest.fixture
async def shop(fresh: Fresh, backend: str) -> AsyncIterator[Served]:
    async with served(await fresh(backend, Base.metadata)) as found:
        yield found


def stored(response: httpx2.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """What of a response is the same each time."""
    own = ("x-correlation-id", "idempotency-replayed")
    return response.status_code, response.content, [(n, v) for n, v in response.headers.items() if n not in own]


# ── over HTTP ──


async def test_the_same_request_again_gets_the_same_answer_and_has_no_effect(shop: Served) -> None:
    first = await shop.post('{"title": "Lamp"}')
    again = [await shop.post(body) for body in ('{"title": "Lamp"}', ' {"title":"Lamp" } ')]
    assert first.status_code == 201
    assert {"idempotency-replayed"}.isdisjoint(first.headers)
    assert [response.headers["idempotency-replayed"] for response in again] == ["true", "true"]
    assert all(stored(response) == stored(first) for response in again)
    assert (await shop.orders(), shop.shop.runs, len(shop.shop.told)) == (1, 1, 1)


async def test_the_answer_with_a_key_is_the_one_without(shop: Served) -> None:
    """What the database generates, and the version, are in it, though it is made before the commit."""
    for key, method, path in ((1, "POST", "/notes"), (2, "PUT", "/notes/1")):
        keyed = await shop.client.request(method, path, json={"text": "a"}, headers={"Idempotency-Key": f"{key}"})
        [row] = await shop.database.query(select(Note.__table__))
        assert keyed.json() == {"id": 1, "version": key, "text": row.text, "seen": row.seen}
    plain = await shop.client.post("/notes", json={"text": "a"})
    assert plain.json() == {"id": 2, "version": 1, "text": "a", "seen": 0}


async def test_a_request_without_a_body_has_its_effect_once(shop: Served) -> None:
    order = (await shop.post('{"title": "Lamp"}', "first")).json()
    answers = [await shop.client.delete(f"/orders/{order['id']}", headers={"Idempotency-Key": "d"}) for _ in range(2)]
    assert [(one.status_code, one.content) for one in answers] == [(204, b"")] * 2
    assert await shop.orders() == 0


@pytest.mark.parametrize("body", ['{"title": "Sofa"}', '{"title": "Lamp", "options": {}}'])
async def test_another_request_with_the_key_is_refused(shop: Served, body: str) -> None:
    await shop.post('{"title": "Lamp"}')
    refused = await shop.post(body)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:uno:problem:idempotency-key-reused")
    assert refused.json()["errors"][0]["field"] == "Idempotency-Key"
    assert await shop.orders() == 1


@pytest.mark.parametrize(("first", "second"), [("0.1", "0.10000000000000000001"), ("1", "1.0"), ('"1.5"', "1.5")])
async def test_numbers_that_were_written_otherwise_make_another_request(shop: Served, first: str, second: str) -> None:
    bodies = [f'{{"title": "Lamp", "options": {{"a": {number}}}}}' for number in (first, first, second)]
    assert [(await shop.post(body)).status_code for body in bodies] == [201, 201, 422]


async def test_the_same_body_at_another_path_is_another_request(shop: Served) -> None:
    for _ in range(2):
        await shop.client.post("/notes", json={"text": "a"})
    answers = [
        await shop.client.put(f"/notes/{n}", json={"text": "b"}, headers={"Idempotency-Key": "c"}) for n in (1, 2)
    ]
    assert [one.status_code for one in answers] == [200, 422]


async def test_a_key_in_quotes_is_the_same_key(shop: Served) -> None:
    first, again = await shop.post('{"title": "Lamp"}', "a-b"), await shop.post('{"title": "Lamp"}', '"a-b"')
    assert first.content == again.content


@pytest.mark.parametrize("key", ["", " ", '"a', '"a"b', '""', "ä", "x" * 256, "a\tb"])
async def test_a_key_that_is_none_is_refused_by_name(shop: Served, key: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"idempotency-key", key.encode("latin-1"))]
    refused = await shop.client.post("/orders", content=b'{"title": "x"}', headers=headers)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "Idempotency-Key")
    assert (await shop.orders(), await shop.keys()) == (0, 0)


async def test_two_keys_are_refused(shop: Served) -> None:
    headers = [("content-type", "application/json"), ("idempotency-key", "a"), ("idempotency-key", "a")]
    refused = await shop.client.post("/orders", content=b'{"title": "x"}', headers=headers)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "repeated")


async def test_a_query_has_no_effect_and_needs_no_key(shop: Served) -> None:
    answers = [await shop.post('{"title": "x"}', path="/orders/search") for _ in range(2)]
    assert [one.content for one in answers] == [b"0", b"0"]
    assert (shop.shop.runs, await shop.keys()) == (2, 0)


@pytest.mark.parametrize(
    ("error", "status"), [(Conflict("No."), 409), (Unavailable("No."), 503), (RuntimeError("a bug"), 500)]
)
async def test_a_failure_is_not_kept(shop: Served, error: Exception, status: int) -> None:
    async def fail() -> None:
        raise error

    shop.shop.on_run = fail
    assert (await shop.post('{"title": "Lamp"}')).status_code == status
    shop.shop.on_run = None
    assert (await shop.post('{"title": "Lamp"}')).status_code == 201
    assert (await shop.orders(), await shop.keys()) == (1, 1)


async def test_two_at_once_have_one_effect(shop: Served) -> None:
    """On PostgreSQL the second is told to come again; on SQLite, which has one writer, it may have to wait."""
    inside, go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        inside.set()
        await go.wait()

    shop.shop.on_run = wait
    first = asyncio.create_task(shop.post('{"title": "Lamp"}'))
    await inside.wait()
    second = asyncio.create_task(shop.post('{"title": "Lamp"}'))
    if shop.database.backend == "postgresql":
        refused = await second
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:uno:problem:idempotency-key-in-use")
        assert refused.headers["retry-after"] == "1"
        go.set()
    else:
        go.set()
        assert (await second).content == (await first).content
    assert (await first).status_code == 201
    assert (await shop.post('{"title": "Lamp"}')).content == (await first).content
    assert (await shop.orders(), shop.shop.runs) == (1, 1)


async def test_other_keys_do_not_wait_on_postgresql(fresh: Fresh) -> None:
    async with served(await fresh("postgresql", Base.metadata)) as shop:
        inside, go = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            inside.set()
            await go.wait()

        shop.shop.on_run = wait
        first = asyncio.create_task(shop.post('{"title": "Lamp"}'))
        await inside.wait()
        shop.shop.on_run = None
        assert (await shop.post('{"title": "Lamp"}', "other")).status_code == 201
        go.set()
        assert (await first).status_code == 201


async def test_a_cancelled_request_has_its_effect_once_whenever_it_is_cancelled(shop: Served) -> None:
    for n in range(30):
        task = asyncio.create_task(shop.post('{"title": "Lamp"}', f"{n}"))
        for _ in range(2 * n):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(30):
            # What was cancelled may be on its way to the end.
            while (await shop.post('{"title": "Lamp"}', f"{n}")).status_code == 409:
                await asyncio.sleep(0.01)
        assert (await shop.post('{"title": "Lamp"}', f"{n}")).headers["idempotency-replayed"] == "true"
    assert (await shop.orders(), await shop.keys()) == (30, 30)


# ── whose key it is, and for how long ──


@pytest.mark.parametrize(
    "other",
    [
        Context(actor="bob", actor_source="principal", tenant="acme"),
        Context(actor="alice", actor_source="header", tenant="acme"),
        Context(actor="alice", actor_source="principal", tenant="other"),
        Context(actor="alice", actor_source="principal"),
        Context(),
    ],
)
async def test_a_key_belongs_to_a_tenant_and_an_actor(shop: Served, other: Context) -> None:
    alice = Context(actor="alice", actor_source="principal", tenant="acme")
    found = []
    for who in (alice, other, alice, other):
        with context.use(who), idempotent("k"):
            found.append((await shop.app.bus.dispatch(Buy(title="Lamp"))).unwrap().order_id)
    assert (found[0], found[1]) == (found[2], found[3])
    assert found[0] != found[1]


async def test_a_key_is_forgotten_in_time(shop: Served) -> None:
    time = clock.now()
    first = await shop.post('{"title": "Lamp"}')
    for seconds, same in ((86_000, True), (87_000, False), (87_100, False)):
        with clock.use(Ahead(time + timedelta(seconds=seconds))):
            again = await shop.post('{"title": "Lamp"}')
            assert (again.content == first.content) is same
    assert (await shop.orders(), await shop.keys()) == (2, 1)


class Ahead(clock.SystemClock):
    def __init__(self, time: datetime) -> None:
        self.time = time

    def now(self) -> datetime:
        return self.time


async def test_what_has_expired_is_deleted_by_and_by(shop: Served) -> None:
    for n in range(3):
        await shop.post('{"title": "Lamp"}', f"old {n}")
    with clock.use(Ahead(clock.now() + timedelta(days=2))):
        for n in range(SWEEP_EVERY):
            await shop.post('{"title": "Lamp"}', f"new {n}")
    assert await shop.keys() == SWEEP_EVERY


# ── in Python ──


async def test_a_command_in_python_has_its_effect_once(shop: Served) -> None:
    found = []
    for _ in range(2):
        with idempotent("k") as asked:
            found.append((asked, await shop.app.bus.dispatch(Buy(title="Lamp", tags={"b", "a", "c"}))))
    (first, result), (second, again) = found
    assert result == again
    assert isinstance(again, Success)
    assert isinstance(again.value, Receipt)
    assert (first.replayed, second.replayed, await shop.orders()) == (False, True, 1)


@pytest.mark.parametrize(
    "other", [Buy(title="Sofa"), Buy(title="Lamp", code=SecretStr("b")), DeleteOrder(order_id="1")]
)
async def test_another_command_with_the_key_is_refused_in_python(shop: Served, other: Command[Any]) -> None:
    with idempotent("k"):
        await shop.app.bus.dispatch(Buy(title="Lamp", code=SecretStr("a")))
        refused = await shop.app.bus.dispatch(other)
    assert isinstance(refused, Failure)
    assert isinstance(refused.error, KeyReused)
    assert await shop.orders() == 1


async def test_what_could_not_be_given_back_is_refused_before_it_happens(shop: Served) -> None:
    with idempotent("k"), pytest.raises(Misconfigured, match="PlaceOrder was given an idempotency key.* Order cannot"):
        await shop.app.bus.dispatch(PlaceOrder(title="Lamp"))
    assert (await shop.orders(), shop.shop.runs) == (0, 0)


async def test_a_key_belongs_to_a_message_with_a_unit_of_work_of_its_own(shop: Served) -> None:
    async with UnitOfWork(shop.database):
        with idempotent("k"), pytest.raises(Misconfigured, match="a unit of work of its own"):
            await shop.app.bus.dispatch(Buy(title="Lamp"))


async def test_messages_inside_and_subscribers_have_no_part_in_the_key(fresh: Fresh, backend: str) -> None:
    class Outer(Command[int]):
        pass

    class Done(DomainEvent):
        pass

    count: list[str] = []
    shop = Shop()
    app: App

    @command_handler(Outer)
    async def outer(command: Outer) -> int:
        (await app.bus.dispatch(Buy(title="inside"))).unwrap()
        await app.bus.publish(Done())
        return 7

    @event_handler(Done)
    async def on_done(event: Done) -> None:
        count.append((await app.bus.dispatch(Buy(title="afterwards"))).unwrap().order_id)

    database = await fresh(backend, Base.metadata)
    async with App(shop.module(), Module("outer", handlers=[outer, on_done]), database=database) as app:
        for _ in range(2):
            with idempotent("k"):
                assert await app.bus.dispatch(Outer()) == Success(7)
        assert (shop.runs, len(count)) == (2, 1)
        rows = await database.query(select(idempotency.c.message))
        assert [row.message for row in rows] == [Outer.__uno_name__]


async def test_an_unknown_outcome_of_something_else_is_not_repeated(shop: Served) -> None:
    """The row of the key knows the commit only; what is lost there is in the flows."""

    async def fail() -> None:
        raise OutcomeUnknown("The bank did not answer.")

    shop.shop.on_run = fail
    assert (await shop.post('{"title": "Lamp"}')).status_code == 503
    assert (shop.shop.runs, await shop.orders()) == (1, 0)


async def test_a_row_that_somebody_else_has_stored_meanwhile_is_replayed(fresh: Fresh) -> None:
    """As with an isolation level of the server's that fixes what is seen before the lock is taken."""
    async with served(await fresh("postgresql", Base.metadata)) as shop:
        first = await shop.post('{"title": "Lamp"}')
        [row] = await shop.database.query(select(idempotency))
        async with shop.database.transaction() as transaction:
            await transaction.execute(delete(idempotency))

        async def store() -> None:
            async with shop.database.transaction() as transaction:
                await transaction.execute(insert(idempotency).values(row._asdict()))

        shop.shop.on_run = store
        again = await shop.post('{"title": "Lamp"}')
        assert (again.status_code, again.content) == (201, first.content)
        assert await shop.orders() == 1
