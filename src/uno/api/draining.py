"""How a uvicorn server stops without failing anybody.

uvicorn by itself closes its sockets at once, with what has just come in, and nobody has seen that it is not ready.
Here readiness turns 503 first, while requests are still answered; then nothing new is accepted; then what was accepted
is finished, within the grace period.
"""

import asyncio
import logging
import math
import os
import select
import signal
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import uvicorn

from uno import clock
from uno.aio import AsyncManager
from uno.aio.ending import end_within
from uno.aio.stopping import CLOSING, Asked, taking_signals
from uno.aio.verbs import LAST, waiting
from uno.errors import TimedOut
from uno.telemetry import emit

T = TypeVar("T")
log = logging.getLogger("uno.api")
# Seconds that a connection without a request may still send one, and between two looks at those there are.
_FRESH, _LOOK = 1.0, 0.02
# Seconds after the grace period that requests which are cancelled then have for a commit under way and their answer.
_ANSWERING = 1.0


class Draining:
    """One server's way of stopping; `linger` and `grace` are seconds from when it is told, the one within the other."""

    def __init__(self, server: uvicorn.Server, manager: AsyncManager, *, grace: float, linger: float) -> None:
        self.server = server
        self.manager = manager
        self.grace = grace
        self.linger = min(linger, grace / 2)
        self.was_told = self.has_started = self.gave_up = False
        # The task of the application's lifespan, and what it was when that did not end.
        self.lifespan: asyncio.Task[Any] | None = None
        self.error: TimedOut | None = None
        # The end of the grace period.
        self._deadline = math.inf

    def _until(self, after: float = 0.0) -> float:
        """Seconds until the end of the grace period, or until so many later."""
        return max(0.0, self._deadline + after - clock.monotonic())

    def left(self) -> float:
        """Seconds that what was begun has for finishing."""
        return self.manager.remaining() if self.manager.is_shutting_down() else self.grace

    def tell(self, reason: str) -> None:
        """Stop, in good order; to be called in the event loop. An application that is just starting gives up."""
        if self.was_told:
            return
        self.was_told = True
        if not (self.server.started or self.has_started) and self.lifespan is not None:
            self.server.should_exit = True
            self.lifespan.cancel()
            return
        self.manager.request_shutdown(reason, grace=self.grace)
        asyncio.get_running_loop().call_later(self.linger, self.stop)

    def stop(self) -> None:
        """Accept nothing new from now on."""
        self.server.should_exit = True

    async def started(self, stack: AsyncExitStack, life: AbstractAsyncContextManager[T]) -> T | None:
        """Enter `life`, and give what it gives; None where it was told to stop before that had started."""
        if self.server.should_exit:  # while the application was imported
            self._give_up()
            return None
        try:
            found = await stack.enter_async_context(life)
            if self.was_told:  # the cancellation arrives here at the latest
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self.was_told or task is None or task.uncancel():
                raise
            self._give_up()
            return None
        self.has_started = True
        return found

    def _give_up(self) -> None:
        """For uvicorn the start has succeeded, or it would end as after an error; but nobody is let in."""
        log.info("told to stop before the application had started")
        self.was_told = self.gave_up = True
        self.server.config.http_protocol_class = _TurningAway
        # It would raise them again at its end.
        getattr(self.server, "_captured_signals", []).clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """What the server does once it should exit, in place of its own."""
        if not self.gave_up:
            self.manager.request_shutdown("the server stops", grace=self.grace)
        self._deadline = clock.monotonic() + self.manager.remaining()
        if self.gave_up:
            self._close_sockets(sockets or [])
        else:
            await self._accept_the_last(sockets or [])
            await self._answer_the_last()
            await self._finish()
        await self._end_lifespan()

    async def _accept_the_last(self, sockets: list[socket.socket]) -> None:
        """Who waits to be accepted is, and would be reset otherwise; then nobody listens any more."""
        listening = [*sockets, *(sock for server in self.server.servers for sock in server.sockets)]
        if self.server.config.workers == 1:
            _let_in_line(0, listening)
        waiting = select.poll()
        for sock in listening:
            waiting.register(sock.fileno(), select.POLLIN)
        # With several workers others come and go in the same line, which may never be empty.
        until = clock.monotonic() + (self.manager.remaining() / 2 if self.server.config.workers == 1 else _FRESH)
        while waiting.poll(0) and clock.monotonic() < until:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0)
        # Who was just accepted is the server's a few turns of the loop later; if that is closed by then, nobody's.
        await asyncio.sleep(_LOOK)
        # The socket may be a supervisor's, and somebody else's next.
        _let_in_line(self.server.config.backlog, listening)
        self._close_sockets(sockets)

    def _close_sockets(self, sockets: list[socket.socket]) -> None:
        for server in self.server.servers:
            server.close()
        for sock in sockets:
            sock.close()

    async def _answer_the_last(self) -> None:
        """Who has connected is about to ask, and what has arrived is read; who has asked before and is idle goes."""
        connections = self.server.server_state.connections
        if getattr(self.server.config, "ssl", None) is not None:
            # Who was just accepted is not among them before the end of the handshake.
            await asyncio.sleep(min(_FRESH, self._until()))
        fresh_until = clock.monotonic() + _FRESH
        while self._until() > 0:
            is_early = clock.monotonic() < fresh_until
            if not (is_early and any(map(_is_fresh, connections))) and not _arrived(connections):
                break
            await asyncio.sleep(_LOOK)
        for connection in list(connections):
            connection.shutdown()

    async def _finish(self) -> None:
        state, longer = self.server.server_state, 0.0
        while state.tasks and (left := self._until()) > 0:
            await asyncio.wait(set(state.tasks), timeout=left)
        if state.tasks:
            longer = _ANSWERING
            await self._cut_off(set(state.tasks))
        # The last bytes of an answer leave after its handler.
        while state.connections and self._until(longer) > 0:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_LOOK)
        for connection in list(state.connections):
            connection.transport.abort()

    async def _cut_off(self, late: set[asyncio.Task[Any]]) -> None:
        emit("request.cut_off", requests=len(late))
        for task in late:
            task.cancel()
        await asyncio.wait(late, timeout=max(LAST, self._until(_ANSWERING)))

    async def _end_lifespan(self) -> None:
        ending = asyncio.create_task(self.server.lifespan.shutdown(), name="uno lifespan")
        await asyncio.wait([ending], timeout=self._until(CLOSING + LAST))
        if ending.done():
            ending.result()
            return
        where = "" if self.lifespan is None else waiting(self.lifespan.get_coro())
        self.error = TimedOut(f"The application did not stop within {self.grace:g} s of grace{where}.")
        log.error("%s", self.error)
        await end_within(ending, LAST)
        if self.lifespan is not None:
            await end_within(self.lifespan, LAST)


