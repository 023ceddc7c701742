"""From a marked function or class to one async callable that takes only the message.

Singletons are looked up once, now; ambient things (the unit of work, the context) by a getter for
each message; a container scope is opened only for handlers that need something else.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args, get_type_hints

from uno.bus.annotations import contradicts, hints_of
from uno.bus.entities import Entities, loading, loading_class, named, unnamed
from uno.bus.pipeline import Call
from uno.bus.registry import Handles
from uno.di import MARK, Dependency, ServiceProvider, dependencies_of
from uno.di.dependencies import name_of as hint_name
from uno.errors import Misconfigured, Problem
from uno.messages import Message, result_type
from uno.telemetry.logs import get_logger

log = get_logger("uno.bus")
Getter = Callable[[], object]


@dataclass(frozen=True, slots=True)
class _Sorted:
    """The dependencies of one callable, by how they are got."""

    fixed: Mapping[str, object]
    ambient: Mapping[str, Getter]
    scoped: Mapping[str, Any]


def name_of(target: Any) -> str:
    """How a handler or message is called in a message, without the function it was defined in."""
    return str(getattr(target, "__qualname__", None) or repr(target)).rpartition("<locals>.")[2]


def _method(target: Any) -> Any:
    return getattr(target, "handle", None) if inspect.isclass(target) else target


def parameters(target: Any) -> tuple[str, dict[str, Dependency]]:
    """The message parameter's name, and what is injected beside it."""
    method = _method(target)
    names = list(inspect.signature(method).parameters)
    first = 1 if inspect.isclass(target) else 0
    message = names[first]
    skipped = set(names[: first + 1])
    return message, {n: d for n, d in dependencies_of(method).items() if n not in skipped}


def shape_problem(mark: Handles) -> Problem | None:
    """What is wrong with the form of a handler, if anything."""
    where, method = name_of(mark.handler), _method(mark.handler)
    first = 1 if inspect.isclass(mark.handler) else 0
    if method is None:
        fix = "add `async def handle(self, message)`."
        return Problem("wrong handler", where, f"It is a class without a method handle; {fix}")
    if not inspect.iscoroutinefunction(method):
        return Problem("wrong handler", where, "It is not async; write `async def`.")
    if len(inspect.signature(method).parameters) <= first:
        return Problem("wrong handler", where, "It takes no message; make the message its first parameter.")
    return _other_message(mark, method) or _other_result(mark, method)


def _other_message(mark: Handles, method: Any) -> Problem | None:
    """Where the first parameter says that it takes another message than the decorator does."""
    name = list(inspect.signature(method).parameters)[1 if inspect.isclass(mark.handler) else 0]
    try:
        said = get_type_hints(method).get(name)
    except NameError:  # an annotation that cannot be read is reported with its parameter
        return None
    classes = [one for one in (get_args(said) or (said,)) if inspect.isclass(one) and issubclass(one, Message)]
    if not classes or any(issubclass(mark.message, one) for one in classes):
        return None
    found = " | ".join(one.__qualname__ for one in classes)
    wanted = mark.message.__qualname__
    text = f"It is marked for {wanted}, but its parameter {name} is a {found}; make them the same."
    return Problem("wrong handler", name_of(mark.handler), text)


def _other_result(mark: Handles, method: Any) -> Problem | None:
    """Where it says that it gives back something else than the message promises: known before anything is stored."""
    promised = result_type(mark.message) if mark.kind in ("command", "query") else None
    said = hints_of(method).get("return")
    if promised is None or said is None or not contradicts(said, promised):
        return None
    wanted = f"{mark.message.__qualname__} promises {hint_name(promised)}"
    text = f"It gives back {hint_name(said)}, but {wanted}; make them the same."
    return Problem("wrong handler", name_of(mark.handler), text)


def problems(
    mark: Handles, provider: ServiceProvider, given: Mapping[type, object], entities: Entities | None = None
) -> list[Problem]:
    """Everything that would keep this handler from being called; `given` is there beside what is provided."""
    wrong = shape_problem(mark)
    if wrong:
        return [wrong]
    where = name_of(mark.handler)
    try:
        stored, wanted = _parted(parameters(mark.handler)[1], provider, entities)
        if inspect.isclass(mark.handler):
            wanted = {**dependencies_of(mark.handler), **wanted}
    except Misconfigured as unreadable:  # one annotation must not hide the other problems
        return list(unreadable.problems)
    wanted = {name: need for name, need in wanted.items() if need.type not in given}
    return [*unnamed(stored, mark.taken, where), *provider.problems_for(where, wanted, lifetime="scoped")]


def _parted(
    wanted: dict[str, Dependency], provider: ServiceProvider, entities: Entities | None
) -> tuple[dict[str, Dependency], dict[str, Dependency]]:
    """The entities a handler asks for, and the rest; what somebody provides is no matter of the message."""
    if entities is None:
        return {}, wanted
    stored = {n: need for n, need in wanted.items() if entities.knows(need.type) and not provider.provides(need.type)}
    return stored, {name: need for name, need in wanted.items() if name not in stored}


