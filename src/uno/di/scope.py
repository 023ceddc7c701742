"""What lives for one message."""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

from dishka import AsyncContainer
from dishka.exceptions import NoFactoryError

from uno.di.container import close
from uno.di.lock import Turns

T = TypeVar("T")


class Scope:
    """One scope: a scoped service is the same object throughout, and is closed when it is left.

    It belongs to whoever entered it; there is no current scope, so tasks do not share one by accident.
    """

    __slots__ = ("_busy", "_container", "_turns", "_unresolved")

    def __init__(self, container: AsyncContainer, unresolved: Callable[[Any, NoFactoryError], Exception]) -> None:
        self._container = container
        self._unresolved = unresolved
        self._busy = False
        self._turns: Turns | None = None

    async def get(self, key: Callable[..., T], /) -> T:
        """The service of this type. Raises `Misconfigured` where nothing provides it."""
        while self._busy:
            # Another task of this scope is in the middle of making something that may be ours as well.
            self._turns = self._turns or Turns()
            await self._turns.wait()
        self._busy = True
        try:
            found: T = await self._container.get(key)
        except NoFactoryError as error:
            raise self._unresolved(key, error) from error
        finally:
            self._busy = False
            if self._turns:
                self._turns.wake()
        return found

    def get_sync(self, key: Callable[..., T], /) -> T:
        """The same without awaiting, for a scope that one task uses."""
        try:
            found: T = self._container.get_sync(key)
        except NoFactoryError as error:
            raise self._unresolved(key, error) from error
        return found

    async def __aenter__(self) -> "Scope":
        return self

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Awaitable[None]:
        return close(self._container, error)
