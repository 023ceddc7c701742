"""`AsyncContextGroup`: several contexts that are left together, the last one first."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from sys import exc_info
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from uno.errors import Misconfigured

P = ParamSpec("P")
T = TypeVar("T")
_AsyncExit = TypeVar("_AsyncExit", bound=AbstractAsyncContextManager[Any, Any] | Callable[..., Awaitable[Any]])
_Exit = TypeVar("_Exit", bound=AbstractContextManager[Any, Any] | Callable[..., Any])


class AsyncContextGroup(AsyncExitStack[bool | None]):
    """`async with AsyncContextGroup(first, second) as group:` enters them in this order, and leaves them in reverse.

    What they gave is in `values`; `await group.enter_async_context(third)` enters one more. All that were entered are
    left, whatever the block, another exit or a cancellation does; errors of exits are chained. It is the
    `AsyncExitStack` of the standard library, which refuses what nobody would leave. A group is for one block.
    """

    def __init__(self, *contexts: AbstractAsyncContextManager[Any], name: str | None = None) -> None:
        super().__init__()
        self.name = name
        self.values: list[Any] = []
        self._state = "not entered yet"
        self._given: list[AbstractAsyncContextManager[Any]] = []
        for context in contexts:
            self.add(context)

    def add(self, context: AbstractAsyncContextManager[Any]) -> None:
        """One more to enter with the group; inside its block it is `await group.enter_async_context(context)`."""
        if self._state != "not entered yet":
            raise Misconfigured(f"{self._shown} is {self._state}; there write `await enter_async_context(…)`.")
        self._given.append(_context(context))

    async def enter_async_context(self, cm: AbstractAsyncContextManager[T, Any]) -> T:
        """What `cm` gives, entered now. Raises `Misconfigured` outside of the group's block."""
        self._check_open()
        return await super().enter_async_context(_context(cm))

    def enter_context(self, cm: AbstractContextManager[T, Any]) -> T:
        """The same for a synchronous one."""
        self._check_open()
        return super().enter_context(cm)

    def push_async_exit(self, exit: _AsyncExit) -> _AsyncExit:
        """Leave it, or call it as an `__aexit__`, at the end of the block."""
        self._check_open()
        return super().push_async_exit(exit)

    def push(self, exit: _Exit) -> _Exit:
        """The same for a synchronous one."""
        self._check_open()
        return super().push(exit)

    def push_async_callback(
        self, callback: Callable[P, Awaitable[T]], /, *args: P.args, **kwds: P.kwargs
    ) -> Callable[P, Awaitable[T]]:
        """Await `callback(*args, **kwds)` at the end of the block."""
        self._check_open()
        return super().push_async_callback(callback, *args, **kwds)

    def callback(self, callback: Callable[P, T], /, *args: P.args, **kwds: P.kwargs) -> Callable[P, T]:
        """Call it at the end of the block."""
        self._check_open()
        return super().callback(callback, *args, **kwds)

    def _check_open(self) -> None:
        if self._state != "open":
            raise Misconfigured(
                f"{self._shown} is {self._state}, and nobody would leave the context again; use it inside of "
                "`async with AsyncContextGroup() as group:`."
            )

    async def __aenter__(self) -> Self:
        if self._state != "not entered yet":
            raise Misconfigured(f"{self._shown} is {self._state}; make one for each block.")
        self._state = "open"
        try:
            for context in self._given:
                self.values.append(await self.enter_async_context(context))
        except BaseException:
            if await self.__aexit__(*exc_info()):
                swallowed = f"{self._shown} cannot be entered: one of its contexts swallowed the error of another."
                raise Misconfigured(swallowed) from exc_info()[1]
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None:
        self._state = "closed"
        return await super().__aexit__(kind, error, trace)

    @property
    def _shown(self) -> str:
        return "The AsyncContextGroup" if self.name is None else f"The AsyncContextGroup {self.name!r}"


def _context(given: Any) -> Any:
    if hasattr(type(given), "__aenter__") and hasattr(type(given), "__aexit__"):
        return given
    fix = "; a synchronous one is entered by `group.enter_context(…)`" if hasattr(type(given), "__enter__") else ""
    raise Misconfigured(f"An AsyncContextGroup takes asynchronous context managers, not {given!r}{fix}.")
