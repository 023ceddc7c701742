"""The declarations as dishka's factories, and the container that resolves them."""

import types
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from dishka import AsyncContainer, BaseScope, DependencyKey, Provider, make_async_container, new_scope
from dishka.dependency_source import Factory
from dishka.entities.component import DEFAULT_COMPONENT
from dishka.entities.factory_type import FactoryType

from uno.di.declaration import Declaration, Kind
from uno.di.dependencies import Dependency, parameters_of, substitute
from uno.di.graph import Graph
from uno.di.lock import TaskLock


class _Scope(BaseScope):
    """Two levels are all uno needs; dishka's six would make two containers for every message."""

    SINGLETON = new_scope("SINGLETON")
    SCOPED = new_scope("SCOPED")


_TYPES: dict[Kind, FactoryType] = {
    "value": FactoryType.VALUE,
    "call": FactoryType.FACTORY,
    "coroutine": FactoryType.ASYNC_FACTORY,
    "generator": FactoryType.GENERATOR,
    "async generator": FactoryType.ASYNC_GENERATOR,
}


def container_for(graph: Graph) -> AsyncContainer:
    """The container of singletons. The graph has been validated."""
    provider = Provider()
    provider.factories.extend(_factory(graph, declaration) for declaration in graph.declarations)
    # Two tasks can meet in the middle of a resolution only where something in it is awaited.
    lock = TaskLock if any(d.awaits for d in graph.declarations) else None
    return make_async_container(provider, scopes=_Scope, lock_factory=lock, skip_validation=True)


def delegating(graph: Graph, declaration: Declaration, outer: AsyncContainer) -> Declaration:
    """A singleton that is taken from another container instead of made again."""
    variables = parameters_of(declaration.provides) if declaration.open else ()
    awaits = graph.any_in(declaration, lambda d: d.awaits)

    def take(*arguments: type) -> Any:
        wanted = substitute(declaration.provides, dict(zip(variables, arguments, strict=True)))
        return outer.get(wanted) if awaits else outer.get_sync(wanted)

    async def take_awaiting(*arguments: type) -> Any:
        return await take(*arguments)

    needs = {v.__name__: Dependency(types.GenericAlias(type, (v,)), positional_only=True) for v in variables}
    kind: Kind = "coroutine" if awaits else "call"
    return Declaration(declaration.provides, "singleton", kind, take_awaiting if awaits else take, needs)


async def close(container: AsyncContainer, error: BaseException | None = None) -> None:
    """Close what the container opened, last first; `error` is raised at the `yield` of its generators."""
    try:
        await container.__aexit__(None, error, None)
    except BaseException:
        # A cancel in the middle leaves dishka with the rest open: that is closed first.
        await close(container, error)
        raise


def _factory(graph: Graph, declaration: Declaration) -> Factory:
    # dishka fails at run time where a type variable is bound to a generic class; the bounds are checked by the graph.
    if declaration.open:
        free = {v: _variable(v.__name__) for v in parameters_of(declaration.provides)}
        declaration = declaration.filled(substitute(declaration.provides, free), free)
    needs = graph.injected(declaration)
    scoped = graph.needs_scope(declaration.provides)
    return Factory(
        dependencies=[_key(need.type) for need in needs.values() if need.positional_only],
        kw_dependencies={name: _key(need.type) for name, need in needs.items() if not need.positional_only},
        source=_source(declaration),
        provides=_key(declaration.provides),
        scope=_Scope.SCOPED if scoped else _Scope.SINGLETON,
        type_=_TYPES[declaration.kind],
        is_to_bind=False,
        cache=declaration.lifetime != "transient" and not declaration.ambient,
        allow_static_evaluation=False,
        when_override=None,
        when_active=None,
        when_component=None,
        when_dependencies=[],
    )


def _variable(name: str) -> Any:
    make: Any = TypeVar
    return make(name)


def _key(hint: Any) -> DependencyKey:
    return DependencyKey(hint, DEFAULT_COMPONENT)


def _source(declaration: Declaration) -> Any:
    if declaration.kind == "generator":
        return partial(_Closing, declaration.source)
    if declaration.kind == "async generator":
        return partial(_AsyncClosing, declaration.source)
    return declaration.source


class _Closing:
    """A user's generator as dishka wants it.

    dishka sends the error that ended the scope as a value; here it is raised at the user's `yield`.
    """

    __slots__ = ("_inner",)

    def __init__(self, source: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        self._inner = source(*args, **kwargs)

    def __next__(self) -> Any:
        return next(self._inner)

    def send(self, error: BaseException | None) -> None:
        try:
            next(self._inner) if error is None else self._inner.throw(error)
        except StopIteration:
            return
        except BaseException as raised:
            if raised is not error:
                raise
            return
        raise RuntimeError(f"{self._inner.__qualname__} yielded more than once.")


class _AsyncClosing:
    """The same for an async generator."""

    __slots__ = ("_inner",)

    def __init__(self, source: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        self._inner = source(*args, **kwargs)

    def __anext__(self) -> Any:
        return self._inner.__anext__()

    async def asend(self, error: BaseException | None) -> None:
        try:
            await (self._inner.__anext__() if error is None else self._inner.athrow(error))
        except StopAsyncIteration:
            return
        except BaseException as raised:
            if raised is not error:
                raise
            return
        raise RuntimeError(f"{self._inner.__qualname__} yielded more than once.")
