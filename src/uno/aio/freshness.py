"""How long a value in a cache is good for: the same rules for one process and for many."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from math import inf
from typing import Any

from uno import ids
from uno.errors import Misconfigured, NotFound, RateLimited
from uno.resilience.arguments import require_numbers
from uno.resilience.faults import is_fault

# Seconds at most for which a loader that failed is left alone where an old value can stand in.
PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Freshness:
    """All in seconds, but `jitter`, which is the part of `ttl` of which each value loses a random part."""

    ttl: float
    refresh_before_expiry: float | None = None
    jitter: float = 0.1
    stale_for: float | None = None
    negative_ttl: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}
        require_numbers("a cache", **{"ttl": self.ttl, **given})
        if self.ttl <= 0 or not 0 <= self.jitter < 1:
            raise Misconfigured("The ttl of a cache is above 0 seconds, its jitter 0 or more and below 1.")
        if self.refresh_before_expiry is not None and not 0 < self.refresh_before_expiry < self.ttl:
            raise Misconfigured("refresh_before_expiry of a cache is above 0 seconds and below its ttl.")
        if (self.stale_for or 0) < 0 or (self.negative_ttl is not None and not self.negative_ttl > 0):
            raise Misconfigured("stale_for of a cache is 0 seconds or more, its negative_ttl above 0.")

    @property
    def staleness(self) -> float:
        """For how long after its end a value may stand in for one that cannot be loaded."""
        return self.ttl if self.stale_for is None else self.stale_for

    @property
    def longest(self) -> float:
        """The age that no value in the cache exceeds."""
        return max(self.ttl, self.negative_ttl or 0.0) + self.staleness

    @property
    def pause(self) -> float:
        return min(PAUSE, self.ttl / 10)

    def life(self, *, negative: bool = False) -> float:
        """The seconds that a value which is loaded now is good for."""
        ttl = self.negative_ttl if negative and self.negative_ttl is not None else self.ttl
        return ttl if ttl == inf else ttl * (1 - self.jitter * ids.fraction())

    def ahead(self, life: float, *, negative: bool = False) -> float:
        """The seconds after which a value of this life is loaded anew, while it is still good."""
        early = None if negative else self.refresh_before_expiry
        return life if early is None else max(life - early, life / 2)


def stands_in(error: BaseException) -> bool:
    """Whether an old value is better than this error: it says that something is broken, not what is."""
    return is_fault(error) or isinstance(error, RateLimited)


def is_absence(error: BaseException) -> bool:
    """Whether the error says that there is no such thing (any more)."""
    return isinstance(error, NotFound)


def check_loader(fetch: Any) -> Callable[[Any], Any]:
    """Raises `Misconfigured` for what is not a function of the key."""
    if not callable(fetch):
        what = f"{getattr(fetch, '__qualname__', fetch)}"
        if hasattr(fetch, "close") and hasattr(fetch, "send"):
            fetch.close()
            raise Misconfigured(f"Pass the function that loads, not its call: cache.get(key, {what}).")
        raise Misconfigured(f"cache.get(key, fetch_func) takes an async function of the key, not {what!r}.")
    return fetch  # type: ignore[no-any-return]


def takes_key(fetch: Callable[[Any], Any], key: Any) -> bool:
    """Whether it can be called with a key; looked at where a call has failed, because it takes time."""
    try:
        signature(fetch).bind(key)
    except TypeError:
        return False
    except ValueError:  # some that are not written in Python do not say
        return True
    return True


def not_of_key(fetch: Any) -> Misconfigured:
    """For who writes `cache.get(key, lambda: load(key))`."""
    what = getattr(fetch, "__qualname__", None) or repr(fetch)
    return Misconfigured(
        f"cache.get(key, fetch_func) calls {what} with the key, which it does not take; write `lambda key: …`."
    )
