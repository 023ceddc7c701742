"""New connections to PostgreSQL go through a circuit breaker: while nobody answers, nobody waits for it."""

from typing import Any

from sqlalchemy import Engine, event

from uno.data.failures import translate
from uno.resilience import CircuitBreaker
from uno.settings import DatabaseSettings


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
