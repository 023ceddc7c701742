"""What a cache in memory holds: values by key and by tag, never more than a number of them."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from math import inf
from typing import Any


class Entry:
    """A value. Until `fresh` there is nothing to do; from `expires` on it is not good any more, until `dead` it may
    stand in for one that cannot be loaded. On `clock.monotonic()`. With an `error` that is what there is.
    """

    __slots__ = ("dead", "error", "expires", "fresh", "tags", "used", "value")

    def __init__(
        self, value: Any, fresh: float, expires: float, dead: float, tags: tuple[str, ...], error: Exception | None
    ) -> None:
        self.value = value
        # Looked at by every hit, which has no time for errors.
        self.fresh = fresh if error is None else -inf
        self.expires = expires
        self.dead = dead
        self.tags = tags
        self.error = error
        self.used = False


class Entries:
    """At most `max_size` of them. Who makes room is chosen by CLOCK (F. Corbató, "A Paging Experiment with the
    Multics System", 1968): the oldest that was not used since the hand came by. Thread-safe.
    """

    def __init__(self, max_size: int | None) -> None:
        self.max_size = max_size
        # Looked up in a plain dict, which is quicker; but that takes ever longer to find its first entry while
        # entries are taken from the front.
        self.by_key: dict[Hashable, Entry] = {}
        self._order: OrderedDict[Hashable, None] = OrderedDict()
        self._by_tag: dict[str, set[Hashable]] = {}
        # Held by the cache as well, where what is forgotten and what is kept must not meet.
        self.lock = threading.RLock()

    def put(self, key: Hashable, entry: Entry) -> None:
        with self.lock:
            self._remove(key)
            self._make_room()
            self.by_key[key] = entry
            self._order[key] = None
            for tag in entry.tags:
                self._by_tag.setdefault(tag, set()).add(key)

    def remove(self, keys: Iterable[Hashable]) -> None:
        with self.lock:
            for key in keys:
                self._remove(key)

    def remove_tagged(self, tags: Iterable[str]) -> None:
        with self.lock:
            for tag in tags:
                for key in list(self._by_tag.get(tag, ())):
                    self._remove(key)

    def clear(self) -> None:
        with self.lock:
            self.by_key.clear()
            self._order.clear()
            self._by_tag.clear()

    def _make_room(self) -> None:
        while self.max_size is not None and len(self.by_key) >= self.max_size:
            key = next(iter(self._order))
            oldest = self.by_key[key]
            if oldest.used:
                oldest.used = False
                self._order.move_to_end(key)
            else:
                self._remove(key)

    def _remove(self, key: Hashable) -> None:
        entry = self.by_key.pop(key, None)
        self._order.pop(key, None)
        for tag in () if entry is None else entry.tags:
            keys = self._by_tag.get(tag, set())
            keys.discard(key)
            if not keys:
                self._by_tag.pop(tag, None)
