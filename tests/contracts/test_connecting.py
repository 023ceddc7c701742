"""While nobody answers at the database's address, nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import pytest
from sqlalchemy.engine import make_url
from tests.contracts.conftest import Templates

from uno import clock
from uno.data import Database
from uno.errors import Unavailable
from uno.resilience import CircuitBreakerOpen
from uno.settings import DatabaseSettings


class Later(clock.SystemClock):
    seconds = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        return clock.SystemClock.monotonic() + self.seconds

    def now(self) -> datetime:
        return super().now()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def forwarding(port: int, host: str, target: int) -> AsyncIterator[None]:
    """What comes to `port` goes to the server."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(host, target)
        await asyncio.gather(_copy(reader, ours), _copy(theirs, writer))

    async with await asyncio.start_server(accept, "127.0.0.1", port) as server:
        yield
        server.close()


async def _free_port() -> int:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
    return port


async def test_after_some_failures_it_fails_at_once_and_says_when_to_come_back(templates: Templates) -> None:
    url = make_url(await templates.empty_url("postgresql"))
    port = await _free_port()
    settings = DatabaseSettings(breaker_failures=3, breaker_recovery=5)
    there = url.set(host="127.0.0.1", port=port, query={"sslmode": "disable"}).render_as_string(hide_password=False)
    async with Database(there, settings=settings) as database:
        for _ in range(3):
            with pytest.raises(Unavailable, match="cannot be reached") as caught:
                await database.ping()
            assert not isinstance(caught.value, CircuitBreakerOpen)
        for ask in (database.ping, database.begin):
            with pytest.raises(CircuitBreakerOpen) as refused:
                await ask()
            assert 0 < (refused.value.retry_after or 0) <= 5
        with clock.use(Later()) as later:
            later.seconds = 6
            with pytest.raises(Unavailable, match="cannot be reached"):
                await database.ping()
            with pytest.raises(CircuitBreakerOpen):
                await database.ping()
            later.seconds = 12
            assert url.host is not None
            assert url.port is not None
            async with forwarding(port, url.host, url.port):
                await database.ping()
                await database.close()


async def test_it_can_be_switched_off() -> None:
    there = f"postgresql://nobody@127.0.0.1:{await _free_port()}/x?sslmode=disable"
    async with Database(there, settings=DatabaseSettings(breaker_failures=0)) as database:
        for _ in range(20):
            with pytest.raises(Unavailable) as caught:
                await database.ping()
            assert not isinstance(caught.value, CircuitBreakerOpen)
