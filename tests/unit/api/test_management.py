"""`/management`: what runs and what is open, shown to those who may see it, and to nobody else."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from uno import clock
from uno.aio import (
    BackgroundGroup,
    TaskGroup,
    ThreadPool,
    get_resource_registry,
    get_task_manager,
    get_thread_pool,
    task_tree,
)
from uno.api import AuthProvider, TokenClaims, asgi, create_resource_monitoring_endpoints
from uno.app import App
from uno.errors import Misconfigured
from uno.settings import ApiSettings, Settings

PATHS = ["/management/tasks", "/management/resources", "/management/health"]


class Tokens(AuthProvider):
    """The token is the permission."""

    async def validate_token(self, token: str) -> TokenClaims:
        return TokenClaims("somebody", clock.now() + timedelta(hours=1), clock.now(), [token])

    async def create_token(self, claims: TokenClaims | Mapping[str, Any]) -> str:
        raise NotImplementedError


async def waits_in_vain(gate: asyncio.Event) -> None:
    await gate.wait()


async def fails() -> None:
    raise ValueError("postgresql://ada:hunter2@db/shop does not answer")


@asynccontextmanager
async def busy(_app: object) -> AsyncIterator[None]:
    """Something of everything that is to be seen."""
    gate, broken = asyncio.Event(), BackgroundGroup("failing")
    await asyncio.wait([broken.create_task(fails, name="broken")])
    get_task_manager().create_task(waits_in_vain(gate), "password=hunter2")
    async with TaskGroup("orders token=hunter2") as group:
        group.create_task(waits_in_vain(gate), name="half a \ud83d pair")
        yield
        gate.set()
    broken.closed = True


def app_with(access: str, *, env: Any = "development", auth: bool = True, lifespan: Any = busy) -> App:
    settings = Settings(env=env, grace=0, api=ApiSettings(management=access))
    return App(settings=settings, auth=Tokens() if auth else None, lifespan=lifespan)


def without_ids(response: Any) -> dict[str, str]:
    """A problem, but for what is different in each."""
    return {name: str(told) for name, told in response.json().items() if name not in ("trace_id", "correlation_id")}


def nodes(tree: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All tasks and groups of a tree."""
    return [one for node in tree for one in (node, *nodes(node.get("tasks", [])), *nodes(node.get("groups", [])))]


def test_closed_it_is_as_any_path_that_is_not_there() -> None:
    with TestClient(asgi(app_with(""))) as client:
        for headers in ({}, {"Authorization": "Bearer management"}):
            for path in PATHS:
                found, other = client.get(path, headers=headers), client.get("/nowhere", headers=headers)
                assert found.status_code == other.status_code == 404
                assert without_ids(found) == {n: t.replace("/nowhere", path) for n, t in without_ids(other).items()}
                assert client.post(path, headers=headers).status_code == 404


@pytest.mark.parametrize(
    ("access", "token", "status"),
    [
        ("ops.read", "ops.read", 200),
        ("ops.read", "other", 403),
        ("ops.read", None, 401),
        ("authenticated", "other", 200),
        ("authenticated", None, 401),
        ("open", None, 200),
    ],
)
def test_a_setting_opens_it_to_those_it_names(access: str, token: str | None, status: int) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with TestClient(asgi(app_with(access))) as client:
        for path in PATHS:
            found = client.get(path, headers=headers)
            assert found.status_code == status
            kind = "application/json" if status == 200 else "application/problem+json"
            assert found.headers["content-type"] == kind
        assert "/management" not in client.get("/openapi.json", headers=headers).text


class Line:
    pass


@asynccontextmanager
async def named_by_secrets(_app: object) -> AsyncIterator[None]:
    """Resources and a thread pool whose names are the URLs they use."""
    registry = get_resource_registry()
    await registry.register("amqp://ada:hunter2@rabbit", Line())
    await registry.register("worker token=hunter2", Line(), depends_on=["amqp://ada:hunter2@rabbit"])
    async with ThreadPool("https://ada:hunter2@reports"):
        yield


def test_names_of_resources_and_thread_pools_are_shown_without_secrets() -> None:
    with TestClient(asgi(app_with("open", lifespan=named_by_secrets))) as client:
        paths = [*PATHS, f"/management/resources/{quote('worker token=hunter2')}"]
        found = [client.get(path) for path in paths]
    assert [response.status_code for response in found] == [200] * 4
    assert not any("hunter2" in response.text for response in found)
    tasks, resources, health, one = (response.json() for response in found)
    assert "https://ada:***@reports" in {pool["name"] for pool in tasks["threads"]}
    assert {"amqp://ada:***@rabbit", "worker token=***"} == resources["resources"].keys() == health["resources"].keys()
    assert one["depends_on"] == ["amqp://ada:***@rabbit"]


