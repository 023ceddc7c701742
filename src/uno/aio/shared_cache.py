"""The cache that processes share, over Redis."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from uno import clock
from uno.aio.cache import Loader, Tags, TagsOf, fixed_tags, tags_of
from uno.aio.flights import Flight, Flights
from uno.aio.freshness import Freshness, check_loader, is_absence, stands_in
from uno.aio.redis_store import Codec, RedisStore, Stored
from uno.errors import Misconfigured, NotFound, Unavailable, id_text
from uno.resilience.arguments import require_numbers
from uno.result import Failure
from uno.telemetry.signals import emit

T = TypeVar("T")


class SharedCache:
    """An `AsyncCache` that all processes with the same `name` share: `await cache.get(key, fetch_func)`.

    `of` is the type of its values, anything pydantic reads from JSON; without it they come back as plain JSON values.
    Keys are text. One process at a time loads a key, the others wait for it, at most `lock_for` seconds. While Redis
    does not answer within `timeout` seconds, values are loaded and not kept; to invalidate is `Unavailable` then.
    Everything else is as for `AsyncCache`, but for `max_size`: Redis has a limit of its own. Close it with `aclose()`
    or `async with`.
    """

    def __init__(
        self,
        url: str,
        ttl: float,
        refresh_before_expiry: float | None = None,
        *,
        name: str,
        of: Any = Any,
        jitter: float = 0.1,
        stale_for: float | None = None,
        negative_ttl: float | None = None,
        load_timeout: float = 30.0,
        lock_for: float = 10.0,
        timeout: float = 1.0,
    ) -> None:
        require_numbers("a SharedCache", load_timeout=load_timeout, lock_for=lock_for, timeout=timeout)
        self.freshness = Freshness(ttl, refresh_before_expiry, jitter, stale_for, negative_ttl)
        if not self.freshness.longest < float("inf") or min(lock_for, timeout) <= 0:
            raise Misconfigured("The times of a SharedCache have an end, its lock_for and timeout are above 0 seconds.")
        self.name = _checked_name(name)
        self._lock_for = lock_for
        self._loader = Loader(name, load_timeout)
        self._codec = Codec(of)
        self._store = RedisStore(url, name, timeout, self._codec)
        self._flights = Flights(name)
        # Of values that are still good: nobody waits for them.
        self._refreshes = Flights(name)

    async def get(
        self, key: str, fetch_func: Callable[[str], Awaitable[T]], force_refresh: bool = False, tags: TagsOf[T] = ()
    ) -> T:
        """The value of `key`, loaded by `fetch_func(key)` where there is none, or with `force_refresh`.

        As that of `AsyncCache`. Raises `Misconfigured` for a value that is not JSON, or not of the type `of`.
        """
        check_loader(fetch_func)
        if not isinstance(key, str):
            raise Misconfigured(f"The key of a SharedCache is text, as cache_key(…) makes it, not {key!r}.")
        flight = await self._flights.afresh(key) if force_refresh else self._flights.of(key)
        if flight is None:
            find = partial(self._load_in_turn if force_refresh else self._find, key, fetch_func, tags, force_refresh)
            flight = self._flights.begin(key, fixed_tags(tags), find, Flight.give)
        return await flight.outcome()  # type: ignore[no-any-return]

    async def invalidate(self, *keys: str) -> None:
        """Forget these, in all processes; what is being loaded for them is not kept. Raises `Unavailable`."""
        await _before_and_after(partial(self._flights.drop_keys, keys), self._store.forget(keys))

    async def invalidate_tags(self, *tags: str) -> None:
        """Forget what has any of these tags; what is being loaded and may have one is not kept."""
        wanted = frozenset(tags)

        def may_have_one(flight: Flight) -> bool:
            return flight.tags is None or not wanted.isdisjoint(flight.tags)

        await _before_and_after(partial(self._flights.drop, may_have_one), self._store.forget_tags(tags))

    async def clear(self) -> None:
        """Forget everything."""
        await _before_and_after(partial(self._flights.drop, lambda flight: True), self._store.forget_all())

    async def aclose(self) -> None:
        """Cancel what is being loaded here and close the connections of this event loop."""
        self._flights.drop(lambda flight: True)
        await self._flights.aclose()
        await self._refreshes.aclose()
        await self._store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"SharedCache({self.name!r}, loading={len(self._flights) + len(self._refreshes)})"

    # ── where there is none ──

    async def _read(self, key: str, tags: Tags) -> Stored | None:
        try:
            return await self._store.read(key, fixed_tags(tags) or ())
        except Unavailable as error:
            self._tell(error)
            return None

    def _tell(self, error: Unavailable) -> None:
        emit("cache.unreachable", cache=self.name, error=type(error.__cause__ or error).__name__)

    async def _find(self, key: str, fetch: Any, tags: Tags, force: bool) -> Any:
        """In a flight: who asks at the same time shares what is read, too."""
        found = await self._read(key, tags)
        now = clock.now().timestamp()
        if found is None or now >= found.expires:
            return await self._load_in_turn(key, fetch, tags, force)
        if now >= found.fresh and self._refreshes.of(key) is None:
            load = partial(self._load_in_turn, key, fetch, tags, force)
            self._refreshes.begin(key, fixed_tags(tags), load, Flight.give)
        return _given(found)

    async def _load_in_turn(self, key: str, fetch: Any, tags: Tags, force: bool) -> Any:
        """What another process has loaded meanwhile, or what is loaded now."""
        turn = await self._turn(key)
        try:
            old = await self._read(key, tags)
            if old is not None and not force and clock.now().timestamp() < old.fresh:
                return _given(old)
            return await self._load(key, fetch, tags, old)
        finally:
            if turn is not None:
                await self._store.end_turn(key, turn)

    async def _turn(self, key: str) -> str | None:
        try:
            return await self._store.begin_turn(key, self._lock_for)
        except Unavailable as error:
            self._tell(error)
            return None

    async def _load(self, key: str, fetch: Any, tags: Tags, old: Stored | None) -> Any:
        # As they stand before: what changes while it is loaded makes the value outdated.
        tokens = await self._tokens(key, tags)
        try:
            value = await self._loader.load(fetch, key)
        except Exception as error:  # the caller sees it, where nothing stands in
            await self._failed(key, error, old, tokens)
            if old is not None and _replaces(old, error):
                return old.value
            raise
        if value.__class__ is Failure:
            await self._failed(key, value.error, old, tokens)
            return old.value if old is not None and _replaces(old, value.error) else value
        value = self._codec.again(value)
        await self._keep(key, value, tokens, tags)
        return value

    async def _tokens(self, key: str, tags: Tags) -> dict[str, str] | None:
        names = self._store.tokens_of(key, fixed_tags(tags) or ())
        try:
            return await self._store.tokens([*names, *([self._store.any_tag] if callable(tags) else [])])
        except Unavailable as error:
            self._tell(error)
            return None

    async def _keep(self, key: str, value: Any, tokens: dict[str, str] | None, tags: Tags) -> None:
        """Store what was loaded; without Redis it is not stored."""
        rules, now = self.freshness, clock.now().timestamp()
        life = rules.life(negative=value is None)
        fresh, expires = now + rules.ahead(life, negative=value is None), now + life
        try:
            if tokens is not None and callable(tags):
                tokens = await self._with_tags(key, tokens, tags_of(tags, value))
            if tokens is not None:
                await self._store.keep(key, Stored(value, fresh, expires, expires + rules.staleness, tokens))
        except Unavailable as error:
            self._tell(error)

    async def _with_tags(self, key: str, tokens: dict[str, str], tags: tuple[str, ...]) -> dict[str, str] | None:
        """The tokens of tags that the value told; None where any tag was invalidated while it was loaded."""
        any_tag = self._store.any_tag
        found = await self._store.tokens([any_tag, *self._store.tokens_of(key, tags)])
        if found.pop(any_tag) != tokens[any_tag]:
            return None
        return found | {name: token for name, token in tokens.items() if name != any_tag}

    async def _failed(self, key: str, error: BaseException, old: Stored | None, tokens: dict[str, str] | None) -> None:
        """Leave the loader alone for a while, or remember that there is nothing."""
        rules, now = self.freshness, clock.now().timestamp()
        try:
            if old is not None and _replaces(old, error):
                emit("cache.stale", cache=self.name, error=type(error).__name__)
                later = min(now + rules.pause, old.dead)
                await self._store.keep(key, replace(old, fresh=later, expires=max(later, old.expires)))
            elif isinstance(error, NotFound) and rules.negative_ttl is not None and tokens is not None:
                end = now + rules.life(negative=True)
                await self._store.keep(key, Stored(None, end, end, end, tokens, (error.kind, id_text(error.id))))
            elif is_absence(error) and old is not None:
                await self._store.forget([key])
        except Unavailable as unreachable:
            self._tell(unreachable)


def _checked_name(name: Any) -> str:
    """One without colons, which stand between it and keys. Raises `Misconfigured`."""
    if isinstance(name, str) and name and ":" not in name:
        return name
    raise Misconfigured(f"The name of a SharedCache is a text without colons, not {name!r}.")


def _replaces(old: Stored, error: BaseException) -> bool:
    return old.absent is None and clock.now().timestamp() < old.dead and stands_in(error)


def _given(found: Stored) -> Any:
    """The value. Raises `NotFound` where that is what was found."""
    if found.absent is not None:
        raise NotFound(*found.absent)
    return found.value


async def _before_and_after(drop: Callable[[], None], forgetting: Awaitable[None]) -> None:
    """Drop flights; once more at the end: those that began meanwhile may have read what was there before."""
    drop()
    try:
        await forgetting
    finally:
        drop()
