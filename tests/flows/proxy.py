"""A port before the server, which fails as networks do."""

import asyncio
import contextlib
from urllib.parse import urlsplit, urlunsplit

# What a client of PostgreSQL sends last.
GOODBYE = b"X\0\0\0\4"
# What it sends first, behind a length; not where it only asks to end the statement of another connection.
GREETING = b"\0\3\0\0"


class Proxy:
    """It can go away and come back, keep what says goodbye to itself, and fall silent: then nothing passes any more.

    It falls silent by itself when a client sends `last`, which the server does not see.
    """

    def __init__(self, url: str, *, deaf: bool = False) -> None:
        self._parts = urlsplit(url)
        self._deaf = deaf
        self.silent = False
        self.last: bytes | None = None
        self.near: list[asyncio.StreamWriter] = []
        # How many connections clients have asked for.
        self.greeted = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def url(self) -> str:
        """That of the server, through here."""
        # asyncpg does not expect to be cancelled while it asks whether the server speaks TLS.
        there = self._parts.netloc.replace(f":{self._parts.port}", f":{self._port}")
        return urlunsplit(self._parts._replace(netloc=there, query="sslmode=disable"))

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._parts.port or 5432)
        self._open |= {writer, far_writer}
        self.near.append(writer)
        await asyncio.gather(self._pipe(reader, far_writer, sent=True), self._pipe(far_reader, writer))
        self._open -= {writer, far_writer}

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, sent: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.greeted += sent and data[4:8] == GREETING
                self.silent = self.silent or (sent and self.last is not None and self.last in data)
                if not self.silent:
                    writer.write(data.removesuffix(GOODBYE) if sent and self._deaf else data)
                    await writer.drain()
        writer.close()
