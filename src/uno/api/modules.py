"""ModuleRouter: the events of a host as endpoints of any FastAPI application."""

from dataclasses import replace
from types import ModuleType
from typing import Any, Self

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.types import Scope

from uno.api.access import require_permissions
from uno.api.collisions import taken, watch
from uno.api.convention import RESTConvention, RouteConvention
from uno.api.discovery import DiscoveredEvent, EventDiscovery, described_event
from uno.api.event_route import Ask, EventRoute, route_function
from uno.api.events import Answer, answering, promised
from uno.api.openapi import options, with_schemas
from uno.api.operations import operation_ids
from uno.api.problems import failed
from uno.api.request import unreadable
from uno.api.response import Encoders
from uno.app import App
from uno.app.endpoints import Endpoint, clashes, endpoint, unknown_fields, unknown_methods
from uno.bus.idempotency import Reply
from uno.errors import Misconfigured
from uno.modules.event import Event, is_event
from uno.modules.exposure import is_excluded_from_api
from uno.modules.fields import field_names
from uno.modules.host import ModuleHost
from uno.modules.route import Route
from uno.telemetry.logs import get_logger

log = get_logger("uno.api")


class ModuleRouter:
    """Gives events an endpoint each, by convention or as `@api_endpoint` says.

    `host` handles them. `register_event` tells what is wrong with one of them, `mount` which of them
    have the same path.
    """

    def __init__(self, host: ModuleHost, convention: RouteConvention | None = None) -> None:
        if not isinstance(host, ModuleHost):
            raise Misconfigured(_no_host(host))
        self.host = host
        self.convention = convention or RESTConvention()
        self.router = APIRouter()
        self._found: list[DiscoveredEvent] = []
        self._endpoints: list[Endpoint] = []
        self._encoders = Encoders()

    @property
    def discovered_events(self) -> list[DiscoveredEvent]:
        """What has been registered."""
        return list(self._found)

    def register_event(self, event_class: type[Event[Any, Any]]) -> Self:
        """Give an event its endpoint; one that has it, is excluded or not in the schema is left out."""
        if not is_event(event_class):
            raise Misconfigured(_no_event(event_class))
        found = described_event(event_class)
        name = (event_class.__module__, event_class.__qualname__)
        known = {(one.module_path, one.event_class.__qualname__) for one in self._found}
        hidden = is_excluded_from_api(event_class) or not found.api_metadata.get("include_in_schema", True)
        if not hidden and name not in known:
            self._add(found)
        return self

    def discover_events(self, package: str | ModuleType) -> int:
        """Register the events in the package's modules whose names end in "events"; says how many were new."""
        before = len(self._found)
        for found in EventDiscovery().discover(package):
            self.register_event(found.event_class)
        return len(self._found) - before

    def mount(self, app: FastAPI | APIRouter, prefix: str = "") -> None:
        """Add the endpoints to `app`. Raises `Misconfigured` with everything that is wrong with them.

        With a route that comes later on the path of one of them the application does not start.
        """
        prefix = prefix.rstrip("/")
        wanted = [(one.method, prefix + one.path, one.message.__qualname__) for one in self._endpoints]
        found = [*clashes(self._endpoints), *taken(app, wanted)]
        if found:
            raise Misconfigured.of(found)
        watch(app)
        app.include_router(self.router, prefix=prefix)

    def _add(self, found: DiscoveredEvent) -> None:
        made = self._endpoint(found.event_class)
        # What somebody wrote is a mistake; what a convention says is in event.meta.
        unknown = unknown_fields([made]) if found.api_metadata.get("path") else []
        wrong = [*unreadable([made]), *unknown_methods([made]), *unknown]
        if wrong:
            raise Misconfigured.of(wrong)
        self._found.append(found)
        self._endpoints.append(made)
        self.router.add_api_route(
            made.path,
            route_function(made, self._answer(made)),
            route_class_override=EventRoute,
            dependencies=[Depends(require_permissions(made.permissions))] if made.permissions else None,
            **with_schemas(options(made, promised(made.message), operation_ids(self._endpoints)[-1])),
        )
        # FastAPI takes the first that fits: /users/export has to come before /users/{user_id}.
        self.router.routes.sort(key=_generality)

    def _endpoint(self, event: type[Event[Any, Any]]) -> Endpoint:
        info = self.convention.get_route(event)
        usual = Route(event, info.method.value, info.path, tags=info.tags, summary=info.summary)
        made = endpoint(Route(event), "", usual=usual)
        made = replace(made, deprecated=made.deprecated or info.deprecated)
        for name in set(made.path_fields) - set(field_names(event)):
            log.info("the input of %s has no field %s: it is in event.meta", event.__qualname__, name)
        return made

    def _answer(self, endpoint: Endpoint) -> Ask:
        made: list[Answer] = []

        async def answer(request: Request, scope: Scope) -> Reply:
            if not made:  # the first request: by now all endpoints are there
                made.append(answering(endpoint, self._endpoints, self._handle, self._encoders))
            return await made[0](scope, await request.body())

        return answer

    async def _handle(self, event: Any) -> Any:
        """What the host gives back; where it keeps errors to itself, an event without an answer failed."""
        event = await self.host.handle_async(event)
        if not event.handled and not self.host.config.propagate_exceptions and self.host.can_handle(event):
            raise failed()
        return event


def _no_event(given: Any) -> str:
    kind = given if isinstance(given, type) else type(given)
    name = kind.__qualname__
    if is_event(kind):
        return f"register_event takes the class of an event: register_event({name})."
    return f"register_event takes the class of an event, and {name} is none: derive it from Event[In, Out]."


def _no_host(given: Any) -> str:
    name = given.__qualname__ if isinstance(given, type) else type(given).__qualname__
    fix = "the endpoints of an App come with asgi(app)" if isinstance(given, App) else "ModuleRouter(ModuleHost())"
    return f"ModuleRouter takes a ModuleHost, not {name}: {fix}."


def _generality(route: Any) -> list[bool]:
    """For each segment whether it is a parameter: what is literal comes first."""
    return [segment.startswith("{") for segment in route.path.split("/")]
