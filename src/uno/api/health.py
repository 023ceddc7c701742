"""`/health`, `/health/live` and `/health/ready`, for whoever restarts and routes.

`/health` has the report of all checks, ready that of those which decide whether requests are sent,
live that of those which decide whether the process is restarted: a missing database restarts nothing.
"""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from uno.api.collisions import Watch, taken
from uno.api.problems import OK, UNAVAILABLE
from uno.app import App
from uno.errors import Misconfigured
from uno.health import HealthCheck, HealthReport, HealthStatus, report

Answer = Callable[[Request], Awaitable[Response]]
Ask = Callable[[], Awaitable[HealthReport]]


def health_endpoints(app: App) -> dict[str, Answer]:
    """By path, for an `App`."""
    return {
        "/health": _reporting(lambda: report(app.checks())),
        "/health/live": _reporting(lambda: app.health(liveness=True)),
        "/health/ready": _reporting(lambda: app.health()),
    }


def add_health_endpoints(app: FastAPI, health: HealthCheck, prefix: str = "/health") -> None:
    """Add `prefix`, `prefix`/live and `prefix`/ready: 200 when healthy or degraded, 503 when unhealthy.

    Raises `Misconfigured` if the application has one of the paths already; one that comes later is
    reported at the first request. Those of `asgi` give way.
    """
    prefix = prefix.rstrip("/")
    asks: dict[str, Ask] = {
        prefix or "/": health.check_async,
        f"{prefix}/live": health.liveness_async,
        f"{prefix}/ready": health.readiness_async,
    }
    add_once(app, {path: _reporting(ask) for path, ask in asks.items()})


def create_health_endpoint(app: FastAPI, health: HealthCheck | None = None, path: str = "/health") -> None:
    """Add one endpoint with the report of all checks; without `health` it says that the process answers."""
    add_once(app, {path: _reporting((health or HealthCheck()).check_async)})


def add_once(app: FastAPI, answers: dict[str, Answer]) -> None:
    """Add a GET for each path, which must be the only one."""
    found = taken(app, [("GET", path, f"the endpoint {path}") for path in answers])
    if found:
        raise Misconfigured.of(found)
    made: list[Route] = []
    watch = Watch(lambda context: context.original_route in made)
    for path, answer in answers.items():
        route = Route(path, _watched(answer, watch), methods=["GET"], name=path, include_in_schema=False)
        made.append(route)
        app.router.routes.append(route)


def _watched(answer: Answer, watch: Watch) -> Answer:
    async def endpoint(request: Request) -> Response:
        watch.look(request.app)
        return await answer(request)

    return endpoint


def _reporting(ask: Ask) -> Answer:
    async def health(_request: Request) -> Response:
        found = await ask()
        status = UNAVAILABLE if found.status is HealthStatus.UNHEALTHY else OK
        return JSONResponse(found.to_dict(), status, {"Cache-Control": "no-store"})

    return health
