"""What a process keeps open: started in the order of its dependencies, closed in the reverse one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, Unpack, cast, overload

from uno.aio.order import in_order
from uno.aio.outcomes import twin
from uno.aio.pool import ConnectionPool, Opens, OpensLater, PoolSettings, Uses
from uno.aio.resource_entry import Entry, Figures, begun, entry_of, figures_of, figures_or_error
from uno.aio.same_settings import BreakerSettings, BulkheadSettings, LimiterSettings, require_same
from uno.aio.shield import outlasting, to_the_end
from uno.aio.verbs import Verb, closer, done, left_of, told, within
from uno.errors import Misconfigured
from uno.health import Check
from uno.resilience.arguments import require_numbers
from uno.resilience.breaker import CircuitBreaker
from uno.resilience.bulkhead import Bulkhead
from uno.resilience.limit import RateLimiter
from uno.telemetry.signals import emit

T = TypeVar("T")


class ResourceExists(Misconfigured, ValueError):
    """The name is that of another resource."""


class RegistryClosed(Misconfigured, RuntimeError):
    """The resources are closed: what comes now would stay open for ever."""


# The names of those in whose start this is.
_starting: ContextVar[frozenset[str]] = ContextVar("uno.aio.resources.starting", default=frozenset())


class ResourceRegistry:
    """Resources by name, started after those they depend on and closed before them.

    `close_timeout` and `start_timeout` are seconds for each resource that does not say otherwise: one that hangs is
    told with the line at which it waits, and the others go on. After `close` it may be started again, empty but for
    breakers and limiters.
    """

    def __init__(self, *, close_timeout: float = 10.0, start_timeout: float = 30.0) -> None:
        require_numbers("a ResourceRegistry", close_timeout=close_timeout, start_timeout=start_timeout)
        self.close_timeout = close_timeout
        self.start_timeout = start_timeout
        self._entries: dict[str, Entry] = {}
        self._runs = False
        self._closing: asyncio.Task[None] | None = None
        self._is_closed = False

    # ── putting in and taking out ──

    async def register(
        self,
        name: str,
        resource: T,
        *,
        depends_on: str | Iterable[str] = (),
        start: Verb | None = None,
        close: Verb | None = None,
        close_timeout: float | None = None,
        metrics: Callable[[], Figures] | None = None,
        check: Verb | None = None,
        owned: bool = True,
    ) -> T:
        """Keep `resource`, start it if the registry runs, and give it back.

        It is started by `start` or an async method of that name, closed by `close`, or its `aclose` or `close`;
        not `owned`, by neither. `metrics()` gives its figures, `check()` says how it is as a function of
        `ResourceMonitor.register_health_check` does. Raises `ResourceExists` (a `ValueError`, too) where the
        name is another resource's, `RegistryClosed` (a `RuntimeError`) after `close`, `Misconfigured` where a
        dependency is missing or they depend on each other, and for what is no resource, as a coroutine; `Unavailable`
        where its start fails, from what that raises, and `TimedOut` after `start_timeout`.
        """
        entry = entry_of(
            name,
            resource,
            depends_on=depends_on,
            start=start,
            close=close,
            close_timeout=close_timeout,
            metrics=metrics,
            check=check,
            owned=owned,
        )
        # What somebody else closes may be here before the start.
        if owned:
            self._refuse_closed(name)
        await self.put(entry)
        return resource

    async def put(self, entry: Entry) -> bool:
        """`register` for whoever sees to it that it is closed, also where the registry is closed already.

        Whether it is new here: where the same is there, that is waited for until it has started.
        """
        while (there := self._entries.get(entry.name)) is not None:
            if there.resource is not entry.resource:
                raise _taken(entry.name, there.resource)
            if self._runs:
                await self._after_what_it_needs(there)
            # Who put it in may have been cancelled meanwhile.
            if self.has(there):
                return False
        await self._add(entry)
        return True

    def has(self, entry: Entry) -> bool:
        """Whether it is this one that is here by its name."""
        return self._entries.get(entry.name) is entry

    async def _add(self, entry: Entry) -> None:
        self._entries[entry.name] = entry
        try:
            in_order(self._needs())
            if self._runs:
                await self._after_what_it_needs(entry)
        except BaseException as error:
            if self.has(entry):
                del self._entries[entry.name]
            await _also(error, self._close_one(entry, None))
            raise
        self._refuse_late(entry)

    def _refuse_late(self, entry: Entry) -> None:
        """Raises `RegistryClosed` if it was closed with all of them, while it started."""
        if not self.has(entry):
            self._refuse_closed(entry.name)

    async def unregister(self, name: str, *, dependents: bool = False) -> None:
        """Close it and forget it, with `dependents` after those that depend on it.

        Without, raises `Misconfigured` while there are some; and what a close raises.
        """
        entry = self._entry(name)
        users = [other for other in self._entries.values() if name in other.needs]
        if users and not dependents:
            names = ", ".join(user.name for user in users)
            raise Misconfigured(f"{names} depends on the resource {name!r}; unregister that first.")
        try:
            for user in reversed(users):
                if self._entries.get(user.name) is user:
                    await self.unregister(user.name, dependents=True)
        finally:
            self._entries.pop(name, None)
            await self._close_one(entry, None)

    def get(self, name: str) -> Any:
        """The resource of this name. Raises `Misconfigured` where there is none."""
        return self._entry(name).resource

    def get_all_resources(self) -> dict[str, Any]:
        """All, by name, in the order in which they came."""
        return {name: entry.resource for name, entry in self._entries.items()}

    def dependencies(self) -> dict[str, tuple[str, ...]]:
        """By name, what each was said to depend on."""
        return self._needs()

    def check_of(self, name: str) -> Check | None:
        """What was registered to say how this one is."""
        return self._entry(name).check

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get_metrics(self, names: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """The figures of these, or of each, by name; at least its type, and an `error` where asking for them failed."""
        wanted = tuple(self._entries if names is None else names)
        return {name: figures_or_error(self._entry(name)) for name in wanted}

    def figures(self, name: str) -> dict[str, Any]:
        """Those of this one. Raises `Misconfigured` where there is none, and what asking for them raises."""
        return figures_of(self._entry(name))

    # ── one of each name ──

    def breaker(self, name: str, **settings: Unpack[BreakerSettings]) -> CircuitBreaker:
        """The breaker of this name, made with `settings` where there is none.

        Raises `Misconfigured` where it was made with others; what is not given may be anything.
        """
        return self._shared(name, CircuitBreaker, settings, lambda: CircuitBreaker(name, **settings))

    def limiter(self, name: str, **settings: Unpack[LimiterSettings]) -> RateLimiter:
        """The rate limiter of this name, likewise."""
        return self._shared(name, RateLimiter, settings, lambda: RateLimiter(name=name, **settings))

    def bulkhead(self, name: str, **settings: Unpack[BulkheadSettings]) -> Bulkhead:
        """The bulkhead of this name, likewise."""
        return self._shared(name, Bulkhead, settings, lambda: Bulkhead(name=name, **settings))

    @overload
    def pool(self, name: str, **settings: Unpack[PoolSettings[Any]]) -> ConnectionPool[Any]: ...

    @overload
    def pool(
        self, name: str, factory: OpensLater[T], close_func: Uses[T] | None = None, **settings: Unpack[PoolSettings[T]]
    ) -> ConnectionPool[T]: ...

    @overload
    def pool(
        self, name: str, factory: Opens[T], close_func: Uses[T] | None = None, **settings: Unpack[PoolSettings[T]]
    ) -> ConnectionPool[T]: ...

    def pool(
        self,
        name: str,
        factory: Callable[[], Any] | None = None,
        close_func: Callable[[Any], Any] | None = None,
        **settings: Any,
    ) -> ConnectionPool[Any]:
        """The pool of this name, likewise; its first connection is opened when it is needed.

        It is closed with the registry. Without a `factory` it has to be there.
        """
        if factory is None:
            return self._existing(name, ConnectionPool, settings)
        given = {"factory": factory, "close_func": close_func, **settings}
        return self._shared(name, ConnectionPool, given, lambda: self._new_pool(name, given))

    def _new_pool(self, name: str, given: Mapping[str, Any]) -> ConnectionPool[Any]:
        self._refuse_closed(name)
        return ConnectionPool(name, **given)

    def _shared(self, name: str, kind: type[T], settings: Mapping[str, Any], make: Callable[[], T]) -> T:
        if name in self._entries:
            return self._existing(name, kind, settings)
        made = make()
        closing = closer(made, None)
        self._entries[name] = Entry(name, made, (), None, closing, None, None, True, is_kept=closing is None)
        return made

    def _existing(self, name: str, kind: type[T], settings: Mapping[str, Any]) -> T:
        there = self._entry(name).resource
        if not isinstance(there, kind):
            raise _taken(name, there)
        require_same(name, there, settings)
        return there

    # ── its life ──

    async def start(self) -> None:
        """Start everything, each after what it depends on.

        Raises `Misconfigured` for a missing dependency, and where one does not start what `register` does; then all are
        closed, and those that can be started again are there for the next start.
        """
        if self._closing is not None:
            await outlasting(self._closing)
        self._is_closed = False
        for entry in self._entries.values():
            self._refuse_missing(entry)
        self._runs = True
        before = self.entries()
        try:
            for entry in [self._entries[name] for name in in_order(self._needs())]:
                if self.has(entry):
                    await self._start(entry)
                    self._refuse_late(entry)
        except BaseException as error:
            # Whoever closed it meanwhile wants it empty.
            left = () if self._is_closed else self.still_here(before)
            await _also(error, self.close())
            self.put_back(left)
            raise

    def reopen(self) -> None:
        """Take again what comes before the start."""
        self._is_closed = False

    def entries(self) -> tuple[Entry, ...]:
        """What is here now."""
        return tuple(self._entries.values())

    def still_here(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Those of them that nobody has taken out, and that may start again once they are closed."""
        here = {id(entry.resource) for entry in self._entries.values()}
        return tuple(e for e in entries if id(e.resource) in here and (e.start is not None or e.close is None))

    def put_back(self, entries: Iterable[Entry]) -> None:
        """After a start that failed: what is closed is there for the next one."""
        for entry in entries:
            self._entries.setdefault(entry.name, entry.anew())

    def renew(self) -> None:
        """Forget everything, without closing it: its event loop has ended."""
        self._entries = {}
        self._runs = self._is_closed = False
        self._closing = None

    async def start_one(self, name: str) -> None:
        """Start this one, after those it depends on, also where the registry does not run."""
        await self._after_what_it_needs(self._entry(name))

    async def _after_what_it_needs(self, entry: Entry) -> None:
        self._refuse_missing(entry)
        for needed in entry.needs:
            await self.start_one(needed)
        # One that failed meanwhile is not there any more.
        self._refuse_missing(entry)
        await self._start(entry)

    async def _start(self, entry: Entry) -> None:
        """Start it once: who comes while somebody does waits for that."""
        # Its own start may register what depends on it.
        if entry.started or entry.start is None or entry.name in _starting.get():
            return
        comes_late = entry.starting.locked()
        async with entry.starting:
            if comes_late:
                self._refuse_closed(entry.name)
            if self.has(entry) and not entry.started:
                await self._begin(entry)
            elif entry.failure is not None:
                raise twin(entry.failure)

    async def _begin(self, entry: Entry) -> None:
        what = f"Starting the resource {entry.name!r}"
        fix = "see whether what it needs is there, or give all of them longer with registry.start_timeout"
        entry.failure = None
        try:
            with told(f"The resource {entry.name!r} could not start"):
                await within(self._started(entry), self.start_timeout, what, fix)
        except Exception as error:
            entry.failure = error
            raise

    async def _started(self, entry: Entry) -> None:
        _starting.set(_starting.get() | {entry.name})
        await done(cast(Verb, entry.start))
        entry.started = True
        # Taken out meanwhile, also because nobody waits for it any more: who did that has found nothing to close.
        if not self.has(entry) and not begun(self._entries.values(), entry.resource):
            await self._close_one(entry, None)

    async def close(self, *, until: float | None = None) -> None:
        """Close everything in the reverse order, each within its limit, all of them `until` then if that is given
        (seconds on `clock.monotonic()`).

        What fails or hangs does not keep the others open. Raises its error afterwards, of several an
        `ExceptionGroup`. Who is cancelled meanwhile waits for it.
        """
        if until is not None:
            require_numbers("close()", until=until)
        if self._closing is None:
            self._is_closed, self._runs = True, False
            self._closing = asyncio.create_task(self._close_all(until), name="uno closing resources")
            self._closing.add_done_callback(self._closed)
        await outlasting(self._closing)

    def _closed(self, _task: object) -> None:
        self._closing = None

    async def _close_all(self, until: float | None) -> None:
        errors: list[Exception] = []
        for name in reversed(in_order(self._needs())):
            entry = self._entries[name] if self._entries[name].is_kept else self._entries.pop(name)
            try:
                await self._close_one(entry, until)
            except Exception as error:  # the others are closed all the same; raised below
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup(f"{len(errors)} resources were not closed properly", errors)

    async def _close_one(self, entry: Entry, until: float | None) -> None:
        if entry.close is None or not entry.started:
            return
        entry.started = False
        seconds = left_of(until, self.close_timeout if entry.close_timeout is None else entry.close_timeout)
        what = f"Closing the resource {entry.name!r}"
        fix = "give it longer with register(close_timeout=...), or let it end sooner"
        try:
            await to_the_end(within(done(entry.close), seconds, what, fix))
        except Exception as error:
            error.add_note(f"while closing the resource {entry.name!r}")
            emit("resource.close_failed", resource=entry.name, error=repr(error))
            raise

    # ── what is wrong ──

    def _needs(self) -> dict[str, tuple[str, ...]]:
        return {name: entry.needs for name, entry in self._entries.items()}

    def _entry(self, name: str) -> Entry:
        found = self._entries.get(name)
        if found is None:
            raise Misconfigured(f"There is no resource called {name!r}; there is {_listed(self._entries)}.")
        return found

    def _refuse_missing(self, entry: Entry) -> None:
        for needed in entry.needs:
            if needed not in self._entries:
                raise Misconfigured(
                    f"The resource {entry.name!r} depends on {needed!r}, which nobody has registered; there is "
                    f"{_listed(self._entries)}."
                )

    def _refuse_closed(self, name: str) -> None:
        if self._is_closed:
            raise RegistryClosed(f"The resources are closed, so {name!r} would stay open for ever; start them again.")


