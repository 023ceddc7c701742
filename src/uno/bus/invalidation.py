"""Caches that forget when something happens."""

from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, Protocol, TypeVar

from uno.bus.registry import event_handler
from uno.errors import Misconfigured
from uno.messages import DomainEvent

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

    Without either it forgets everything. It runs as any subscriber: after the commit, in this process, at most once;
    with `durable` by a worker, at least once, which a `SharedCache` needs that must not miss any. An `AsyncCache` is
    in this process only, so the durable form is for the worker's own.
    """
    if not callable(getattr(cache, "invalidate_tags", None)):
        raise Misconfigured(f"invalidates({event.__name__}, …) takes a cache, as AsyncCache(60), not {cache!r}.")

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


def _list(what: str, given: Any) -> Iterable[Any]:
    if isinstance(given, str):
        raise Misconfigured(f"The {what} that an event names are a list; write [{given!r}].")
    return given  # type: ignore[no-any-return]