async def _sort(wanted: Mapping[str, Dependency], provider: ServiceProvider, given: Mapping[type, object]) -> _Sorted:
    fixed: dict[str, object] = {}
    ambient: dict[str, Getter] = {}
    scoped: dict[str, Any] = {}
    for name, dependency in wanted.items():
        if dependency.type in given:
            fixed[name] = given[dependency.type]
            continue
        if not dependency.required and not provider.provides(dependency.type):
            continue
        getter = provider.ambient_getter(dependency.type)
        if getter is not None:
            ambient[name] = getter
        elif provider.needs_scope(dependency.type) or not provider.is_singleton(dependency.type):
            scoped[name] = dependency.type
        else:
            fixed[name] = await provider.get(dependency.type)
    return _Sorted(fixed, ambient, scoped)


async def compile_handler(
    mark: Handles, provider: ServiceProvider, given: Mapping[type, object], entities: Entities | None = None
) -> Call:
    """One async callable that takes only the message."""
    handler: Any = mark.handler
    stored, wanted = _parted(parameters(handler)[1], provider, entities)
    beside = await _sort(wanted, provider, given)
    made = _loaded(mark, stored, entities)
    if not inspect.isclass(handler):
        return _function(made, beside, provider)
    parts = await _sort(dependencies_of(handler), provider, given)
    if not parts.ambient and not parts.scoped:
        return _function(made(**parts.fixed).handle, beside, provider)
    mark_of_class = vars(handler).get(MARK)
    if mark_of_class is not None and mark_of_class.lifetime == "singleton":
        log.info("%s is a singleton, but needs something scoped: it is made for each message", name_of(handler))
    return _per_message(made, parts, beside, provider)


def _loaded(mark: Handles, stored: Mapping[str, Dependency], entities: Entities | None) -> Any:
    """The handler, given the entities that its message names."""
    wanted = named(stored, mark.taken, _method(mark.handler))
    if entities is None or not wanted:
        return mark.handler
    load: Any = loading_class if inspect.isclass(mark.handler) else loading
    return load(mark.handler, entities.loader(wanted, changing=mark.kind != "query"))


def _function(function: Any, beside: _Sorted, provider: ServiceProvider) -> Call:
    call: Any = partial(function, **beside.fixed) if beside.fixed else function
    if beside.scoped:
        return _in_scope(call, beside, provider)
    if not beside.ambient:
        return call  # type: ignore[no-any-return]
    getters = tuple(beside.ambient.items())
    if len(getters) == 1:
        [(name, getter)] = getters
        return lambda message: call(message, **{name: getter()})
    return lambda message: call(message, **{name: getter() for name, getter in getters})


async def _fetch(parts: _Sorted, scope: Any) -> dict[str, Any]:
    got = {name: getter() for name, getter in parts.ambient.items()}
    for name, wanted in parts.scoped.items():
        got[name] = await scope.get(wanted)
    return got


def _fetch_at_once(parts: _Sorted, scope: Any) -> dict[str, Any]:
    got = {name: getter() for name, getter in parts.ambient.items()}
    for name, wanted in parts.scoped.items():
        got[name] = scope.get_sync(wanted)
    return got


def _in_scope(function: Any, beside: _Sorted, provider: ServiceProvider) -> Call:
    if all(map(provider.is_plain, beside.scoped.values())):
        return _in_plain_scope(function, beside, provider)
    if len(beside.scoped) == 1 and not beside.ambient:
        return _with_one(function, *next(iter(beside.scoped.items())), provider)

    async def call(message: Any) -> Any:
        async with provider.scope() as scope:
            return await function(message, **await _fetch(beside, scope))

    return call


def _with_one(function: Any, name: str, wanted: Any, provider: ServiceProvider) -> Call:
    async def call(message: Any) -> Any:
        async with provider.scope() as scope:
            return await function(message, **{name: await scope.get(wanted)})

    return call


def _in_plain_scope(function: Any, beside: _Sorted, provider: ServiceProvider) -> Call:
    """The same where nothing is awaited before the message is handled, or closed afterwards."""
    if beside.ambient or len(beside.scoped) > 1:
        return lambda message: function(message, **_fetch_at_once(beside, provider.scope()))
    [(name, wanted)] = beside.scoped.items()
    return lambda message: function(message, **{name: provider.get_alone(wanted)})


def _per_message(cls: Any, parts: _Sorted, beside: _Sorted, provider: ServiceProvider) -> Call:
    """A new instance of a handler class for each message."""

    async def call(message: Any) -> Any:
        async with provider.scope() as scope:
            made = cls(**parts.fixed, **await _fetch(parts, scope))
            return await made.handle(message, **beside.fixed, **await _fetch(beside, scope))

    async def call_without_scope(message: Any) -> Any:
        made = cls(**parts.fixed, **{name: getter() for name, getter in parts.ambient.items()})
        got = {name: getter() for name, getter in beside.ambient.items()}
        return await made.handle(message, **beside.fixed, **got)

    def call_in_plain_scope(message: Any) -> Any:
        scope = provider.scope()
        made = cls(**parts.fixed, **_fetch_at_once(parts, scope))
        return made.handle(message, **beside.fixed, **_fetch_at_once(beside, scope))

    scoped = (*parts.scoped.values(), *beside.scoped.values())
    if not scoped:
        return call_without_scope
    return call_in_plain_scope if all(map(provider.is_plain, scoped)) else call
