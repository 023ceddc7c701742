"""build_crud_router: a resource for a FastAPI application that is no uno `App`.

The messages of the resource run through a small pipeline of their own: repetition, transaction, audit.
"""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import cache
from typing import Any
from weakref import WeakSet

from fastapi import APIRouter, Depends, Request
from fastapi.params import Depends as Dependency
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr
from starlette.types import Scope

from uno.api.access import Guard, require_auth, require_permissions
from uno.api.action_forms import action_result
from uno.api.actions import Dispatch, action_reader, answering_action
from uno.api.event_route import EventRoute, route_function
from uno.api.idempotency import KEYED, NAME
from uno.api.openapi import options, with_schemas
from uno.api.operations import operation_ids
from uno.api.request import WITHOUT_BODY
from uno.app import Endpoint
from uno.app.endpoints import endpoint
from uno.app.inclusions import asked_beside, doors
from uno.app.resources import Action, Resource, resource
from uno.audit import AuditBook
from uno.bus import Bus, Middleware
from uno.bus.idempotency import Reply, refuse_keys
from uno.bus.pipeline import per_message
from uno.data import Database, Once, UnitOfWork, repeated, schema, transactional
from uno.errors import Misconfigured, Unavailable

_OPEN = ("open", "authenticated")
_ACTION = "__uno_action__"


def build_crud_router(
    source: Any,
    *,
    database: Database | SecretStr | str,
    dependencies: Sequence[Dependency] = (),
    audit: bool = True,
    **declared: Any,
) -> APIRouter:
    """A router with the operations of `resource(source, **declared)`, over `database`.

    It opens the database for as long as the application runs, unless somebody has; a URL makes one. `dependencies`
    are FastAPI's and stand before every operation. `access` is "open" unless said otherwise. Errors are problem
    documents; what changes is audited and idempotency keys are remembered, in tables of uno's own
    (`App.create_schema()` and `uno db create` make them), unless `audit` is off: then there is no history, and
    requests with a key are refused. Without its tables it refuses to start, and where it shows of related objects
    what the router of those guards by more. Inside an `App` use `resource` instead: there are events, settings and
    policies. Raises `Misconfigured`.
    """
    database = _database(database)
    declared.setdefault("access", "open")
    made: Resource = resource(source, **declared)
    if not audit and made.wanted is None:
        made = replace(made, wanted=tuple(one for one in made.operations if one != "history"))
    if not audit and "history" in made.operations:
        raise Misconfigured(f"Without audit there is no history of {made.cls.__name__}; leave it or audit=False out.")
    tables = _Tables(made, database, _bus(made, database, audit=audit), audit=audit)
    others = _Others(made)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        others.check(app)
        async with database:
            with suppress(Unavailable):  # which is said to each request, until it can be looked up
                await tables.check()
            yield

    router = APIRouter(lifespan=lifespan, dependencies=list(dependencies))
    endpoints = [endpoint(route, made.path.strip("/")) for route in made.routes]
    names = operation_ids(endpoints)
    # FastAPI takes the first that fits: /orders/bulk has to come before /orders/{id}.
    for one, name in sorted(zip(endpoints, names, strict=True), key=lambda pair: pair[0].path.count("{")):
        _add(router, one, name, tables.dispatch, others)
    return router


def _database(given: Any) -> Database:
    if isinstance(given, Database):
        return given
    if not isinstance(given, str | SecretStr):
        raise Misconfigured(f"build_crud_router takes a Database, or the URL of one, not a {type(given).__name__}.")
    return Database(given)


def _bus(made: Resource, database: Database, *, audit: bool) -> Bus:
    books = (AuditBook(),) if audit else ()

    def unit(*, read_only: bool = False) -> UnitOfWork:
        return UnitOfWork(database, books=books, read_only=read_only)

    # Keys are remembered in a table of uno's own, as audit rows are.
    keys = per_message(Once(unit)) if audit else refuse_keys
    around: list[Middleware] = [per_message(repeated), keys, per_message(transactional(unit))]
    return Bus(made.handlers, middleware=around, open_unit=unit)