@contextmanager
def logged_once() -> Iterator[None]:
    """What uno has logged already, with its correlation id, uvicorn does not log again."""
    logger = logging.getLogger("uvicorn.error")
    logger.addFilter(_not_logged_yet)
    try:
        yield
    finally:
        logger.removeFilter(_not_logged_yet)


def _not_logged_yet(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not getattr(error, "__uno_logged__", False)


def _is_fresh(connection: Any) -> bool:
    """Whether nothing was asked on it yet, or a part of a request is there; a WebSocket has no requests."""
    return hasattr(connection, "cycle") and (connection.cycle is None or _has_begun(connection))


def _has_begun(connection: Any) -> bool:
    """Whether a part of the next head was read: what parsers do not tell is found where uvicorn keeps it."""
    if not getattr(connection.cycle, "response_complete", False):
        return False
    # httptools: the scope is that of the next request from its first byte on.
    scope, answered = getattr(connection, "scope", None), getattr(connection.cycle, "scope", None)
    if scope is not None and answered is not None and scope is not answered:
        return True
    # h11: it keeps a head until that is whole.
    read, _ended = getattr(getattr(connection, "conn", None), "trailing_data", (b"", False))
    return bool(read)


def _let_in_line(most: int, listening: Iterable[Any]) -> None:
    """So many may wait to be accepted. With none, those who do come to an end: the kernel ignores who comes while the
    line is full, and they knock again."""
    for sock in listening:
        with socket.socket(fileno=os.dup(sock.fileno())) as same:
            same.listen(most)


def _arrived(connections: Iterable[Any]) -> bool:
    """Whether there are bytes for one of those that are idle, which nobody has read yet."""
    arriving = select.poll()
    for connection in connections:
        if _is_fresh(connection) or getattr(getattr(connection, "cycle", None), "response_complete", False):
            sock = connection.transport.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                arriving.register(sock.fileno(), select.POLLIN)
    return bool(arriving.poll(0))


# ── uvicorn on its own ──


@asynccontextmanager
async def draining_uvicorn(
    life: AbstractAsyncContextManager[T], manager: AsyncManager, *, grace: float, linger: float
) -> AsyncIterator[T | None]:
    """`life`, the lifespan of an application; where `uvicorn` serves that, its server stops as uno's own does.

    With several workers each is such a server. Does nothing but `life` under other servers, and in threads. None is
    what it gives where the server was told to stop before the application had started.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if not isinstance(server, uvicorn.Server):
        async with life as state:
            yield state
        return
    # A reload is no stop that anybody has to hear of.
    lingering = 0.0 if server.config.should_reload else linger
    draining = Draining(server, manager, grace=grace, linger=lingering)
    draining.lifespan = asyncio.current_task()
    server.shutdown = draining.shutdown  # type: ignore[method-assign]
    asked = _AskedTwice(asyncio.get_running_loop(), draining.tell, draining.left)
    with taking_signals(asked), logged_once():
        async with AsyncExitStack() as stack:
            yield await draining.started(stack, life)


class _TurningAway(asyncio.Protocol):
    """For those who come to an application that has not started, and never will."""

    def __init__(self, **_given: Any) -> None:
        pass

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _AskedTwice(Asked):
    """After the SIGINT that a terminal sends to both its parent sends SIGTERM: a second is only the same one again."""

    def is_second(self, number: int) -> bool:
        return number == self.number
