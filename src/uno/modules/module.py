"""The one `Module`."""

from collections.abc import Sequence
from typing import Any

from uno.health import Check
from uno.messages import Message
from uno.modules.route import Route, as_route

_PARTS = ("handlers", "providers", "models", "routes", "checks")


class Module:
    """What one part of an application brings along.

    Give the parts as arguments, or as class attributes of a subclass. `models` are mapped classes
    and aggregates stored as documents; only messages in `routes` can be reached over HTTP.
    """

    name: str = ""
    handlers: Sequence[Any] = ()
    providers: Sequence[Any] = ()
    models: Sequence[type] = ()
    routes: Sequence[Route | type[Message]] = ()
    checks: Sequence[Check] = ()

    def __init__(
        self,
        name: str | None = None,
        *,
        handlers: Sequence[Any] | None = None,
        providers: Sequence[Any] | None = None,
        models: Sequence[type] | None = None,
        routes: Sequence[Route | type[Message]] | None = None,
        checks: Sequence[Check] | None = None,
    ) -> None:
        self.name = name or type(self).name or type(self).__name__.lower()
        given = (handlers, providers, models, routes, checks)
        for part, value in zip(_PARTS, given, strict=True):
            if value is not None:
                setattr(self, part, value)

    def endpoints(self) -> list[Route]:
        """The routes, each as a `Route`."""
        return [as_route(route) for route in self.routes]

    async def on_load(self) -> None:
        """Runs when the application starts, in the order of the modules."""

    async def on_unload(self) -> None:
        """Runs when the application stops, in reverse order."""

    def __repr__(self) -> str:
        return f"<Module {self.name}>"