async def _also(error: BaseException, closing: Coroutine[Any, Any, None]) -> None:
    try:
        await closing
    except Exception as another:  # who started it sees the first error; this one is told with it
        error.add_note(f"Closing what was started failed, too: {another!r}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none yet"


def _taken(name: str, there: object) -> ResourceExists:
    return ResourceExists(
        f"{name!r} is the name of another resource, a {type(there).__name__}: take another name, or unregister that "
        "one first. What is to be shared is asked for by its name: registry.breaker(name), .limiter(name), .pool(name)."
    )


@asynccontextmanager
async def managed_resource(
    resource: T,
    name: str,
    *,
    depends_on: str | Iterable[str] = (),
    start: Verb | None = None,
    close: Verb | None = None,
    registry: ResourceRegistry | None = None,
) -> AsyncIterator[T]:
    """`resource` in the registry of this event loop for a block: started at its beginning, closed and forgotten at its
    end. The options are those of `register`. What is there already remains there, with whoever registered it."""
    kept = get_resource_registry() if registry is None else registry
    entry = entry_of(name, resource, depends_on=depends_on, start=start, close=close)
    is_new = await kept.put(entry)
    try:
        await kept.start_one(name)
        yield resource
    finally:
        if is_new and kept.has(entry):
            await kept.unregister(name)


@overload
def managed_connection_pool(
    name: str,
    factory: OpensLater[T],
    close_func: Uses[T] | None = None,
    *,
    registry: ResourceRegistry | None = None,
    **settings: Unpack[PoolSettings[T]],
) -> AbstractAsyncContextManager[ConnectionPool[T]]: ...


@overload
def managed_connection_pool(
    name: str,
    factory: Opens[T],
    close_func: Uses[T] | None = None,
    *,
    registry: ResourceRegistry | None = None,
    **settings: Unpack[PoolSettings[T]],
) -> AbstractAsyncContextManager[ConnectionPool[T]]: ...


@asynccontextmanager
async def managed_connection_pool(
    name: str,
    factory: Callable[[], Any],
    close_func: Callable[[Any], Any] | None = None,
    *,
    registry: ResourceRegistry | None = None,
    **settings: Any,
) -> AsyncIterator[ConnectionPool[Any]]:
    """A `ConnectionPool` of these settings, in the registry of this event loop for a block; closed at its end.

    Raises `Misconfigured` where the name is taken, and `Unavailable` where its first connections cannot be opened.
    """
    pool: ConnectionPool[Any] = ConnectionPool(name, factory, close_func, **settings)
    async with managed_resource(pool, name, registry=registry):
        yield pool


def get_resource_registry() -> ResourceRegistry:
    """The registry of this event loop, which its `AsyncManager` starts and closes."""
    from uno.aio.manager import get_async_manager  # it stands on this file

    return get_async_manager().resources
