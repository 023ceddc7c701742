"""The demo application with a key: who may decide, and who is remembered to have decided."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from uno.api import asgi
from uno.app import App
from uno.data import Database
from uno.errors import Misconfigured
from uno.examples.inventory import DECIDE, app as inventory, generate
from uno.security import JWTAuthProvider
from uno.settings import Settings, load

KEY = "a key of more than thirty-two bytes, for tests"
REASON = {"reason": "no GPL"}


def settings() -> Settings:
    return load(jwt={"secret_key": KEY})


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    url = f"sqlite:///{tmp_path}/inventory.db"
    async with Database(url) as database:
        await inventory(database=database).create_schema()
    async with inventory(settings=settings(), database=url) as app:
        yield app


@pytest.fixture
async def client(app: App, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    generate(tmp_path / "site", 4)
    transport = httpx2.ASGITransport(app=asgi(app, metrics=True))
    async with httpx2.AsyncClient(transport=transport, base_url="http://inventory") as client:
        (await client.post("/packages/scan", json={"path": str(tmp_path / "site")})).raise_for_status()
        yield client


async def bearer(*permissions: str) -> dict[str, str]:
    tokens = JWTAuthProvider(settings().jwt)
    token = await tokens.create_token({"sub": "ada", "permissions": list(permissions)})
    return {"Authorization": f"Bearer {token}"}


async def test_deciding_needs_a_token_with_the_permission(client: httpx2.AsyncClient) -> None:
    wrong: tuple[tuple[dict[str, str], int], ...] = (
        ({}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
        (await bearer("packages:read"), 403),
    )
    for headers, status in wrong:
        for decision in ("approve", "reject"):
            answer = await client.post(f"/packages/sample-00001/{decision}", json=REASON, headers=headers)
            assert (answer.status_code, answer.json()["status"]) == (status, status)
    package = (await client.get("/packages/sample-00001")).json()
    assert (package["status"], len((await client.get("/packages/sample-00001/history")).json())) == ("pending", 1)


@pytest.mark.parametrize("said", [{}, {"approved_by": "eve"}], ids=["nothing", "somebody_else"])
async def test_whoever_is_logged_in_has_decided_whatever_the_body_says(
    client: httpx2.AsyncClient, said: dict[str, Any]
) -> None:
    approved = await client.post("/packages/sample-00001/approve", json=said, headers=await bearer(DECIDE))
    assert (approved.status_code, approved.json()["decided_by"]) == (200, "ada")
    entry = (await client.get("/packages/sample-00001/history")).json()[-1]
    assert (entry["actor"], entry["actor_source"], entry["after"]["decided_by"]) == ("ada", "principal", "ada")
    rejected = await client.post("/packages/sample-00001/reject", json=REASON, headers=await bearer(DECIDE))
    assert (rejected.json()["status"], rejected.json()["decided_by"]) == ("rejected", "ada")


async def test_everything_else_is_open(client: httpx2.AsyncClient) -> None:
    paths = ("", "/sample-00001", "/sample-00001/dependents", "/sample-00001/history")
    assert [(await client.get(f"/packages{path}")).status_code for path in paths] == [200] * 4
    assert (await client.post("/packages/sample-00001/annotate", json={"note": "?"})).status_code == 200


async def test_the_metrics_page_counts_messages_of_all_modules(app: App, client: httpx2.AsyncClient) -> None:
    await client.post("/packages/sample-00001/approve", json={})  # refused before it is a message
    await client.post("/packages/sample-00001/approve", json={}, headers=await bearer(DECIDE))
    await app.worker().drain()
    page = (await client.get("/metrics")).text
    for message, count in (("uno.examples.inventory.decisions.ApprovePackage", 1), ("licences.classify", 4)):
        assert f'uno_message_seconds_count{{message="{message}"}} {count}.0\n' in page


def test_a_weak_key_does_not_start() -> None:
    with pytest.raises(Misconfigured, match="UNO_JWT_SECRET_KEY"):
        inventory(settings=load(jwt={"secret_key": "secret"}), database="sqlite://")
