"""uvicorn, started and stopped properly.

The port is bound before anything of the application starts, and an application that does not start
raises its own error instead of a log full of traces.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uno.aio import get_async_manager
from uno.aio.stopping import go_on, told_to_stop
from uno.api.draining import Draining, logged_once
from uno.errors import Unavailable

# What is queued while all workers are busy.
_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to `host` and `port` (0: any free one; `getsockname()` says which).

    Raises `Unavailable` with one sentence if the port is taken or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        # Now, because two sockets may be bound to one port, but only one may listen.
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise Unavailable(f"Cannot listen on {host}:{port}: {error.strerror or error}; choose another port.") from None
    return sock


def url_of(sock: socket.socket) -> str:
    """The URL of a socket that listens."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(
    asgi_app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    sock: socket.socket | None = None,
    ready: Callable[[str], None] | None = None,
    shutdown_timeout: float = 10.0,
    linger: float = 1.0,
    access_log: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM; then readiness is 503, and `linger` seconds later nothing new is accepted.

    What was accepted has `shutdown_timeout` seconds from the signal for finishing, then it is cancelled and the
    application stops; a second signal ends the process at once, and what does not even stop then is ended with it two
    seconds later. `sock` is a socket of `listen`, else one is made.
    `ready(url)` is called when requests are answered. Raises `Unavailable` if the port is taken, `TimedOut` where the
    application does not stop, and what its start or stop raised.
    """
    sock = sock or listen(host, port)
    watched = _Watched(asgi_app)
    server = _Server(watched, sock, ready, access_log, grace=shutdown_timeout, linger=linger)
    running = asyncio.ensure_future(_run(server, sock))
    with logged_once():
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            server.should_exit = True
            await running
            raise
        finally:
            sock.close()
            await server.let_go()
            go_on()
    error = server.draining.error or watched.error
    # Told to stop, an application that was just starting is cancelled.
    if error is not None and not (server.draining.was_told and isinstance(error, asyncio.CancelledError)):
        raise error


async def _run(server: uvicorn.Server, sock: socket.socket) -> None:
    # uvicorn leaves this way where the application does not start; the caller gets the reason.
    with suppress(SystemExit):
        await server.serve(sockets=[sock])


class _Server(uvicorn.Server):
    def __init__(
        self,
        watched: "_Watched",
        sock: socket.socket,
        ready: Callable[[str], None] | None,
        access_log: bool,
        *,
        grace: float,
        linger: float,
    ) -> None:
        config = uvicorn.Config(watched, lifespan="on", log_config=None, access_log=access_log, server_header=False)
        super().__init__(config)
        self._url = url_of(sock)
        self._ready = ready
        self.manager = get_async_manager()
        self.draining = watched.draining = Draining(self, self.manager, grace=grace, linger=linger)

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Ours: uvicorn would raise the signal again at the end, and the caller has to close things, too."""
        return told_to_stop(self.draining.tell, self.draining.left)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.draining.shutdown(sockets)

    async def let_go(self) -> None:
        """An application without a lifespan of uno's has nobody else who closes what it has opened."""
        if self.manager.users == 0:
            await self.manager.shutdown()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready is not None:
            self._ready(self._url)


class _Watched:
    """Keeps the error of a lifespan, which the protocol would only pass on as text."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.error: BaseException | None = None
        self.draining: Draining | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        if self.draining is not None:
            self.draining.lifespan = asyncio.current_task()
        try:
            await self.app(scope, receive, _without_text(send))
        except BaseException as error:
            self.error = error
            raise


def _without_text(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def quiet(message: Message) -> None:
        await send({name: value for name, value in message.items() if name != "message"})

    return quiet
