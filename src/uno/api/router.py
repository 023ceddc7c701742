"""A FastAPI router whose endpoints ask for services."""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import APIRouter

from uno.api.injection import injected, services_of
from uno.di import ServiceProvider


class DIAPIRouter(APIRouter):
    """An `APIRouter` that injects the services in a signature; the rest stay FastAPI parameters.

    Which parameters are services is decided when a route is added, by their types, and once more by
    what is really provided when the router is included in an application of `asgi`. Only a service
    that could as well be a body (a dataclass, a model) needs the second look. Generic markers work
    as ever: `Annotated[T, Depends()]` is FastAPI's.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._added: list[tuple[str, Any, dict[str, Any]]] = []
        self._provider: ServiceProvider | None = None
        super().__init__(*args, **options)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        made = injected(endpoint, self._provider)
        super().add_api_route(path, made, **options)
        self._added.append((path, self.routes[-1], options))

    def bind(self, provider: ServiceProvider) -> None:
        """Look again, now that it is known what is provided."""
        self._provider = provider
        self._added = [self._bound(*one) for one in self._added]

    def _bound(self, path: str, route: Any, options: dict[str, Any]) -> tuple[str, Any, dict[str, Any]]:
        made = injected(route.endpoint, self._provider)
        if services_of(made).keys() == services_of(route.endpoint).keys():
            return path, route, options
        super().add_api_route(path, made, **options)
        again = self.routes.pop()
        self.routes[self.routes.index(route)] = again
        return path, again, options


def routers_in(router: APIRouter) -> Iterator[APIRouter]:
    """The router and those it includes."""
    yield router
    for route in router.routes:
        # FastAPI keeps an included router as one route.
        included = getattr(route, "original_router", None)
        if isinstance(included, APIRouter):
            yield from routers_in(included)
