"""`/health`, `/health/live` and `/health/ready`, for whoever restarts and routes.

`/health` has the report of all checks, ready that of those which decide whether requests are sent,
live that of those which decide whether the process is restarted: a missing database restarts nothing.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from uno.aio import get_async_manager, get_resource_monitor
from uno.api.collisions import Sole, refuse_clash, taken, watch
from uno.api.problems import OK, UNAVAILABLE
from uno.app import App
from uno.errors import Misconfigured
from uno.health import Check, HealthCheck, HealthCheckResult, HealthReport, HealthStatus
from uno.redact import said

Answer = Callable[[Request], Awaitable[Response]]
Ask = Callable[[], Awaitable[HealthReport]]


class _OwnRoute(Sole, Route):
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        refuse_clash(scope, self)
        await super().handle(scope, receive, send)


def health_endpoints(health: HealthCheck, prefix: str = "/health") -> dict[str, Answer]:
    """By path."""
    prefix = prefix.rstrip("/")
    return {
        prefix or "/": _reporting(_unless_stopping(health.check_async)),
        f"{prefix}/live": _reporting(health.liveness_async),
        f"{prefix}/ready": _reporting(_unless_stopping(health.readiness_async)),
    }


def add_health_endpoints(app: FastAPI, health: HealthCheck | App, prefix: str = "/health") -> None:
    """Add `prefix`, `prefix`/live and `prefix`/ready: 200 when healthy or degraded, 503 when unhealthy.

    Raises `Misconfigured` if the application has one of the paths already; with one that comes later
    it does not start. Those of `asgi` give way.
    """
    add_once(app, health_endpoints(health.health_check if isinstance(health, App) else health, prefix))


def create_health_endpoint(app: FastAPI, health: HealthCheck | None = None, path: str = "/health") -> None:
    """Add one endpoint with the report of all checks; without `health` of those of the `App` behind it, if there is
    one, and of the resources."""
    refuse_app("create_health_endpoint", app)
    asked = health or HealthCheck(checks=partial(_of_application, getattr(app.state, "uno", None)))
    add_once(app, {path: _reporting(_unless_stopping(asked.check_async))})


def _of_application(app: App | None) -> list[Check]:
    monitor = get_resource_monitor()
    resources = [monitor.check()] if monitor.names() else []
    return resources if app is None else [*app.health_check.checks, *resources]


def refuse_app(function: str, app: object) -> None:
    """Raises `Misconfigured` for an `App` where its ASGI application is meant, and for what is neither."""
    if isinstance(app, App):
        raise Misconfigured(f"{function}() takes what answers requests: api = asgi(app), then {function}(api).")
    if not isinstance(app, Starlette):
        raise Misconfigured(f"{function}() takes an application of FastAPI, not {said(app)}.")


def add_once(app: FastAPI, answers: dict[str, Answer]) -> None:
    """Add a GET for each path, which must be the only one."""
    found = taken(app, [("GET", path, f"the endpoint {path}") for path in answers])
    if found:
        raise Misconfigured.of(found)
    watch(app)
    for path, answer in answers.items():
        app.router.routes.append(_OwnRoute(path, answer, methods=["GET"], name=path, include_in_schema=False))


def _unless_stopping(ask: Ask) -> Ask:
    """A process that was told to stop is not ready; nothing else is asked, so that nothing delays the answer."""

    async def asked() -> HealthReport:
        if not get_async_manager().is_shutting_down():
            return await ask()
        stopping = HealthCheckResult("shutdown", HealthStatus.UNHEALTHY, "the process was told to stop")
        return HealthReport(HealthStatus.UNHEALTHY, [stopping])

    return asked


def _reporting(ask: Ask) -> Answer:
    async def health(_request: Request) -> Response:
        found = await ask()
        status = UNAVAILABLE if found.status is HealthStatus.UNHEALTHY else OK
        return JSONResponse(found.to_dict(), status, {"Cache-Control": "no-store"})

    return health
