"""Protected routes over a socket and a real database: who asks is who did it, on every row."""

import asyncio
import http.client
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from uno import clock, context
from uno.api import asgi, serve
from uno.app import App, Module, Route
from uno.audit.tables import audit
from uno.bus import command_handler, event_handler, query_handler
from uno.data import Database, Repository
from uno.domain import AggregateRoot
from uno.messages import Command, DomainEvent, Query
from uno.security import JWTAuthProvider, JWTSettings
from uno.testing.postgres import DatabaseFarm
from uno.testing.tokens import bad_tokens

SECRET = "a secret of forty letters, for tests only"
SOURCES = Path(__file__).parents[2] / "src"
handled: Counter[str] = Counter()


class Parcel(AggregateRoot[str]):
    def __init__(self, id: str, state: str = "packed") -> None:
        super().__init__(id=id)
        self.state = state


class ParcelSent(DomainEvent):
    parcel_id: str


class CreateParcel(Command[Parcel]):
    parcel_id: str


class SendParcel(Command[Parcel]):
    parcel_id: str


class GetParcel(Query[Parcel]):
    parcel_id: str


@command_handler(CreateParcel)
async def create(command: CreateParcel, parcels: Repository[Parcel]) -> Parcel:
    handled["create"] += 1
    return await parcels.add(Parcel(command.parcel_id))


@command_handler(SendParcel)
async def send(command: SendParcel, parcels: Repository[Parcel]) -> Parcel:
    handled["send"] += 1
    parcel = await parcels.get(command.parcel_id)
    parcel.state = "sent"
    parcel.register_event(ParcelSent(parcel_id=parcel.id))
    return parcel


@query_handler(GetParcel)
async def get(query: GetParcel, parcels: Repository[Parcel]) -> Parcel:
    handled["get"] += 1
    return await parcels.get(query.parcel_id)


@event_handler(ParcelSent, durable=True, name="parcels.deliver")
async def deliver(event: ParcelSent, parcels: Repository[Parcel]) -> None:
    handled["deliver"] += 1
    parcel = await parcels.get(event.parcel_id)
    parcel.state = f"delivered for {context.current().actor}"


parcels = Module(
    "parcels",
    models=[Parcel],
    handlers=[create, send, get, deliver],
    routes=[CreateParcel, Route(SendParcel, access="sender"), Route(GetParcel, access="open")],
)


def make_provider() -> JWTAuthProvider:
    return JWTAuthProvider(JWTSettings(secret_key=SECRET))


def make_app(url: str, **options: Any) -> App:
    return App(parcels, database=url, auth=make_provider(), policies={"sender": ["parcels:send"]}, **options)


async def create_schema(url: str) -> None:
    async with Database(url) as database:
        await App(parcels, database=database, auth=make_provider()).create_schema()


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        await farm.template("parcels", create_schema)
        yield farm


@pytest.fixture
async def url(farm: DatabaseFarm) -> str:
    handled.clear()
    return await farm.create("parcels")


@asynccontextmanager
async def served(app: App) -> AsyncIterator[str]:
    """The address of a server that runs inside the block."""
    urls: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(serve(asgi(app), port=0, ready=urls.put_nowait))
    try:
        yield await asyncio.wait_for(urls.get(), 20)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def bearer(subject: str, *permissions: str) -> dict[str, str]:
    made = await make_provider().create_token({"sub": subject, "permissions": list(permissions)})
    return {"Authorization": f"Bearer {made}", "X-User": "root"}


async def actors(app: App) -> list[tuple[str, str | None, str]]:
    assert app.database is not None
    rows = await app.database.query(
        select(audit.c.operation, audit.c.actor, audit.c.actor_source).order_by(audit.c.timestamp, audit.c.id)
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def test_who_asks_is_who_did_it_on_every_row_and_behind_the_queue(url: str) -> None:
    app = make_app(url, worker=True)
    async with served(app) as address, httpx2.AsyncClient(base_url=address) as client:
        assert (await client.post("/parcels", json={"parcel_id": "7"}, headers=await bearer("ada"))).status_code == 201
        sent = await client.post("/parcels/7/send", json={}, headers=await bearer("bob", "parcels:send"))
        assert sent.status_code == 200, sent.text
        async with clock.timeout(20):
            while (await client.get("/parcels/7")).json()["state"] == "sent":
                await asyncio.sleep(0.05)
        assert (await client.get("/parcels/7")).json()["state"] == "delivered for bob"
        found = await actors(app)
    assert found == [("create", "ada", "principal"), ("update", "bob", "principal"), ("update", "bob", "principal")]


async def test_who_may_not_changes_nothing(url: str) -> None:
    app = make_app(url)
    async with served(app) as address, httpx2.AsyncClient(base_url=address) as client:
        nobody = await client.post("/parcels", json={"parcel_id": "7"}, headers={"X-User": "root"})
        other = await client.post("/parcels/7/send", json={}, headers=await bearer("ada", "parcels:read"))
        assert (nobody.status_code, other.status_code) == (401, 403)
        assert app.database is not None
        assert (await app.database.query(select(func.count()).select_from(audit)))[0][0] == 0
    assert not handled


async def test_no_bad_token_gets_through_a_real_server(url: str) -> None:
    async with served(make_app(url)) as address:
        host = address.removeprefix("http://")
        statuses = {
            name: await asyncio.to_thread(post, host, token.encode()) for name, token in bad_tokens(SECRET).items()
        }
    # What is no header of HTTP the server itself refuses, or it hangs up.
    others = {name: status for name, status in statuses.items() if status != 401}
    assert set(others.values()) <= {None, 400, 431}
    assert set(others) <= {name for name in statuses if name.startswith("text: ")}
    assert not handled


def post(host: str, token: bytes) -> int | None:
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.putrequest("POST", "/parcels", skip_accept_encoding=True)
        connection._output(b"Authorization: Bearer " + token)  # type: ignore[attr-defined] # unchecked, as it is
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


GUARDED = """
from uno.app import App, Module
from uno.security import JWTAuthProvider

def guarded() -> App:
    return App(Module("m"), auth=JWTAuthProvider())
"""


def run(folder: Path, **variables: str) -> str:
    """What `uno run` says before it fails: at this address of nobody's it cannot listen."""
    (folder / "shop.py").write_text(GUARDED)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNO_")}
    environment |= {"PYTHONPATH": f"{SOURCES}{os.pathsep}{folder}"} | variables
    command = [sys.executable, "-m", "uno.cli", "run", "shop:guarded", "--host", "203.0.113.7"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stdout + done.stderr


def test_an_application_that_authenticates_may_listen_beyond_this_machine(tmp_path: Path) -> None:
    assert "Cannot listen on 203.0.113.7" in run(tmp_path, UNO_JWT_SECRET_KEY=SECRET)


def test_one_with_a_weak_key_does_not_start(tmp_path: Path) -> None:
    said = " ".join(run(tmp_path, UNO_JWT_SECRET_KEY="hunter2").split())
    assert "UNO_JWT_SECRET_KEY has 7 bytes; HS256 needs a random secret of at least 32 bytes" in said
    assert "hunter2" not in said
