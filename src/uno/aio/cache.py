"""The cache of one process: what was loaded once is given again, and loaded once however many ask."""

from collections.abc import Awaitable, Callable, Hashable, Iterable
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

from uno import clock, context, sync
from uno.aio.entries import Entries, Entry
from uno.aio.flights import Flight, Flights
from uno.aio.freshness import Freshness, check_loader, is_absence, not_of_key, stands_in, takes_key
from uno.aio.outcomes import twin
from uno.errors import Misconfigured, TimedOut
from uno.resilience import Timeout
from uno.resilience.arguments import require_counts
from uno.result import Failure
from uno.telemetry.signals import emit

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
# The tags of a value, or what makes them of it.
TagsOf: TypeAlias = Iterable[str] | Callable[[T], Iterable[str]]
Tags: TypeAlias = TagsOf[Any]


class AsyncCache:
    """`await cache.get(key, fetch_func)` gives what `fetch_func(key)` gave in the last `ttl` seconds.

    However many ask for a missing key at the same time, it is loaded once, in a task of its own that ends after
    `load_timeout` seconds (None: whenever it likes), outside the unit of work and the deadline of who asked. Each value
    lives a random part of up to `jitter` × `ttl` shorter, so that not all end together. In its last
    `refresh_before_expiry` seconds whoever asks gets it, and a new one is loaded meanwhile. Where loading fails
    (`Unavailable`, `TimedOut`, `RateLimited` or a bug) the value before stands in for `stale_for` seconds after its
    end, by default another `ttl`. With a `negative_ttl` that there is nothing (None, or `NotFound`) is remembered for
    that long; otherwise None is a value and errors are not remembered. It holds `max_size` values (None: any number);
    those not used lately make room.

    Values are shared by all callers: do not change them. Thread-safe; each event loop loads for itself.
    """

    def __init__(
        self,
        ttl: float,
        refresh_before_expiry: float | None = None,
        max_size: int | None = 10_000,
        *,
        jitter: float = 0.1,
        stale_for: float | None = None,
        negative_ttl: float | None = None,
        load_timeout: float | None = 30.0,
        name: str | None = None,
    ) -> None:
        self.freshness = Freshness(ttl, refresh_before_expiry, jitter, stale_for, negative_ttl)
        if max_size is not None:
            require_counts("a cache", max_size=max_size)
            if max_size < 1:
                raise Misconfigured("The max_size of a cache is 1 or more, or None.")
        self.name = name or "unnamed"
        self._loader = Loader(self.name, load_timeout)
        self._store = Entries(max_size)
        self._entries = self._store.by_key
        self._flights = Flights(self.name)
        # How often something was invalidated.
        self._changes = 0

    # try and not get(), and no call between: these lines run for every hit.
    async def get(
        self, key: K, fetch_func: Callable[[K], Awaitable[T]], force_refresh: bool = False, tags: TagsOf[T] = ()
    ) -> T:
        """The value of `key`, loaded by `fetch_func(key)` where there is none, or with `force_refresh`.

        A synchronous `fetch_func` keeps the event loop; `in_thread` is for what blocks. `tags` are names under which it
        can be invalidated, or a function that makes them of the value. Raises what `fetch_func` raises, and `TimedOut`;
        a `Failure` it gives is given back, and treated as the error it holds.
        """
        try:
            entry = self._entries[key]
            if clock.current.monotonic() < entry.fresh and not force_refresh:
                entry.used = True
                return entry.value  # type: ignore[no-any-return]
        except KeyError:
            pass
        return await self._ask(key, fetch_func, force_refresh, tags)  # type: ignore[no-any-return]

    async def invalidate(self, *keys: Hashable) -> None:
        """Forget these; what is being loaded for them is not kept."""
        with self._store.lock:
            self._changes += 1
            self._flights.drop_keys(keys)
            self._store.remove(keys)

    async def invalidate_tags(self, *tags: str) -> None:
        """Forget what has any of these tags; what is being loaded and may have one is not kept."""
        wanted = frozenset(tags)
        with self._store.lock:
            self._changes += 1
            self._flights.drop(lambda flight: flight.tags is None or not wanted.isdisjoint(flight.tags))
            self._store.remove_tagged(tags)

    async def clear(self) -> None:
        """Forget everything."""
        with self._store.lock:
            self._changes += 1
            self._flights.drop(lambda flight: True)
            self._store.clear()

    async def aclose(self) -> None:
        """Forget everything, cancel what is being loaded and wait for its end; who waits gets `Unavailable`."""
        await self.clear()
        await self._flights.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __len__(self) -> int:
        return len(self._entries)

    def __bool__(self) -> bool:
        return True  # an empty cache is no missing one: `cache or other`

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, size={len(self)}, loading={len(self._flights)})"

    # ── where a hit is not enough ──

    async def _ask(self, key: Hashable, fetch: Any, force: bool, tags: Tags) -> Any:
        check_loader(fetch)
        entry = None if force else self._entries.get(key)
        if entry is not None and clock.monotonic() < entry.expires:
            entry.used = True
            if entry.error is not None:
                raise twin(entry.error).with_traceback(None)
            self._refresh(key, fetch, tags)
            return entry.value
        if sync.without_loop() or sync.driving():
            return self._load_alone(key, fetch, tags)
        flight = await self._flights.afresh(key) if force else self._flights.of(key)
        return await (flight or self._begin(key, fetch, tags)).outcome()

    def _refresh(self, key: Hashable, fetch: Any, tags: Tags) -> None:
        """Load what is still good; nobody waits for it."""
        if not (sync.without_loop() or sync.driving()) and self._flights.of(key) is None:
            self._begin(key, fetch, tags)

    def _begin(self, key: Hashable, fetch: Any, tags: Tags) -> Flight:
        load = partial(self._loader.load, fetch, key)
        return self._flights.begin(key, fixed_tags(tags), load, partial(self._landed, tags))

    def _load_alone(self, key: Hashable, fetch: Any, tags: Tags) -> Any:
        """Where no event loop runs there is nobody to wait for it."""
        flight, changes = Flight(key, fixed_tags(tags)), self._changes
        value, error = None, None
        try:
            value = sync.drive(self._loader.load(fetch, key), context.detached())
        except Exception as raised:  # the caller sees it, where nothing stands in
            error = raised
        with self._store.lock:
            flight.dropped = changes != self._changes
            self._landed(tags, flight, value, error)
        return flight.result()

    def _landed(self, tags: Tags, flight: Flight, value: Any, error: BaseException | None) -> None:
        """Keep what was loaded, and give it to those who wait; or what stands in for it."""
        failed = value.error if value.__class__ is Failure else error
        if failed is None:
            self._keep(flight, value, None, tags_of(tags, value))
            return flight.give(value)
        old = None if flight.dropped else self._entries.get(flight.key)
        now = clock.monotonic()
        if old is not None and old.error is None and now < old.dead and stands_in(failed):
            old.fresh = min(now + self.freshness.pause, old.dead)
            emit("cache.stale", cache=self.name, error=type(failed).__name__)
            return flight.give(old.value)
        if is_absence(failed) and not flight.dropped:
            self._store.remove([flight.key])
            if self.freshness.negative_ttl is not None:
                self._keep(flight, value, error, flight.tags or ())
        flight.give(value, error)

    def _keep(self, flight: Flight, value: Any, error: Any, tags: tuple[str, ...]) -> None:
        rules, now = self.freshness, clock.monotonic()
        negative = value is None or error is not None or value.__class__ is Failure
        life = rules.life(negative=negative)
        fresh, expires = now + rules.ahead(life, negative=negative), now + life
        entry = Entry(value, fresh, expires, expires + rules.staleness, tags, error)
        with self._store.lock:  # another thread may forget it in this moment
            if not flight.dropped:
                self._store.put(flight.key, entry)


