"""Arguments of `App` and parts of modules that are something else than they have to be."""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from uno.app.around import middleware_problem
from uno.bus import Handles
from uno.bus.handler import name_of
from uno.errors import Misconfigured, Problem
from uno.health import Check
from uno.messages import Message
from uno.modules import Module, ModuleHostConfig, Route
from uno.modules.event import is_event
from uno.modules.route import Bundle

_PARTS = ("handlers", "providers", "models", "routes", "checks")


def refuse_mistakes(modules: Iterable[Any], auth: Any, lifespan: Any, host: Any, middleware: Any) -> None:
    """Raises one `Misconfigured` with what nothing else can be made of."""
    around = [*_of_lifespan(lifespan), *_of_host(host), *_of_middleware(middleware)]
    found = [*_of_auth(auth), *around, *(problem for module in modules for problem in _of_module(module))]
    if found:
        raise Misconfigured.of(found)


def middleware_problems(users: Iterable[Any], marks: Iterable[Handles]) -> list[Problem]:
    """Middleware, of all messages and of handlers, that could not be called with a message and what comes next."""
    found = [(one, "App") for one in users]
    found += [(one, name_of(mark.handler)) for mark in marks for one in mark.middleware]
    return [problem for one, where in found if (problem := middleware_problem(one, where)) is not None]


def _of_lifespan(lifespan: Any) -> Iterator[Problem]:
    name = name_of(lifespan)
    if inspect.isasyncgenfunction(lifespan) or inspect.isgeneratorfunction(lifespan):
        text = f"{name} is a generator; write @asynccontextmanager above `async def {name}(app)`."
        yield Problem("wrong lifespan", name, text)
    elif inspect.iscoroutinefunction(lifespan):
        text = f"{name} ends before the application starts; let it `yield`, and write @asynccontextmanager above it."
        yield Problem("wrong lifespan", name, text)
    elif lifespan is not None and not callable(lifespan):
        text = "lifespan is a function of the application; write @asynccontextmanager above `async def lifespan(app)`."
        yield Problem("wrong lifespan", name, text)


def _of_host(host: Any) -> Iterator[Problem]:
    if host is not None and not isinstance(host, ModuleHostConfig):
        kind = host.__qualname__ if inspect.isclass(host) else type(host).__qualname__
        text = f"host takes a ModuleHostConfig, not {kind}: App(host=ModuleHostConfig(max_workers=8))."
        yield Problem("wrong host", kind, text)


def _of_middleware(middleware: Any) -> Iterator[Problem]:
    if isinstance(middleware, str | bytes) or not isinstance(middleware, Iterable):
        name = name_of(middleware)
        yield Problem("wrong middleware", name, f"middleware is a list; write middleware=[{name}].")


def _of_auth(auth: Any) -> Iterator[Problem]:
    if inspect.isclass(auth):
        name = auth.__qualname__
        yield Problem("wrong auth", name, f"auth is the class {name}; make a provider of it: auth={name}(...).")
    elif auth is not None and not hasattr(auth, "validate_token"):
        where = type(auth).__qualname__
        yield Problem("wrong auth", where, f"auth is a {where}; give an AuthProvider, for instance JWTAuthProvider().")


def _of_module(module: Any) -> Iterator[Problem]:
    if inspect.isclass(module) and issubclass(module, Module):
        name = module.__qualname__
        yield Problem("wrong module", name, f"{name} is a class; make a module of it: App({name}()).")
    elif not isinstance(module, Module):
        text = "App takes modules only; wrap what it brings in Module('name', handlers=[...])."
        yield Problem("wrong module", name_of(module), text)
    else:
        yield from (problem for part in _PARTS for problem in _of_part(module, part))


def _of_part(module: Module, part: str) -> Iterator[Problem]:
    value: Any = getattr(module, part)
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        text = f"The {part} of the module {module.name} are a list; write {part}=[{name_of(value)}]."
        yield Problem("wrong module", module.name, text)
    elif part == "routes":
        yield from (_wrong_route(module, one) for one in value if not _is_route(one))
    elif part == "checks":
        yield from (_wrong_check(module, one) for one in value if not isinstance(one, Check))


def _is_route(declared: Any) -> bool:
    if isinstance(declared, Bundle):
        return True
    message = declared.message if isinstance(declared, Route) else declared
    return is_event(message) or (inspect.isclass(message) and issubclass(message, Message))


def _wrong_route(module: Module, declared: Any) -> Problem:
    shown = name_of(declared.message if isinstance(declared, Route) else declared)
    text = f"{shown} in the routes of {module.name} is no message class; give the class, or Route(class)."
    return Problem("wrong route", shown, text)


def _wrong_check(module: Module, given: Any) -> Problem:
    name = name_of(given)
    text = f"{name} in the checks of {module.name} is no Check; wrap it in Check('name', function)."
    return Problem("wrong check", name, text)
