"""Services in the signature of a FastAPI endpoint, which FastAPI never sees.

A parameter is a service if it has no FastAPI marker (`Depends`, `Query`, …) and its type is one the
provider provides. Where no provider is known yet, when a function is decorated, it is a service if
it cannot be anything else: a class marked for injection, settings, or a class (or protocol, as the
buses are) that pydantic has no schema for and FastAPI no use.
"""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from fastapi import BackgroundTasks, Request, Response, UploadFile
from fastapi.params import Body as BodyParam, Depends, Param
from fastapi.security import SecurityScopes
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_settings import BaseSettings
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from uno.api.shapes import adapter, shown, wire_type
from uno.di import MARK, Dependency, ServiceProvider, get_service_provider
from uno.di.dependencies import plain as bare
from uno.errors import Misconfigured, Problem
from uno.result import Failure, Success

P = ParamSpec("P")
R = TypeVar("R")
Services = Mapping[str, Dependency]

_MARK = "__uno_injected__"
_REQUEST = "uno_request"
_FASTAPI_MARKERS = (Depends, Param, BodyParam)
_FASTAPI_TYPES = (HTTPConnection, Response, BackgroundTasks, SecurityScopes, UploadFile)


@dataclass(frozen=True, slots=True, eq=False)
class _Mark:
    """On a wrapper, and on whatever copies its attributes: which wrapper it is of."""

    wrapper: Any
    function: Any
    services: Services


def inject_params() -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Inject the services a FastAPI endpoint asks for by annotation; the other parameters stay FastAPI's.

        @api.post("/users")
        @inject_params()
        async def create_user(command: CreateUser, command_bus: CommandBus): ...

    A returned `Result` becomes its value, or the problem document of its error. Called by hand with
    all its arguments, an async function is what it was; a plain one has to be awaited.
    """
    return lambda function: injected(function)


def services_of(endpoint: Any) -> Services:
    """What is injected into an endpoint."""
    mark = getattr(endpoint, _MARK, None)
    return {} if mark is None else mark.services


def injected(function: Any, provider: ServiceProvider | None = None) -> Any:
    """`function` for FastAPI: without its services in the signature, `provider` deciding which they are."""
    mark = getattr(function, _MARK, None)
    if mark is not None and mark.wrapper is not function:
        return function  # another decorator around ours: what it wraps is injected already
    function = function if mark is None else mark.function
    signature, hints = inspect.signature(function), _hints(function)
    services = {
        name: Dependency(bare(hints[name]), required=parameter.default is inspect.Parameter.empty)
        for name, parameter in signature.parameters.items()
        if name in hints and _is_service(hints[name], parameter.default, provider)
    }
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return _unchanged(function, services)
    wrapper = _wrapper(function, services, _request_of(hints))
    setattr(wrapper, _MARK, _Mark(wrapper, function, services))
    wrapper.__signature__ = _visible(signature, hints, services)
    return wrapper


def _unchanged(function: Any, services: Services) -> Any:
    if services:
        raise Misconfigured(
            f"{function.__qualname__} streams and asks for {', '.join(services)}: services cannot be injected "
            "into a generator; get them from get_service_provider() inside."
        )
    return function


def _hints(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:
        # FastAPI has the same difficulty and says so.
        return {}


# ── which parameters are services ──


def _is_service(hint: Any, default: Any, provider: ServiceProvider | None) -> bool:
    markers = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    if isinstance(default, _FASTAPI_MARKERS) or any(isinstance(m, _FASTAPI_MARKERS) for m in markers):
        return False
    wanted = bare(hint)
    if provider is not None and provider.provides(wanted):
        return True
    return _can_only_be_a_service(wanted)


def _can_only_be_a_service(wanted: Any) -> bool:
    cls = get_origin(wanted) or wanted
    if not inspect.isclass(cls) or issubclass(cls, _FASTAPI_TYPES):
        return False
    if MARK in vars(cls) or issubclass(cls, BaseSettings):
        return True
    try:
        TypeAdapter(wanted)
    except PydanticUserError:
        return True
    except (NameError, TypeError):
        return False
    return False


# ── what FastAPI sees ──


def _visible(signature: inspect.Signature, hints: Mapping[str, Any], services: Services) -> inspect.Signature:
    shown = [_shown(p, hints) for p in signature.parameters.values() if p.name not in services]
    if _request_of(hints) == _REQUEST:
        shown.append(inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request))
    return inspect.Signature(sorted(shown, key=lambda p: p.kind), return_annotation=_returned(hints, signature))


def _request_of(hints: Mapping[str, Any]) -> str:
    """The parameter that is the request: FastAPI fills in one only, so the function's own if it has one."""
    return next((name for name, hint in hints.items() if hint is Request and name != "return"), _REQUEST)