class _Tables:
    """Those that a router stands on; they are looked for until they have been there once."""

    def __init__(self, made: Resource, database: Database, bus: Bus, *, audit: bool) -> None:
        self._plan, self._database, self._bus, self._audit = made.plan, database, bus, audit
        self._there = False

    async def check(self) -> None:
        """Raise `Misconfigured`, naming what helps, where one is missing."""
        await schema.require_stored(self._database, self._plan, audit=self._audit)
        self._there = True

    def dispatch(self, message: Any) -> Awaitable[Any]:
        return self._bus.dispatch(message) if self._there else self._first(message)

    async def _first(self, message: Any) -> Any:
        try:
            await self.check()
        except Misconfigured as error:
            # Not a bug of the request: the answer and the log say what is missing.
            raise Unavailable(str(error)) from error
        return await self._bus.dispatch(message)


class _Others:
    """The routers that are in one application with this one; they are looked for once."""

    def __init__(self, made: Resource) -> None:
        self._made = made
        self._known: WeakSet[Any] = WeakSet()

    def check(self, app: Any) -> None:
        """Raise `Misconfigured` where this one shows of related objects what another guards by more, or hides."""
        if app not in self._known:
            self._look(app)
            self._known.add(app)

    def _look(self, app: Any) -> None:
        made = self._made
        contexts = [(getattr(one.endpoint, _ACTION, None), one) for one in iter_route_contexts(app.routes)]
        there = [(action, one.dependencies) for action, one in contexts if action is not None]
        # What another hides is known only now.
        made.meet(action.resource for action, _ in there)
        own = [given for one, given in there if one.resource is made and one.operation in ("list", "get")]
        for option, asked in asked_beside(made):
            messages = doors(made, asked)
            for action, wanted in there:
                if action.resource.messages[action.operation] in messages:
                    _refuse_unguarded(f"{option}={asked!r} of {made.cls.__name__}", action, wanted, own)


def _refuse_unguarded(asked: str, action: Action, wanted: Sequence[Any], own: Sequence[Sequence[Any]]) -> None:
    if any(one not in given for given in own for one in wanted):
        raise Misconfigured(
            f"{asked}: the router of {action.resource.cls.__name__} has dependencies, access or permissions that "
            "this one has not, and nobody asks them here; give this one the same, or leave it out."
        )


def _add(router: APIRouter, one: Endpoint, name: str, dispatch: Dispatch, others: _Others) -> None:
    action = one.action
    assert action is not None
    router.add_api_route(
        one.path,
        _function(one, action, dispatch, others),
        route_class_override=EventRoute,
        dependencies=_guards(one),
        **with_schemas(options(one, action_result(action), name)),
    )


def _function(one: Endpoint, action: Action, dispatch: Dispatch, others: _Others) -> Any:
    answer = answering_action(one, action, dispatch)
    has_body = one.method not in WITHOUT_BODY

    async def ask(request: Request, scope: Scope) -> Reply:
        if NAME in (name for name, _ in scope["headers"]):
            scope[KEYED] = True
        try:
            others.check(request.app)
        except Misconfigured as error:
            # As where tables are missing: nobody has run the lifespan.
            raise Unavailable(str(error)) from error
        return await answer(scope, await request.body() if has_body else b"")

    function = route_function(one, ask, action_reader(action, one.message))
    setattr(function, _ACTION, action)
    return function


def _guards(one: Endpoint) -> list[Dependency]:
    if one.access not in _OPEN:
        raise Misconfigured(f"access={one.access!r}: a router knows no policies; give permissions= or dependencies=.")
    if one.permissions:
        return [Depends(_permitting(one.permissions))]
    return [] if one.access == "open" else [Depends(require_auth)]


@cache
def _permitting(permissions: tuple[str, ...]) -> Guard:
    """Of the same permissions the same, so that two routers can be seen to ask for no less."""
    return require_permissions(permissions)
