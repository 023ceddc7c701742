"""Waiting for one's turn while something is awaited in the middle of a resolution."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any


class Turns:
    """Those who wait for something to be free."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Until it was free once: look again afterwards."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        finally:
            self._waiting.remove(turn)

    def wake(self) -> None:
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)


class _Done:
    """What is awaited where nothing has to be waited for."""

    _empty: Iterator[Any] = iter(())

    def __await__(self) -> Iterator[Any]:
        return self._empty


_DONE = _Done()


class TaskLock:
    """A lock that the task which holds it may take again: a factory may ask the provider for more.

    It is taken for every singleton, so the free path makes no coroutine, and it needs no event loop
    unless somebody has to wait.
    """

    __slots__ = ("_depth", "_owner", "_turns")

    def __init__(self) -> None:
        self._depth = 0
        self._owner: object = None
        self._turns = Turns()

    def __aenter__(self) -> Any:
        me = _running()
        if self._depth and self._owner is not me:
            return self._wait(me)
        self._owner = me
        self._depth += 1
        return _DONE

    def __aexit__(self, kind: object, error: object, trace: object) -> Any:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._turns.wake()
        return _DONE

    async def _wait(self, me: object) -> None:
        while self._depth:
            await self._turns.wait()
        self._owner = me
        self._depth = 1


def _running() -> object:
    """The task that runs, or without an event loop the thread."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return threading.current_thread()
