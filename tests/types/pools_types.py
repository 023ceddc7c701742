"""Never run: what a pool gives is what opens its connections, async or not, and what is shared has its settings."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from typing import Any, assert_type

from uno.aio import ConnectionPool, ResourceRegistry, managed_connection_pool


class Line:
    async def send(self, text: str) -> bool:
        return True


async def connect() -> Line:
    return Line()


def connect_at_once() -> Line:
    return Line()


async def disconnect(line: Line) -> None: ...


def hang_up(line: Line) -> None: ...


def forget(number: int) -> None: ...


async def pools() -> None:
    pool = ConnectionPool("lines", connect)
    assert_type(pool, ConnectionPool[Line])
    async with pool.connection() as line:
        assert_type(line, Line)
    assert_type(await pool.acquire(), Line)
    assert_type(ConnectionPool("lines", connect_at_once, disconnect, max_size=3), ConnectionPool[Line])
    assert_type(ConnectionPool("lines", Line, hang_up, validate_func=lambda line: line.send("?")), ConnectionPool[Line])
    assert_type(ConnectionPool("lines", lambda: connect(), disconnect), ConnectionPool[Line])


async def managed() -> None:
    async with managed_connection_pool("lines", connect, disconnect, max_size=3) as pool, pool.connection() as line:
        assert_type(line, Line)
    async with managed_connection_pool("lines", connect_at_once, ttl=5.0) as other:
        assert_type(other, ConnectionPool[Line])


def shared(registry: ResourceRegistry) -> None:
    assert_type(registry.pool("lines", connect, disconnect, max_size=3), ConnectionPool[Line])
    assert_type(registry.pool("lines", connect_at_once), ConnectionPool[Line])
    assert_type(registry.pool("lines", max_size=3), ConnectionPool[Any])
    registry.breaker("payments", failure_threshold=3, recovery_timeout=0.5)
    registry.limiter("mail", rate=5, block=True)
    registry.bulkhead("reports", max_concurrent=3)


async def wrong(registry: ResourceRegistry) -> None:
    ConnectionPool("lines", connect, disconnect, max_sise=3)  # type: ignore[call-overload]
    ConnectionPool("lines", connect, forget)  # type: ignore[misc]
    registry.pool("lines", connect, max_size="3")  # type: ignore[call-overload]
    registry.pool("lines", max_sise=3)  # type: ignore[call-overload]
    managed_connection_pool("lines", connect, max_sise=3)  # type: ignore[call-overload]
    async with managed_connection_pool("lines", connect) as pool, pool.connection() as line:
        await line.send(3)  # type: ignore[arg-type]
    registry.breaker("payments", failures=3)  # type: ignore[call-arg]
    registry.limiter("mail", rate="5")  # type: ignore[arg-type]
    registry.bulkhead("reports", size=3)  # type: ignore[call-arg]
