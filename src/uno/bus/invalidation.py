"""Caches that forget when something happens."""

from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, Protocol, TypeVar

from uno.aio.cache import AsyncCache
from uno.bus.registry import event_handler
from uno.errors import Misconfigured
from uno.messages import DomainEvent
from uno.sync import is_async

E = TypeVar("E", bound=DomainEvent)


class Forgetful(Protocol):
    """An `AsyncCache`, a `SharedCache`, or what can be told the same."""

    async def invalidate(self, *keys: Any) -> None: ...

    async def invalidate_tags(self, *tags: str) -> None: ...

    async def clear(self) -> None: ...


def invalidates(
    event: type[E],
    cache: Forgetful,
    *,
    keys: Callable[[E], Iterable[Hashable]] | None = None,
    tags: Callable[[E], Iterable[str]] | None = None,
    durable: bool = False,
    name: str | None = None,
) -> Callable[[E], Awaitable[None]]:
    """A subscriber, for the handlers of a module, with which `cache` forgets the keys and tags that an event names.

    `keys` and `tags` are functions of the event; without either the cache forgets everything. It runs as any
    subscriber: after the commit, in this process, at most once; with `durable` by a worker, at least once, which a
    `SharedCache` needs that must not miss any. An `AsyncCache` is refused there: a worker cannot reach the memory of
    another process. `name` is that of the subscriber, under which durable deliveries are stored.
    """
    _require_event(event)
    if not callable(getattr(cache, "invalidate_tags", None)):
        raise Misconfigured(f"invalidates({event.__name__}, …) takes a cache, as AsyncCache(60), not {cache!r}.")
    _require_names(event, "keys", keys)
    _require_names(event, "tags", tags)
    if durable:
        _require_reachable(event, cache, name)

    async def forget(event: E) -> None:
        if keys is not None:
            await cache.invalidate(*_list("keys", keys(event)))
        if tags is not None:
            await cache.invalidate_tags(*_list("tags", tags(event)))
        if keys is None and tags is None:
            await cache.clear()

    forget.__annotations__["event"] = event
    forget.__qualname__ = f"invalidates({event.__name__})"
    stored = name or f"{event.__module__}.{event.__name__} → cache {getattr(cache, 'name', 'unnamed')}"
    return event_handler(event, durable=durable, name=stored)(forget)


def _require_event(given: Any) -> None:
    """Raises `Misconfigured` for what is no class of events, as the cache in its place."""
    if not (isinstance(given, type) and issubclass(given, DomainEvent)):
        raise Misconfigured(
            "invalidates(event, cache) takes a class of events and then a cache, as invalidates(OrderPaid, orders), "
            f"not {given!r} first."
        )


def _require_names(event: type[DomainEvent], what: str, given: Any) -> None:
    """Raises `Misconfigured` for what is no function of an event that gives a list."""
    if given is not None and (not callable(given) or is_async(given)):
        raise Misconfigured(
            f"{what} of invalidates({event.__name__}, …) is a function of the event that gives a list, not async, as "
            f"{what}=lambda event: [event.order_id], not {given!r}."
        )


def _require_reachable(event: type[DomainEvent], cache: Forgetful, name: str | None) -> None:
    """Raises `Misconfigured` for a cache that a worker cannot reach, or one of many that nothing tells apart."""
    if isinstance(cache, AsyncCache):
        raise Misconfigured(
            f"invalidates({event.__name__}, …, durable=True) runs in a worker, and an AsyncCache is in the memory of "
            "each process: the others would keep the value. Leave durable out, or use a SharedCache."
        )
    if name is None and not getattr(cache, "name", None):
        raise Misconfigured(
            f"invalidates({event.__name__}, …, durable=True) is stored under a name, and its cache has none: give it "
            "one as name='orders forget'."
        )


def _list(what: str, given: Any) -> Iterable[Any]:
    if isinstance(given, str):
        raise Misconfigured(f"The {what} that an event names are a list; write [{given!r}].")
    return given  # type: ignore[no-any-return]