def test_what_runs_is_shown_without_secrets() -> None:
    with TestClient(asgi(app_with("open"))) as client:
        response = client.get("/management/tasks")
    assert "hunter2" not in response.text
    assert response.headers["cache-control"] == "no-store"
    found = response.json()
    assert (found["pid"], found["stage"], found["hidden"]) == (os.getpid(), "running", 0)
    by_name = {node.get("name", node.get("group")): node for node in nodes(found["tasks"])}
    assert by_name["password=***"]["state"] == "waiting"
    assert by_name["password=***"]["waits_at"].endswith("in waits_in_vain")
    assert by_name["half a \\ud83d pair"]["group"] == "orders token=***"
    assert by_name["orders token=***"]["age"] >= 0
    assert by_name["orders token=***"]["created_at"].endswith("in busy")
    assert by_name["broken"]["state"] == "failed"
    assert by_name["broken"]["error"] == "ValueError('postgresql://ada:***@db/shop does not answer')"
    states = [node["state"] for node in nodes(found["tasks"]) if "state" in node]
    # What failed in earlier tests may still be there.
    assert found["count"] == len(states) - states.count("failed")


def test_the_threads_and_what_they_do_are_shown() -> None:
    with TestClient(asgi(app_with("open", lifespan=None))) as client:
        assert client.portal is not None
        client.portal.call(get_thread_pool().run, sum, [1, 2])
        pools = client.get("/management/tasks").json()["threads"]
    [shared] = [pool for pool in pools if pool["name"] == "work"]
    assert shared == {"name": "work", "threads": os.cpu_count(), "running": 0, "waiting": 0, "calls": []}


async def threads_of(app: App) -> Mapping[str, float]:
    """What the metrics say of threads."""
    found = {figure.gauge.name: figure.values for figure in await app.metrics.figures()}
    return found.get("uno_threads", {})


async def test_threads_are_among_the_metrics_until_their_pool_is_closed() -> None:
    app = App()
    async with ThreadPool("reports", threads=7):
        before = await threads_of(app)
    assert set(before) == {"limit", "running", "waiting"}
    assert before["limit"] - (await threads_of(app)).get("limit", 0) == 7


async def test_of_very_many_tasks_the_others_are_counted() -> None:
    gate = asyncio.Event()
    async with TaskGroup("many") as group:
        for _ in range(30):
            group.create_task(waits_in_vain(gate))
        assert len([node for node in nodes(task_tree(10)) if "state" in node]) == 10
        gate.set()


async def test_a_tree_has_an_end() -> None:
    deep = 300
    gate, reached = asyncio.Event(), asyncio.Event()

    async def nested(level: int) -> None:
        if level == 0:
            reached.set()
            await gate.wait()
            return
        async with TaskGroup("deep") as group:
            group.create_task(nested(level - 1))

    async with TaskGroup("top") as group:
        group.create_task(nested(deep))
        await reached.wait()
        found = json.dumps(task_tree())
        gate.set()
    assert 40 < found.count('"group": "deep", "state"') < deep


def test_open_to_everybody_it_does_not_go_into_production() -> None:
    with pytest.raises(Misconfigured, match='UNO_API_MANAGEMENT is "open", and UNO_ENV is production'):
        asgi(app_with("open", env="production"))
    asgi(app_with("ops.read", env="production"))


def test_where_nobody_is_authenticated_it_is_for_nobody() -> None:
    with pytest.raises(Misconfigured, match="UNO_API_MANAGEMENT is 'ops.read', and nobody who calls is authenticated"):
        asgi(app_with(" ops.read ", auth=False))


def test_an_applications_own_path_comes_first() -> None:
    api = asgi(app_with("open"))
    create_resource_monitoring_endpoints(api, access="authenticated")
    with TestClient(api) as client:
        assert client.get("/management/tasks").status_code == 401


def test_on_any_fastapi_application_it_needs_its_permission() -> None:
    app = FastAPI()
    create_resource_monitoring_endpoints(app, "/ops")
    with TestClient(app) as client:
        assert client.get("/ops/tasks").status_code == 401
