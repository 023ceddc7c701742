"""Two routes on one path: FastAPI lets the first win and says nothing, so uno looks itself."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from fastapi import APIRouter, FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute, compile_path
from starlette.types import Lifespan, Scope

from uno.app.endpoints import shape
from uno.errors import Misconfigured, Problem

Key = tuple[str, str]


class Sole:
    """Part of the class of a route that has to be the only one on its path."""


@dataclass(frozen=True, slots=True)
class Clash:
    """A `Sole` route that is not alone; `path` is the whole one, as a pattern."""

    route: BaseRoute
    method: str
    path: re.Pattern[str]
    problem: Problem

    def meets(self, scope: Scope, route: object) -> bool:
        # One route may be on several paths: its router is included more than once.
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        return route is self.route and method == self.method and self.path.match(path) is not None


def key_of(method: str, path: str) -> Key:
    """Equal keys clash."""
    return method, shape(path)


def twice(method: str, path: str, first: str, second: str) -> Problem:
    text = f"{first} and {second} have the same path; change one of them."
    return Problem("route clash", f"{method} {path}", text)


def taken(app: FastAPI | APIRouter, wanted: Iterable[tuple[str, str, str]]) -> list[Problem]:
    """What is there already of the wanted (method, path, name)."""
    names = {key: _called(context) for context in iter_route_contexts(app.routes) for key in _keys(context)}
    return [
        twice(method, path, names[key_of(method, path)], name)
        for method, path, name in wanted
        if key_of(method, path) in names
    ]


# ── what comes later ──

# By application, found at its start or at the first request to one of its `Sole` routes.
_found: WeakKeyDictionary[Any, list[Clash]] = WeakKeyDictionary()


def watch(app: FastAPI | APIRouter) -> None:
    """Let the start fail with `Misconfigured` where a `Sole` route of the application is not alone."""
    router = app.router if isinstance(app, FastAPI) else app
    if not isinstance(router.lifespan_context, _Watched):
        router.lifespan_context = _Watched(router.lifespan_context)


class _Watched:
    """The lifespan of an application, which looks at its routes first: then all of them are there."""

    def __init__(self, lifespan: Lifespan[Any]) -> None:
        self._lifespan = lifespan

    @asynccontextmanager
    async def __call__(self, app: Any) -> AsyncIterator[Any]:
        if found := _look(app):
            raise Misconfigured.of([clash.problem for clash in found])
        async with self._lifespan(app) as state:
            yield state


def refuse_clash(scope: Scope, route: object) -> None:
    """Raise `Misconfigured` if this route is not alone: nobody has run the lifespan, which says so earlier.

    The other routes answer.
    """
    app = scope["app"]
    found = _found.get(app)
    for clash in _look(app) if found is None else found:
        if clash.meets(scope, route):
            raise Misconfigured.of([clash.problem])


def _look(app: Any) -> list[Clash]:
    _found[app] = found = list(_clashes(app))
    return found


def _clashes(app: Any) -> Iterator[Clash]:
    there: defaultdict[Key, list[RouteContext]] = defaultdict(list)
    for context in iter_route_contexts(app.routes):
        for key in _keys(context):
            there[key].append(context)
    for (method, _), contexts in there.items():
        own = next((one for one in contexts if isinstance(one.original_route, Sole)), None)
        if own is not None and len(contexts) > 1:
            path, names = own.path or "", [_called(one) for one in contexts]
            yield Clash(own.original_route, method, compile_path(path)[0], twice(method, path, *names[:2]))


def _keys(context: RouteContext) -> set[Key]:
    # Starlette answers HEAD with every GET of its own.
    return {key_of(method, context.path or "") for method in (context.methods or set()) - {"HEAD"}}


def _called(context: RouteContext) -> str:
    return context.name or context.path or "a route"
