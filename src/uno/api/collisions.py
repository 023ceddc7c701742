"""Two routes on one path: FastAPI lets the first win and says nothing, so uno looks itself."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import RouteContext, iter_route_contexts

from uno.app.endpoints import shape
from uno.errors import Misconfigured, Problem

Key = tuple[str, str]


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


class Watch:
    """Looks, at the first request to one of uno's routes, for routes that came later on the same path.

    `is_own` says which are uno's. Raises `Misconfigured` with every one of them that is there twice.
    """

    def __init__(self, is_own: Callable[[RouteContext], bool]) -> None:
        self._is_own = is_own
        self._sound: set[int] = set()

    def look(self, app: Any) -> None:
        if id(app) in self._sound:
            return
        names: defaultdict[Key, list[str]] = defaultdict(list)
        own: dict[Key, str] = {}
        for context in iter_route_contexts(app.routes):
            for key in _keys(context):
                names[key].append(_called(context))
                if self._is_own(context):
                    own[key] = context.path or ""
        found = [twice(key[0], path, *names[key][:2]) for key, path in own.items() if len(names[key]) > 1]
        if found:
            raise Misconfigured.of(found)
        self._sound.add(id(app))


def _keys(context: RouteContext) -> set[Key]:
    # Starlette answers HEAD with every GET of its own.
    return {key_of(method, context.path or "") for method in (context.methods or set()) - {"HEAD"}}


def _called(context: RouteContext) -> str:
    return context.name or context.path or "a route"
