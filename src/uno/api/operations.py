"""uno's endpoints as routes: found by one table, answered without FastAPI's dependency solver."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import NoneType
from typing import Any

from fastapi.routing import APIRoute
from starlette.datastructures import URLPath
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import ASGIApp, Receive, Scope, Send

from uno.api.access import Gate, gate, guarded
from uno.api.action_forms import action_result
from uno.api.actions import answering_action
from uno.api.auth import local_path
from uno.api.events import Handle, answering, event_app, promised
from uno.api.idempotency import KEYED, once, takes_key
from uno.api.openapi import described
from uno.api.problems import NO_CONTENT, allow, not_allowed, raise_as_bug
from uno.api.request import WITHOUT_BODY, body_reader, query_reader, read_body
from uno.api.response import Answer, Encoders, checked, locator, replier, responder, send_reply
from uno.api.table import Table
from uno.app import Endpoint
from uno.app.inclusions import asked_beside, doors
from uno.app.resources import Resource
from uno.bus import Bus
from uno.bus.promise import result_of
from uno.modules.event import is_event
from uno.result import Failure
from uno.security import Policies

# Where in a scope there is the error of an endpoint that was tried already.
RAISED = "uno.raised"


class Operation(APIRoute):
    """One endpoint. What FastAPI knows of a route is worked out when OpenAPI or a tool asks for it."""

    # Whether something keeps the answers to requests with an `Idempotency-Key`.
    keyed = False
    # The operation ids of all messages.
    ids: Mapping[type[Any], str] = {}

    def __init__(self, endpoint: Endpoint, app: ASGIApp, result: Any, operation_id: str) -> None:
        # Not super().__init__(): it would analyse a signature that nothing but OpenAPI needs.
        self.declared = endpoint
        self.app = app
        self.path = endpoint.path
        self.methods = {endpoint.method}
        self.name = endpoint.name
        self.endpoint = endpoint.message
        self.include_in_schema = True
        self.operation_id = self._id = operation_id
        self._result = result

    @cached_property
    def described(self) -> APIRoute:
        """The same as FastAPI would have it."""
        return described(self.declared, self._result, self._id, keyed=self.keyed, ids=self.ids)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "described":
            raise AttributeError(name)
        return getattr(self.described, name)


class Operations(BaseRoute):
    """All of uno's endpoints as one entry of a router, whatever their number.

    `handle` is for events. `stores`: there is a database, which remembers idempotency keys.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        bus: Bus,
        handle: Handle,
        policies: Policies | None = None,
        *,
        stores: bool = False,
    ) -> None:
        encoders = Encoders()
        names = operation_ids(endpoints)
        known = policies or {}
        self.routes = [_made(one, endpoints, bus, handle, encoders, names[n], known) for n, one in enumerate(endpoints)]
        self.table: Table[Operation] = Table()
        ids = {one.message: name for one, name in zip(endpoints, names, strict=True)}
        for route in self.routes:
            route.keyed = stores and takes_key(route.declared)
            route.ids = ids
            route.app = guarded(route.app, route.declared, known)
            self.table.add(route.declared.method, route.declared.path, route)
        for route in self.routes:
            if route.declared.method == "GET":
                self.table.add("HEAD", route.declared.path, route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        path = local_path(scope)
        found = self.table.find(scope["method"], path)
        if found is None:
            methods = self.table.methods(path)
            return (Match.PARTIAL, {"uno.methods": methods}) if methods else (Match.NONE, {})
        route, params = found
        return Match.FULL, {"route": route, "endpoint": route.endpoint, "path_params": params}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods = scope.get("uno.methods")
        if RAISED in scope:
            raise scope[RAISED]
        if methods is None:
            await scope["route"].app(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await Response(status_code=NO_CONTENT, headers=allow(methods))(scope, receive, send)
        else:
            raise not_allowed(methods)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        for route in self.routes:
            if route.name == name:
                return route.url_path_for(name, **path_params)
        raise NoMatchFound(name, path_params)


def operation_ids(endpoints: Sequence[Endpoint]) -> list[str]:
    """The endpoints' names; where two have the same, with method and path behind it."""
    times = Counter(one.name for one in endpoints)
    return [one.name if times[one.name] == 1 else f"{one.name}_{_slug(one)}" for one in endpoints]


def _slug(endpoint: Endpoint) -> str:
    return re.sub(r"\W+", "_", f"{endpoint.method}{endpoint.path}").strip("_").lower()


def _made(
    endpoint: Endpoint,
    endpoints: Sequence[Endpoint],
    bus: Bus,
    handle: Handle,
    encoders: Encoders,
    name: str,
    policies: Policies,
) -> Operation:
    action = endpoint.action
    if action is not None:
        gates = _gates(action.resource, endpoints, policies)
        app = event_app(endpoint, answering_action(endpoint, action, bus.dispatch, gates))
        return Operation(endpoint, app, action_result(action), name)
    if is_event(endpoint.message):
        return _event_operation(endpoint, endpoints, handle, encoders, name)
    return _operation(endpoint, endpoints, bus, encoders, name)


def _gates(resource: Resource, endpoints: Sequence[Endpoint], policies: Policies) -> dict[str, list[Gate]]:
    """By what may be asked of related objects who lets in."""
    found = {}
    for _, asked in asked_beside(resource):
        messages = doors(resource, asked)
        given = [gate(one, policies) for one in endpoints if one.message in messages]
        found[asked] = [one for one in given if one is not None]
    return found


def _operation(endpoint: Endpoint, endpoints: Sequence[Endpoint], bus: Bus, encoders: Encoders, name: str) -> Operation:
    said = result_of(endpoint.message)
    result = None if said is NoneType else said
    encode = checked(encoders.encode(result), endpoint.message, said)
    reply = replier(endpoint.status, encode, locator(endpoint, endpoints))
    make = _without_body if endpoint.method in WITHOUT_BODY else _with_body
    return Operation(endpoint, make(endpoint, bus, reply), result, name)


def _event_operation(
    endpoint: Endpoint, endpoints: Sequence[Endpoint], handle: Handle, encoders: Encoders, name: str
) -> Operation:
    answer = answering(endpoint, endpoints, handle, encoders, keyed=takes_key(endpoint))
    return Operation(endpoint, event_app(endpoint, answer), promised(endpoint.message), name)


def _without_body(endpoint: Endpoint, bus: Bus, reply: Answer) -> ASGIApp:
    read, respond = query_reader(endpoint.message, endpoint.path_fields), responder(reply)
    dispatch: Any = bus.dispatch
    keyed = takes_key(endpoint)

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        message = read(scope)
        if keyed and KEYED in scope:
            await _once(message, b"", dispatch, reply, scope, send)
            return
        try:
            result = await dispatch(message)
        except BaseException as error:
            raise_as_bug(error)
            raise
        if result.__class__ is Failure:
            # Without its old traceback: an error may be a constant, and would grow with every request.
            raise result.error.with_traceback(None)
        await respond(result.value, message, scope, send)

    return app


def _with_body(endpoint: Endpoint, bus: Bus, reply: Answer) -> ASGIApp:
    read, respond = body_reader(endpoint.message, endpoint.path_fields), responder(reply)
    dispatch: Any = bus.dispatch
    keyed = takes_key(endpoint)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        message = read(scope, body)
        if keyed and KEYED in scope:
            await _once(message, body, dispatch, reply, scope, send)
            return
        try:
            result = await dispatch(message)
        except BaseException as error:
            raise_as_bug(error)
            raise
        if result.__class__ is Failure:
            # Without its old traceback: an error may be a constant, and would grow with every request.
            raise result.error.with_traceback(None)
        await respond(result.value, message, scope, send)

    return app


async def _once(message: Any, body: bytes, dispatch: Any, reply: Answer, scope: Scope, send: Send) -> None:
    """The answer to a request with an `Idempotency-Key`."""
    try:
        found = await once(scope, body, lambda value: reply(value, message, scope), lambda: dispatch(message))
    except BaseException as error:
        raise_as_bug(error)
        raise
    await send_reply(found, scope, send)
