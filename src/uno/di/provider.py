"""ServiceProvider: what the declarations of an application give at run time."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from dishka import AsyncContainer
from dishka.exceptions import NoFactoryError, UnsupportedFactoryError

from uno.di.container import close, container_for, delegating
from uno.di.declaration import Declaration, ambient, given, read
from uno.di.dependencies import Dependency, name_of, plain
from uno.di.graph import Graph
from uno.di.lifetime import Lifetime
from uno.di.scope import Scope
from uno.di.validation import Validation
from uno.errors import Misconfigured, Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Layer:
    """A graph and its container, which is there only where the graph is right."""

    graph: Graph
    validation: Validation
    problems: tuple[Problem, ...]
    container: AsyncContainer | None


class ServiceProvider:
    """Makes services from marked classes, factories and values.

    `overrides` replaces what is provided for a type by an instance. `ambient` names types the
    framework knows at any time by a getter (the unit of work, the context): they count as scoped.
    Building never fails: `problems()` lists what is wrong, and resolving raises it as `Misconfigured`.
    """

    def __init__(
        self,
        providers: Iterable[object],
        *,
        overrides: Mapping[type, object] | None = None,
        ambient: Mapping[type, Callable[[], object]] | None = None,
    ) -> None:
        declarations, self._unread = read(providers)
        declarations = [*_ambient_declarations(ambient or {}), *declarations]
        for provides, instance in (overrides or {}).items():
            declarations = _replaced(declarations, provides, instance)
        self._layers = [self._layer(declarations)]
        self._opened = [layer.container for layer in self._layers if layer.container]

    def _layer(self, declarations: Iterable[Declaration]) -> _Layer:
        graph = Graph(declarations)
        validation = Validation(graph)
        problems = (*self._unread, *validation.problems)
        container = None if problems else container_for(graph)
        return _Layer(graph, validation, problems, container)

    @property
    def _graph(self) -> Graph:
        return self._layers[-1].graph

    def _container(self) -> AsyncContainer:
        layer = self._layers[-1]
        if layer.container is None:
            raise Misconfigured.of(layer.problems)
        return layer.container

    # ── resolving ──

    async def get(self, key: Callable[..., T], /) -> T:
        """The singleton or transient of this type. Raises `Misconfigured` for one that lives in a scope."""
        try:
            found: T = await self._container().get(key)
        except NoFactoryError as error:
            found = self._from_ambient(key, error)
        return found

    def get_sync(self, key: Callable[..., T], /) -> T:
        """The same without awaiting. Raises `Misconfigured` where something in it has to be awaited."""
        try:
            found: T = self._container().get_sync(key)
        except NoFactoryError as error:
            found = self._from_ambient(key, error)
        except UnsupportedFactoryError as error:
            raise self._awaited(key) from error
        return found

    def scope(self) -> Scope:
        """A new scope: `async with provider.scope() as scope: await scope.get(T)`."""
        return Scope(self._container()(), self._unresolved)

    def get_alone(self, key: Callable[..., T], /) -> T:
        """The service of a new scope which is then forgotten instead of left: only for what `is_plain`."""
        container = self._layers[-1].container or self._container()
        try:
            found: T = container().get_sync(key)
        except NoFactoryError as error:
            raise self._unresolved(key, error) from error
        return found

    async def close(self) -> None:
        """Close the singletons, last made first; all of them, even where one fails. A later `get` makes new ones."""
        opened, self._opened = self._opened, self._opened[:1]
        async with AsyncExitStack() as stack:
            for container in opened:
                stack.push_async_callback(close, container)

    async def __aenter__(self) -> "ServiceProvider":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @contextmanager
    def override(self, provides: Any, instance: object) -> Iterator[None]:
        """For tests: `instance` instead of what is provided, also for singletons that exist already.

        Singletons that do not use it stay the same objects; those that do are made again inside, and
        closed with the provider. What was resolved before, a running scope too, keeps what it got.
        """
        layer = self._layer(self._overridden(plain(provides), instance))
        self._layers.append(layer)
        if layer.container:
            self._opened.append(layer.container)
        try:
            yield
        finally:
            self._layers.remove(layer)

    def _overridden(self, provides: Any, instance: object) -> Iterator[Declaration]:
        current = self._layers[-1]
        graph = Graph(_replaced(current.graph.declarations, provides, instance))
        for declaration in graph.declarations:
            kept = declaration.lifetime == "singleton" and declaration.kind != "value"
            if kept and current.container and not graph.uses(declaration, provides):
                yield delegating(graph, declaration, current.container)
            else:
                yield declaration

    # ── asking, while starting ──

    def problems(self) -> list[Problem]:
        """Everything that is wrong with the declarations: missing, cyclic, captive, duplicate, unannotated."""
        return list(self._layers[-1].problems)

    def problems_for(
        self, name: str, dependencies: Iterable[Any] | Mapping[str, Dependency], lifetime: Lifetime = "transient"
    ) -> list[Problem]:
        """What is wrong with something called `name` that needs these, beyond `problems()`; paths begin with it."""
        if not isinstance(dependencies, Mapping):
            dependencies = {name_of(hint): Dependency(plain(hint)) for hint in dependencies}
        return self._layers[-1].validation.added_by(Declaration(name, lifetime, "call", object(), dependencies))

    def provides(self, key: Any) -> bool:
        """Whether something provides this type."""
        return self._graph.find(plain(key)) is not None

    def needs_scope(self, key: Any) -> bool:
        """Whether making it touches anything scoped or ambient, so that it takes a scope to resolve."""
        return self._graph.needs_scope(key)

    def is_singleton(self, key: Any) -> bool:
        """Whether there is only one, so that it may be kept."""
        found = self._graph.find(plain(key))
        return found is None or found.lifetime == "singleton"

    def is_plain(self, key: Any) -> bool:
        """Whether it is made without awaiting and has nothing to close, so that its scope need not be left."""
        graphs = [layer.graph for layer in self._layers]
        found = [(graph, graph.find(plain(key))) for graph in graphs]
        return not any(d and graph.any_in(d, lambda one: one.awaits or one.closes) for graph, d in found)

    def ambient_getter(self, key: Any) -> Callable[[], Any] | None:
        """The getter of an ambient type, unless it is overridden."""
        found = self._graph.find(plain(key))
        return found.source if found and found.ambient else None

    # ── what went wrong ──

    def _from_ambient(self, key: Any, error: NoFactoryError) -> Any:
        getter = self.ambient_getter(key)
        if getter is None:
            raise self._unresolved(key, error) from error
        return getter()

    def _unresolved(self, key: Any, error: NoFactoryError) -> Exception:
        name = name_of(plain(key))
        if found := self.problems_for("get", [key]):
            return Misconfigured("\n".join(map(str, found)), found)
        if self.needs_scope(key):
            how = f"`async with provider.scope() as scope: await scope.get({name})`"
            return Misconfigured(f"{name} lives in a scope: {how}.")
        return error

    def _awaited(self, key: Any) -> Misconfigured:
        name = name_of(plain(key))
        return Misconfigured(f"{name} cannot be made without awaiting: use `await provider.get({name})`.")


def _ambient_declarations(getters: Mapping[type, Callable[[], object]]) -> list[Declaration]:
    return [ambient(provides, getter) for provides, getter in getters.items()]


def _replaced(declarations: Iterable[Declaration], provides: Any, instance: object) -> list[Declaration]:
    replacement = given(provides, instance)
    return [*(d for d in declarations if d.provides != replacement.provides), replacement]
