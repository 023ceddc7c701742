"""Resources of a FastAPI application: started and closed with it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import Lifespan

from uno.aio import get_async_manager
from uno.api.draining import draining_uvicorn
from uno.api.health import refuse_app
from uno.api.presence import Attended, Presence
from uno.errors import Misconfigured
from uno.resilience.arguments import require_numbers
from uno.settings import load

_NAME = "setup_resource_management()"


def setup_resource_management(app: FastAPI, *, grace: float | None = None, linger: float | None = None) -> None:
    """Start the manager of the event loop with `app`, and stop it with it: tasks, hooks, resources.

    Told to stop, it goes on listening for `linger` seconds, in which readiness is 503; what was begun has `grace`
    seconds. By default they are UNO_API_LINGER (1) and UNO_GRACE (10). What `asgi(app)` gives does so by itself, as the
    settings of its `App` say. Call it before the start.
    Raises `Misconfigured` for what is no application or no number of seconds.
    """
    refuse_app("setup_resource_management", app)
    if hasattr(app, "presence") or isinstance(app.router.lifespan_context, _Managed):
        return
    settings = load()
    grace = settings.grace if grace is None else _seconds("grace", grace)
    linger = settings.api.linger if linger is None else _within(grace, _seconds("linger", linger))
    presence = Presence()
    app.add_middleware(Attended, presence=presence)
    app.router.lifespan_context = _Managed(app.router.lifespan_context, presence, grace, linger)


def _seconds(name: str, given: float) -> float:
    require_numbers(_NAME, **{name: given})
    if given < 0:
        raise Misconfigured(f"{name} of {_NAME} is 0 seconds or more, not {given!r}.")
    return given


def _within(grace: float, linger: float) -> float:
    if linger > grace:
        raise Misconfigured(f"linger of {_NAME} is within the grace of {grace:g} s, not {linger:g} s.")
    return linger


class _Managed:
    """A lifespan inside the life of the manager."""

    def __init__(self, lifespan: Lifespan[Any], presence: Presence, grace: float, linger: float) -> None:
        self._lifespan = lifespan
        self._presence = presence
        self._grace = grace
        self._linger = linger

    @asynccontextmanager
    async def __call__(self, app: Any) -> AsyncIterator[Any]:
        manager, life = get_async_manager(), self._life(app)
        async with draining_uvicorn(life, manager, grace=self._grace, linger=self._linger) as state:
            yield state

    @asynccontextmanager
    async def _life(self, app: Any) -> AsyncIterator[Any]:
        async with get_async_manager().running(grace=self._grace) as manager, self._lifespan(app) as state:
            with self._presence.stopping_with(manager, self._linger):
                yield state
            # Tasks end before what they may use.
            await manager.leaving()
