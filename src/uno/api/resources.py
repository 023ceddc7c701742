"""Resources of a FastAPI application: started and closed with it, and looked at by whoever may."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Lifespan

from uno.aio import get_async_manager, get_resource_monitor, get_resource_registry
from uno.aio.monitor import Looked
from uno.api.access import require_auth, require_permissions
from uno.api.draining import draining_uvicorn
from uno.api.health import Answer, add_once, refuse_app
from uno.api.presence import Attended, Presence
from uno.api.problems import problem_response
from uno.errors import NotFound
from uno.redact import clean
from uno.settings import load

# The permission that `create_resource_monitoring_endpoints` asks for unless told otherwise.
MANAGEMENT = "management"
_NO_STORE = {"Cache-Control": "no-store"}


def setup_resource_management(app: FastAPI, *, grace: float | None = None, linger: float | None = None) -> None:
    """Start the manager of the event loop with `app`, and stop it with it: tasks, hooks, resources.

    Told to stop, it goes on listening for `linger` seconds, in which readiness is 503; what was begun has `grace`
    seconds. By default they are UNO_API_LINGER (1) and UNO_GRACE (10). What `asgi(app)` gives does so by itself, as the
    settings of its `App` say. Call it before the start.
    """
    refuse_app("setup_resource_management", app)
    if hasattr(app, "presence") or isinstance(app.router.lifespan_context, _Managed):
        return
    settings = load()
    grace = settings.grace if grace is None else grace
    linger = settings.api.linger if linger is None else linger
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
    refuse_app("create_resource_monitoring_endpoints", app)
    let_in = _gate(access)
    prefix = prefix.rstrip("/")

    async def resources(request: Request) -> Response:
        let_in(request)
        found = await _shown(get_resource_registry().get_all_resources())
        return JSONResponse({"resources": found}, headers=_NO_STORE)

    async def resource(request: Request) -> Response:
        let_in(request)
        name = request.path_params["name"]
        if name not in get_resource_registry():
            return problem_response(NotFound("resource", name), request.scope)
        return JSONResponse((await _shown([name]))[name], headers=_NO_STORE)

    async def health(request: Request) -> Response:
        let_in(request)
        return JSONResponse(await get_resource_monitor().get_health_summary(), headers=_NO_STORE)

    answers: dict[str, Answer] = {"/resources": resources, "/resources/{name}": resource, "/health": health}
    add_once(app, {prefix + path: answer for path, answer in answers.items()})


async def _shown(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    registry, names = get_resource_registry(), list(names)
    figures, needs = registry.get_metrics(names), registry.dependencies()
    looked = await get_resource_monitor().look(names)
    return {name: _one(dict(clean(figures[name])), one, needs[name]) for name, one in looked.items()}


def _one(figures: dict[str, Any], looked: Looked, needs: Iterable[str]) -> dict[str, Any]:
    return {
        "type": figures.pop("type", ""),
        "health": looked.health.value,
        "message": looked.message,
        "depends_on": list(needs),
        "figures": figures,
    }


def _gate(access: str) -> Callable[[Request], object]:
    if access == "open":
        return lambda _request: None
    return require_auth if access == "authenticated" else require_permissions([access])