def _shown(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> inspect.Parameter:
    annotation = hints.get(parameter.name, parameter.annotation)
    variadic = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    kind = parameter.kind if variadic else inspect.Parameter.KEYWORD_ONLY
    return parameter.replace(kind=kind, annotation=annotation)


def _returned(hints: Mapping[str, Any], signature: inspect.Signature) -> Any:
    """The return annotation; of `Result[R]` the `R`, where FastAPI can use it."""
    hint = hints.get("return", signature.return_annotation)
    choices = [hint, *get_args(hint)]
    success = next((c for c in choices if (get_origin(c) or c) is Success), None)
    if success is None:
        return inspect.Signature.empty if any(c is Failure for c in choices) else hint
    value = next(iter(get_args(success)), Any)
    return inspect.Signature.empty if adapter(value) is None else wire_type(value)


# ── what happens when it is called ──


def _wrapper(function: Any, services: Services, request_name: str) -> Any:
    is_async = inspect.iscoroutinefunction(function)

    async def invoke(args: Any, kwargs: Any) -> Any:
        if is_async:
            return await function(*args, **kwargs)
        return await run_in_threadpool(function, *args, **kwargs)

    @functools.wraps(function)
    async def endpoint(*args: Any, **kwargs: Any) -> Any:
        request = kwargs.get(request_name)
        kwargs.pop(_REQUEST, None)
        if request is None or services.keys() & kwargs.keys():
            return await invoke(args, kwargs)  # by hand
        if not services:
            return present(await invoke(args, kwargs))
        async with _resolved(services, request) as found:
            return present(await invoke(args, {**kwargs, **found}))

    return endpoint


def present(result: Any) -> Any:
    """A `Success` as its value, a `Failure` raised; anything else as it is."""
    if isinstance(result, Failure):
        raise result.error
    if not isinstance(result, Success):
        return result
    return shown(result.value)


@asynccontextmanager
async def _resolved(services: Services, request: Request) -> AsyncIterator[dict[str, Any]]:
    """The services by name; a scope is open around the endpoint if one of them needs it."""
    app = getattr(request.app.state, "uno", None)
    provider = get_service_provider() if app is None else app.provider
    found: dict[str, Any] = {}
    scoped: dict[str, Any] = {}
    for name, need in services.items():
        if not provider.provides(need.type):
            if need.required:
                raise Misconfigured.of([missing(request.url.path, name, need)])
        elif (getter := provider.ambient_getter(need.type)) is not None:
            found[name] = getter()
        elif provider.needs_scope(need.type):
            scoped[name] = need.type
        else:
            found[name] = await provider.get(need.type)
    if not scoped:
        yield found
        return
    async with provider.scope() as scope:
        for name, wanted in scoped.items():
            found[name] = await scope.get(wanted)
        yield found


def missing(where: str, name: str, need: Dependency) -> Problem:
    wanted = getattr(need.type, "__qualname__", repr(need.type))
    return Problem(
        "missing provider",
        where,
        f"Its parameter {name} asks for {wanted}, which nothing provides; add a provider of it to a module, "
        "or mark the parameter for FastAPI.",
    )
