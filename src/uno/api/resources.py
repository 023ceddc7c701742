"""Resources of a FastAPI application: started and closed with it, and looked at by whoever may."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Lifespan

from uno.aio import get_async_manager, get_resource_monitor, get_resource_registry
from uno.api.access import require_auth, require_permissions
from uno.api.draining import draining_uvicorn
from uno.api.health import Answer, add_once
from uno.api.presence import Attended, Presence
from uno.api.problems import problem_response
from uno.errors import NotFound
from uno.redact import clean

# The permission that `create_resource_monitoring_endpoints` asks for unless told otherwise.
MANAGEMENT = "management"
_NO_STORE = {"Cache-Control": "no-store"}


def setup_resource_management(app: FastAPI, *, grace: float = 10.0, linger: float = 1.0) -> None:
    """Start the manager of the event loop with `app`, and stop it with it: tasks, hooks, resources.

    Told to stop, it goes on listening for `linger` seconds, in which readiness is 503; what was begun has `grace`
    seconds. What `asgi(app)` gives does so by itself, as the settings of its `App` say. Call it before the start.
    """
    if hasattr(app, "presence") or isinstance(app.router.lifespan_context, _Managed):
        return
    presence = Presence()
    app.add_middleware(Attended, presence=presence)
    app.router.lifespan_context = _Managed(app.router.lifespan_context, presence, grace, linger)


class _Managed:
    """A lifespan inside the life of the manager."""

    def __init__(self, lifespan: Lifespan[Any], presence: Presence, grace: float, linger: float) -> None:
        self._lifespan = lifespan
        self._presence = presence
        self._grace = grace
        self._linger = linger

    @asynccontextmanager
    async def __call__(self, app: Any) -> AsyncIterator[Any]:
        manager, life = get_async_manager(), self._life(app)
        async with draining_uvicorn(life, manager, grace=self._grace, linger=self._linger) as state:
            yield state

    @asynccontextmanager
    async def _life(self, app: Any) -> AsyncIterator[Any]:
        async with get_async_manager().running(grace=self._grace) as manager, self._lifespan(app) as state:
            with self._presence.stopping_with(manager, self._linger):
                yield state
            # Tasks end before what they may use.
            await manager.leaving()


def create_resource_monitoring_endpoints(app: FastAPI, prefix: str = "/management", access: str = MANAGEMENT) -> None:
    """Add `prefix`/resources, `prefix`/resources/{name} and `prefix`/health: what is open, and how it is.

    They are for those with the permission `access` only: for nobody, where nobody is authenticated. "authenticated"
    lets in everybody who is, "open" everybody. Raises `Misconfigured` if the application has one of the paths already.
    """
    let_in = _gate(access)
    prefix = prefix.rstrip("/")

    async def resources(request: Request) -> Response:
        let_in(request)
        names = get_resource_registry().get_all_resources()
        return JSONResponse({"resources": {name: await _shown(name) for name in names}}, headers=_NO_STORE)

    async def resource(request: Request) -> Response:
        let_in(request)
        name = request.path_params["name"]
        if name not in get_resource_registry():
            return problem_response(NotFound("resource", name), request.scope)
        return JSONResponse(await _shown(name), headers=_NO_STORE)

    async def health(request: Request) -> Response:
        let_in(request)
        return JSONResponse(await get_resource_monitor().get_health_summary(), headers=_NO_STORE)

    answers: dict[str, Answer] = {"/resources": resources, "/resources/{name}": resource, "/health": health}
    add_once(app, {prefix + path: answer for path, answer in answers.items()})


async def _shown(name: str) -> dict[str, Any]:
    registry = get_resource_registry()
    figures: dict[str, Any] = dict(clean(registry.get_metrics()[name]))
    health = await get_resource_monitor().health_of(name)
    return {
        "type": figures.pop("type", ""),
        "health": health.value,
        "depends_on": list(registry.dependencies()[name]),
        "figures": figures,
    }


def _gate(access: str) -> Callable[[Request], object]:
    if access == "open":
        return lambda _request: None
    return require_auth if access == "authenticated" else require_permissions([access])
