"""The engine of a PostgreSQL server; while nobody answers there, a circuit breaker lets nobody wait for it."""

from asyncio import AbstractEventLoop
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from uno.data.failures import translate
from uno.data.pool import PostgresPool
from uno.data.postgres_numbers import keep_digits
from uno.data.postgres_times import keep_times
from uno.data.tenants import OPTION
from uno.data.url import application_name
from uno.errors import Misconfigured
from uno.resilience import CircuitBreaker
from uno.settings import DatabaseSettings
from uno.sync import portal


def break_connecting(engine: Engine, settings: DatabaseSettings) -> None:
    """After some failures in a row it fails at once, with `CircuitBreakerOpen`, which says when to come back."""
    url = engine.url
    breaker = CircuitBreaker(
        f"database {url.host or 'localhost'}:{url.port or 5432}/{url.database or url.username or ''}",
        failure_threshold=settings.breaker_failures,
        recovery_timeout=settings.breaker_recovery,
        success_threshold=1,
    )

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        ticket = breaker.enter()
        try:
            connection = dialect.connect(*arguments, **options)
        except BaseException as error:  # whoever asked for the connection sees it
            breaker.leave(ticket, translate(error) or error)
            raise
        breaker.leave(ticket)
        return connection


def is_over(loop: AbstractEventLoop | None, now: AbstractEventLoop, backend: str) -> bool:
    """Whether connections belong to a `loop` that is closed. Raises `Misconfigured` for another than `now`."""
    if loop is None or loop is now:
        return False
    if portal().runs(loop):
        raise Misconfigured(
            "The database is in use by synchronous code, in an event loop of its own; close it first, "
            "database.blocking.close(), or open it before it is used there."
        )
    if backend == "sqlite":  # whose connections each have a thread
        return False
    if not loop.is_closed():
        raise Misconfigured(
            "The database is open in another event loop, and connections belong to one; close it there first, or "
            "give what runs here, as an application in a TestClient, a Database of its own."
        )
    return True


def postgres_engine(url: URL, settings: DatabaseSettings, read_only: bool) -> AsyncEngine:
    """SQLAlchemy's engine for a PostgreSQL server, with its pool and what is set on each connection."""
    url, name = application_name(url)
    server_settings = {
        "application_name": name,
        "timezone": "UTC",
        "jit": "off",
        "statement_timeout": str(int(settings.statement_timeout * 1000)),
        **({"default_transaction_read_only": "on"} if read_only else {}),
    }
    engine = create_async_engine(
        url,
        hide_parameters=True,
        poolclass=PostgresPool,
        pool_size=settings.pool_size,
        max_overflow=settings.max_overflow,
        pool_timeout=settings.acquire_timeout,
        # The connection used last has its statements prepared.
        pool_use_lifo=True,
        # What changes a session is watched for instead, on connections of SQLAlchemy's own too.
        pool_reset_on_return=None,
        execution_options={OPTION: None},
        connect_args={"server_settings": server_settings, "timeout": settings.connect_timeout},
    )
    keep_digits(engine.dialect)
    keep_times(engine.sync_engine)
    return engine