class Loader:
    """Calls what loads, for at most a number of seconds."""

    def __init__(self, name: str, timeout: float | None) -> None:
        self._name = name
        self._limit = None if timeout is None else Timeout(timeout, name=f"cache {name}", message=_late(name, timeout))

    async def load(self, fetch: Callable[[Any], Any], key: Hashable) -> Any:
        """What `fetch(key)` gives, awaited where it has to be. Raises `TimedOut`."""
        try:
            if self._limit is not None:
                return await self._limit.call(fetch, key)
            found = fetch(key)
            return await found if isawaitable(found) else found
        except TimedOut as error:
            # Not in its text, which clients of a server see: keys may say who asks.
            error.add_note(f"while loading {key!r} for the cache {self._name!r}")
            raise
        except TypeError as error:
            if takes_key(fetch, key):
                raise
            raise not_of_key(fetch) from error


def _late(name: str, timeout: Any) -> str:
    return f"The cache {name!r} has not loaded a value within {timeout} s (load_timeout)."


def fixed_tags(tags: Tags) -> tuple[str, ...] | None:
    """Those that are known before the value; None where they are made of it."""
    return None if callable(tags) else _checked(tags)


def tags_of(tags: Tags, value: Any) -> tuple[str, ...]:
    return _checked(tags(value) if callable(tags) else tags)


def _checked(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise Misconfigured(f"The tags of a value are a list of names; write tags=[{tags!r}].")
    return tuple(tags)
