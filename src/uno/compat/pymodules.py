"""`PyModulesAPI`, the older way to give events endpoints, over what `uno.api` has."""

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from uno import context
from uno.api import add_health_endpoints, add_metrics_endpoint
from uno.api.collisions import watch
from uno.api.entrance import Entrance
from uno.api.event_route import EventRoute
from uno.api.forms import as_model
from uno.api.openapi import parameters
from uno.api.problems import OK
from uno.app.endpoints import Endpoint
from uno.health import HealthCheck
from uno.modules import Event, ModuleHost

E = TypeVar("E", bound=Event[Any, Any])
F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__uno_event_endpoint__"


class _Route(EventRoute):
    """FastAPI's own errors keep FastAPI's own form."""

    left = (HTTPException, RequestValidationError)


class PyModulesAPI:
    """Endpoints for the events of `host` on any FastAPI application; `ModuleRouter` finds their paths itself."""

    def __init__(self, host: ModuleHost, version: str = "") -> None:
        self.host = host
        self.version = version
        self.health = HealthCheck(host=host, version=version)

    async def dispatch(self, event: E) -> E:
        """The event, handled. Raises `HTTPException` 404 where no module handles it."""
        current = context.get()
        if current is not None:
            event.meta.setdefault("correlation_id", current.correlation_id)
        await self.host.handle_async(event)
        if not event.handled:
            raise HTTPException(404, f"No module found to handle event: {event.name}")
        return event

    def add_event_endpoint(
        self,
        app: FastAPI,
        path: str,
        event_class: type[Event[Any, Any]],
        input_class: Any,
        output_class: Any = None,
        method: str = "POST",
        **route_kwargs: Any,
    ) -> None:
        """Answer `method` at `path` with the output of the event; `route_kwargs` are FastAPI's.

        Values are converted where they can be, and fields that nobody knows are ignored.
        """

        async def answer(event: Event[Any, Any]) -> Any:
            return {"success": True} if event.output is None and output_class is None else event.output

        self._add(app, path, event_class, input_class, answer, method, response_model=output_class, **route_kwargs)

    def add_marked_endpoint(self, app: FastAPI, function: Callable[[Any], Any], **route_kwargs: Any) -> None:
        """The endpoint of a function marked `@event_endpoint`: it gets the handled event, and answers."""
        event_class, input_class, path = getattr(function, _MARK)
        self._add(app, path, event_class, input_class, function, "POST", **route_kwargs)

    def add_health_endpoints(self, app: FastAPI, prefix: str = "/health") -> None:
        """`prefix`, `prefix`/live and `prefix`/ready."""
        add_health_endpoints(app, self.health, prefix)

    def add_metrics_endpoint(self, app: FastAPI, path: str = "/metrics") -> None:
        """The figures of the host as JSON."""
        add_metrics_endpoint(app, self.host, path, version=self.version)

    def add_tracing_middleware(self, app: FastAPI) -> None:
        """Keep a harmless `X-Correlation-ID` or make one; it is in `event.meta` and in the response."""
        app.add_middleware(Entrance, max_body_bytes=sys.maxsize)

    def add_all_endpoints(self, app: FastAPI, health_prefix: str = "/health", metrics_path: str = "/metrics") -> None:
        """Health, metrics and the tracing middleware."""
        self.add_health_endpoints(app, health_prefix)
        self.add_metrics_endpoint(app, metrics_path)
        self.add_tracing_middleware(app)

    def _add(
        self,
        app: FastAPI,
        path: str,
        event_class: type[Event[Any, Any]],
        input_class: Any,
        answer: Callable[[Any], Any],
        method: str,
        **options: Any,
    ) -> None:
        async def respond(**given: Any) -> Any:
            event = event_class(input=input_class(**_values(given)))
            answered = answer(await self.dispatch(event))
            return await answered if inspect.isawaitable(answered) else answered

        endpoint = Endpoint(method, path, event_class, OK, "open", event_class.__name__)
        respond.__name__ = event_class.__name__
        respond.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            parameters(endpoint, _lenient(input_class))
        )
        watch(app)
        app.router.add_api_route(path, respond, methods=[method], route_class_override=_Route, **options)


def _lenient(input_class: Any) -> type[BaseModel]:
    is_model = isinstance(input_class, type) and issubclass(input_class, BaseModel)
    return input_class if is_model else as_model(input_class, extra="ignore")


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the path, the query and the body said, by field."""
    body = given.get("body")
    if isinstance(body, BaseModel):
        return {name: value for name, value in given.items() if name != "body"} | {
            name: getattr(body, name) for name in type(body).model_fields
        }
    return {name: value for name, value in given.items() if name != "body" or value is not None}


def event_endpoint(event_class: type[Event[Any, Any]], input_class: Any, path: str | None = None) -> Callable[[F], F]:
    """Mark a function for `PyModulesAPI.add_marked_endpoint`; the path is by default that of the event's name."""

    def mark(function: F) -> F:
        setattr(function, _MARK, (event_class, input_class, path or f"/{event_class.name.replace('.', '/')}"))
        return function

    return mark
