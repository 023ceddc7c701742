"""`/health/live` and `/health/ready`: the report of the application's checks, for whoever restarts and routes."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uno.api.problems import OK, UNAVAILABLE
from uno.app import App
from uno.health import HealthStatus

Answer = Callable[[Request], Awaitable[Response]]


def health_endpoints(app: App) -> dict[str, Answer]:
    """By path. Live asks the liveness checks only, so that a missing database restarts nothing."""
    return {"/health/live": _reporting(app, liveness=True), "/health/ready": _reporting(app, liveness=False)}


def _reporting(app: App, *, liveness: bool) -> Answer:
    async def health(_request: Request) -> Response:
        report = await app.health(liveness=liveness)
        status = UNAVAILABLE if report.status is HealthStatus.UNHEALTHY else OK
        return JSONResponse(report.to_dict(), status, {"Cache-Control": "no-store"})

    return health
