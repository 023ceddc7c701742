"""The ASGI application: uno's endpoints in front, everything FastAPI can do behind them."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from threading import Lock
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from uno.aio import get_async_manager, in_thread
from uno.api.auth import Identification
from uno.api.collisions import Key, key_of, twice
from uno.api.door import Door
from uno.api.draining import draining_uvicorn
from uno.api.entrance import Entrance
from uno.api.health import Answer, health_endpoints
from uno.api.injection import missing, services_of
from uno.api.management import management_endpoints
from uno.api.metrics import prometheus
from uno.api.openapi import amend
from uno.api.operations import Operations
from uno.api.presence import Attended, Presence
from uno.api.problems import register_error_handlers
from uno.api.request import unreadable
from uno.api.router import DIAPIRouter, routers_in
from uno.app import App
from uno.errors import Misconfigured, Problem
from uno.telemetry.logs import get_logger

log = get_logger("uno.api")


def asgi(
    app: App,
    *,
    title: str | None = None,
    routers: Sequence[APIRouter] = (),
    metrics: bool | None = None,
    **options: Any,
) -> FastAPI:
    """The ASGI application of `app`; `options` are FastAPI's.

    It runs `app.lifespan()` and answers its endpoints, `/health`, `/health/live`, `/health/ready` and,
    unless `settings.api.docs` is off, `/openapi.json` and `/docs`. `metrics=True`, or
    `settings.api.metrics`, opens `/metrics` to everybody who reaches the port; `settings.api.management` opens
    `/management` to those it names. Give your own routers here, or call `include_router` on it. Raises one
    `Misconfigured` with everything that only a web framework can know; what is included later is checked when
    the lifespan starts.
    """
    opened = app.settings.api.metrics if metrics is None else metrics
    api = UnoAPI(app, metrics=opened, title=title or _title(app), **options)
    for router in routers:
        api.include_router(router)
    api.check()
    return api


def _title(app: App) -> str:
    return " + ".join(module.name for module in app.modules) or "uno"


class UnoAPI(FastAPI):
    """What `asgi` gives back; `state.uno` is the `App`."""

    def __init__(self, app: App, *, metrics: bool = False, **options: Any) -> None:
        if "lifespan" in options:
            raise Misconfigured("An application has one lifespan: give yours to App(lifespan=...), not to asgi().")
        self.uno = app
        stores = app.database is not None
        self.operations = Operations(app.endpoints, app.bus, app.host.handle_async, app.policies, stores=stores)
        app.health_check.version = app.version or options.get("version", "")
        self._answers = health_endpoints(app.health_check) | ({"/metrics": prometheus(app)} if metrics else {})
        if app.settings.api.management:
            _require_gate(app)
            self._answers |= management_endpoints(app.settings.api.management)
        self._amended: dict[str, Any] | None = None
        self._describing = Lock()
        self.presence = Presence()
        # FastAPI asks for each request whether somebody has configured OpenTelemetry: 7 µs.
        options.setdefault("telemetry", {"tracing": False, "metrics": False, "logs": False})
        # A redirect's Location is made of the Host header, which the client chooses.
        options.setdefault("redirect_slashes", False)
        if app.version:
            options.setdefault("version", app.version)
        if not app.settings.api.docs:
            options |= {"openapi_url": None, "docs_url": None}
        super().__init__(lifespan=_lifespan, redoc_url=options.pop("redoc_url", None), **options)
        self.router.routes.insert(0, self.operations)
        self.state.uno = app
        register_error_handlers(self)

    @property
    def routes(self) -> list[BaseRoute]:
        """Every route by itself, uno's first. To add one, use `router`."""
        return [*self.operations.routes, *self.router.routes[1:]]

    def include_router(self, router: APIRouter, **options: Any) -> None:
        for one in routers_in(router):
            if isinstance(one, DIAPIRouter):
                one.bind(self.uno.provider)
        super().include_router(router, **options)

    def build_middleware_stack(self) -> ASGIApp:
        # The first moment at which all routes are there.
        taken = {context.path for context in self._own_contexts()} | {one.path for one in self.operations.routes}
        for path, answer in self._answers.items():
            if path in taken:
                log.info("%s is the application's own", path)
            else:
                # Before the user's routes: one of them may take every path.
                self.router.routes.insert(1, Route(path, answer, methods=["GET"], include_in_schema=False))
        plain = not self.user_middleware and self.uno.auth is None
        if self.uno.auth is not None:
            # Around the user's middleware, which may want to know; inside what answers for bugs.
            self.user_middleware.insert(0, Middleware(Identification, provider=self.uno.auth))
        stack = super().build_middleware_stack()
        within = Door(stack, self.router, self.operations) if plain else stack
        return Attended(Entrance(within, self.uno.settings.api.max_body_bytes), self.presence)

    def setup(self) -> None:
        super().setup()
        for n, route in enumerate(self.router.routes):
            if isinstance(route, Route) and route.path == self.openapi_url:
                self.router.routes[n] = Route(route.path, self._described(route.endpoint), include_in_schema=False)

    def _described(self, answer: Answer) -> Answer:
        """`answer`, when the description is there: making it computes for long."""

        @wraps(answer)
        async def openapi(request: Request) -> Response:
            if self._amended is None:
                await in_thread(self.openapi)
            return await answer(request)

        return openapi

    def openapi(self) -> dict[str, Any]:
        with self._describing:
            document = super().openapi()
            if document is not self._amended:
                amend(document)
                self._amended = document
            return document

    def check(self) -> None:
        """Raise everything that is wrong with the routes."""
        found = [*unreadable(self.uno.endpoints), *self._clashes(), *self._missing(), *self._never_run()]
        if found:
            raise Misconfigured.of(found)

    def _own_contexts(self) -> Iterator[RouteContext]:
        """The user's routes, those of included routers too."""
        return iter_route_contexts(self.router.routes[1:])

    def _clashes(self) -> Iterator[Problem]:
        ours = {key_of(one.method, one.path): f"The message {one.message.__qualname__}" for one in self.uno.endpoints}
        # Among FastAPI's own, /x/{a:int} may stand before /x/{a}: the first that fits answers.
        theirs: dict[Key, str] = {}
        for context in self._own_contexts():
            path, name = context.path or "", _name(context.endpoint)
            for method in sorted(context.methods or ()):
                key = method, re.sub(r"\{[^}:]*", "{", path)
                first = ours.get(key_of(method, path)) or theirs.get(key)
                theirs[key] = f"The FastAPI route {name}"
                if first is not None:
                    yield twice(method, path, first, f"the FastAPI route {name}")

    def _missing(self) -> Iterator[Problem]:
        provider = self.uno.provider
        for context in self._own_contexts():
            for name, need in services_of(context.endpoint).items():
                if need.required and not provider.provides(need.type):
                    yield missing(f"{_methods(context)} {context.path}", name, need)

    def _never_run(self) -> Iterator[Problem]:
        for handler in (*self.router.on_startup, *self.router.on_shutdown):
            name = getattr(handler, "__qualname__", repr(handler))
            yield Problem(
                "on_event",
                name,
                f"{name} is registered with on_event, which never runs beside a lifespan; "
                "use App(lifespan=...) or a module's on_load and on_unload.",
            )


def _require_gate(app: App) -> None:
    """That somebody can be let in, and others not."""
    access = app.settings.api.management
    if access == "open" and app.settings.env == "production":
        raise Misconfigured(
            'UNO_API_MANAGEMENT is "open", and UNO_ENV is production: everybody would see what the process is doing; '
            'name a permission there, or "authenticated".'
        )
    if access != "open" and app.auth is None:
        raise Misconfigured(
            f"UNO_API_MANAGEMENT is {access!r}, and nobody who calls is authenticated, so nobody could look; "
            "give App(auth=...), or leave it empty."
        )


@asynccontextmanager
async def _lifespan(api: UnoAPI) -> AsyncIterator[None]:
    api.check()
    settings, manager = api.uno.settings, get_async_manager()
    async with draining_uvicorn(api.uno.lifespan(), manager, grace=settings.grace, linger=settings.api.linger):
        with api.presence.stopping_with(manager, settings.api.linger):
            yield


def _methods(context: RouteContext) -> str:
    return ", ".join(sorted(context.methods or ()))


def _name(endpoint: Any) -> str:
    return f"{endpoint.__module__}.{endpoint.__qualname__}" if hasattr(endpoint, "__qualname__") else repr(endpoint)
