"""The port of a lock in the database, which `uno.data` fills."""

from collections.abc import Callable, Hashable
from typing import Protocol

from uno.errors import Misconfigured


class Held(Protocol):
    """A lock that was taken."""

    async def release(self) -> None:
        """Give it back; raises nothing."""


class Place(Protocol):
    """Where locks are taken: a database, or a transaction of it."""

    @property
    def key(self) -> Hashable:
        """What tells databases apart."""
        ...

    @property
    def joins(self) -> bool:
        """Whether its locks end with a transaction of somebody else's, who may take them again meanwhile."""
        ...

    async def take(self, name: str, seconds: float | None, lost: Callable[[], None]) -> Held:
        """The lock of this name, waited for up to `seconds`; `lost` is called where it ends before its release.

        Raises `TimedOut`, and what databases raise.
        """
        ...


class HasLocks(Protocol):
    """A database, as that of `uno.data` is one."""

    @property
    def locks(self) -> Place: ...


class FindPlace(Protocol):
    """That of a database, or without one that of the unit of work of this task. Raises `Misconfigured`."""

    def __call__(self, database: object | None) -> Place: ...


_find: FindPlace | None = None


def fill(find: FindPlace) -> None:
    """How places are found from now on."""
    global _find
    _find = find


def place_of(database: object | None) -> Place:
    """The place for a lock of this `database`, or of the unit of work of this task."""
    if _find is None:
        raise Misconfigured(
            'A lock with scope="database" needs a database: AsyncLock(name, scope="database", database=Database(url)), '
            "or use it in a unit of work."
        )
    return _find(database)
