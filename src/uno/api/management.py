"""`/management`: what a process is doing and what it keeps open, for whoever may look."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uno.aio import (
    get_async_manager,
    get_resource_monitor,
    get_resource_registry,
    list_thread_pools,
    task_count,
    task_tree,
)
from uno.aio.monitor import Looked
from uno.api.access import require_auth, require_permissions
from uno.api.health import Answer, add_once, refuse_app
from uno.api.problems import problem_response
from uno.errors import NotFound
from uno.redact import clean, said

T = TypeVar("T")
# The permission that `create_resource_monitoring_endpoints` asks for unless told otherwise, and its prefix.
MANAGEMENT, PREFIX = "management", "/management"
# So many tasks are described: a thousand would keep the event loop for some forty milliseconds.
SHOWN = 500
_NO_STORE = {"Cache-Control": "no-store"}
# What of a task, a group or a thread pool is text of the program's own making, and may have secrets in it.
_WRITTEN = ("name", "group", "error")


def create_resource_monitoring_endpoints(app: FastAPI, prefix: str = PREFIX, access: str = MANAGEMENT) -> None:
    """Add what `UNO_API_MANAGEMENT` opens on `asgi(app)`: `prefix`/tasks, `prefix`/resources, `prefix`/resources/{name}
    and `prefix`/health, that is what runs, what is open, and how it is.

    They are for those with the permission `access` only: for nobody, where nobody is authenticated. "authenticated"
    lets in everybody who is, "open" everybody. Raises `Misconfigured` if the application has one of the paths already.
    """
    refuse_app("create_resource_monitoring_endpoints", app)
    add_once(app, management_endpoints(access, prefix))


def management_endpoints(access: str, prefix: str = PREFIX) -> dict[str, Answer]:
    """By path; each asks first who it is."""
    let_in = _gate(access)
    prefix = prefix.rstrip("/")

    async def tasks(request: Request) -> Response:
        let_in(request)
        # Names may have what UTF-8 cannot say; JSON can.
        return Response(json.dumps(_tasks()), headers=_NO_STORE, media_type="application/json")

    async def resources(request: Request) -> Response:
        let_in(request)
        shown = await _shown(get_resource_registry().get_all_resources())
        return JSONResponse({"pid": os.getpid(), "resources": shown}, headers=_NO_STORE)

    async def resource(request: Request) -> Response:
        let_in(request)
        name = request.path_params["name"]
        if name not in get_resource_registry():
            return problem_response(NotFound("resource", name), request.scope)
        return JSONResponse((await _shown([name]))[said(name, str)], headers=_NO_STORE)

    async def health(request: Request) -> Response:
        let_in(request)
        summary = await get_resource_monitor().get_health_summary()
        return JSONResponse({**summary, "resources": _named(summary["resources"])}, headers=_NO_STORE)

    return {
        f"{prefix}/tasks": tasks,
        f"{prefix}/resources": resources,
        f"{prefix}/resources/{{name}}": resource,
        f"{prefix}/health": health,
    }


def _tasks() -> dict[str, Any]:
    """Which process it is, its life, its tree of groups and tasks, its threads."""
    manager = get_async_manager()
    count, tree = task_count(), [_told(node) for node in task_tree(SHOWN)]
    return {
        "pid": os.getpid(),
        "stage": manager.stage.value,
        "uptime": manager.uptime,
        "count": count,
        "hidden": max(0, count - sum(map(_running, _tasks_of(tree)))),
        "tasks": tree,
        "threads": [_told(pool.to_json()) for pool in list_thread_pools()],
    }


def _told(node: dict[str, Any]) -> dict[str, Any]:
    """A group, a task or a thread pool without secrets, and all that is under it."""
    written = {key: said(node[key], str) for key in _WRITTEN if node.get(key) is not None}
    under: dict[str, Any] = {key: [_told(one) for one in node[key]] for key in ("tasks", "groups") if key in node}
    return {**node, **written, **under}


def _tasks_of(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        if "tasks" not in node:
            yield node
        yield from _tasks_of(node.get("tasks", []))
        yield from _tasks_of(node.get("groups", []))


def _running(task: dict[str, Any]) -> bool:
    return task["state"] not in ("failed", "gave up")


async def _shown(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    registry, names = get_resource_registry(), list(names)
    figures, needs = registry.get_metrics(names), registry.dependencies()
    looked = await get_resource_monitor().look(names)
    return _named({name: _one(dict(clean(figures[name])), one, needs[name]) for name, one in looked.items()})


def _named(resources: dict[str, T]) -> dict[str, T]:
    """By their names without secrets."""
    return {said(name, str): one for name, one in resources.items()}


def _one(figures: dict[str, Any], looked: Looked, needs: Iterable[str]) -> dict[str, Any]:
    return {
        "type": figures.pop("type", ""),
        "health": looked.health.value,
        "message": looked.message,
        "depends_on": [said(name, str) for name in needs],
        "figures": figures,
    }


def _gate(access: str) -> Callable[[Request], object]:
    if access == "open":
        return lambda _request: None
    return require_auth if access == "authenticated" else require_permissions([access])
