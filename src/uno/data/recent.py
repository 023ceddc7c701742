"""What is worked out from what clients ask for and remembered: the last so many, so that no client fills the memory."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most `most` values: the one that was not used for the longest time makes room for another.

    There is no lock: what another thread takes away in between is as if it had not been there.
    """

    __slots__ = ("_held", "_most")

    def __init__(self, most: int) -> None:
        self._held: OrderedDict[K, V] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        held = self._held
        try:
            held.move_to_end(key)
            return held[key]
        except KeyError:
            return None

    def keep(self, key: K, value: V) -> V:
        """The value again."""
        held = self._held
        held[key] = value
        if len(held) > self._most:
            held.popitem(last=False)
        return value
