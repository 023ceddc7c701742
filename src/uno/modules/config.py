"""What stands around the events of a host."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from uno.errors import Misconfigured
from uno.modules.event import Event
from uno.modules.handles import is_async
from uno.settings import HostSettings, read

if TYPE_CHECKING:
    from uno.resilience import CircuitBreaker, DeadLetterQueue, RateLimiter, RetryPolicy, SharedRateLimiter

_HOOKS = ("on_error", "on_event_start", "on_event_end")


@dataclass
class ModuleHostConfig:
    """Everything is off unless said otherwise.

    `propagate_exceptions=False`: the error of a handler is logged, counted and dead-lettered
    instead of raised. Hooks are plain functions: `on_error(error, event)`, `on_event_start(event)`,
    `on_event_end(event, handled)`; what they raise is logged.
    """

    max_workers: int = 4
    propagate_exceptions: bool = True
    log_level: str = "INFO"
    on_error: Callable[[Exception, Event[Any, Any]], Any] | None = None
    on_event_start: Callable[[Event[Any, Any]], Any] | None = None
    on_event_end: Callable[[Event[Any, Any], bool], Any] | None = None
    enable_metrics: bool = False
    enable_tracing: bool = False
    rate_limiter: "RateLimiter | SharedRateLimiter | None" = None
    circuit_breaker: "CircuitBreaker | None" = None
    retry_policy: "RetryPolicy | None" = None
    dead_letter_queue: "DeadLetterQueue | None" = None

    def __post_init__(self) -> None:
        if self.max_workers < 1:
            raise Misconfigured(f"max_workers is {self.max_workers}; a host needs at least one thread.")
        for name in _HOOKS:
            if is_async(getattr(self, name)):
                raise Misconfigured(f"{name} is a coroutine function, and nobody would await it; make it a function.")

    @classmethod
    def from_env(cls) -> Self:
        """From `UNO_HOST_*`; raises `Misconfigured` with every variable that is wrong."""
        return cls.of(read(HostSettings))

    @classmethod
    def of(cls, settings: HostSettings) -> Self:
        """From a section of the settings."""
        return cls(
            max_workers=settings.max_workers,
            propagate_exceptions=settings.propagate_exceptions,
            log_level=settings.log_level,
            enable_metrics=settings.enable_metrics,
            enable_tracing=settings.enable_tracing,
            **_resilience(settings),
        )


def _resilience(s: HostSettings) -> dict[str, Any]:
    """What is not switched off."""
    from uno.resilience import CircuitBreaker, DeadLetterQueue, RateLimiter, RetryPolicy

    made: dict[str, Any] = {}
    if s.rate_limit:
        made["rate_limiter"] = RateLimiter(rate=s.rate_limit, burst=s.rate_limit_burst)
    if s.circuit_breaker_threshold:
        timeout = s.circuit_breaker_timeout
        made["circuit_breaker"] = CircuitBreaker("host", s.circuit_breaker_threshold, recovery_timeout=timeout)
    if s.retry_max:
        made["retry_policy"] = RetryPolicy(max_retries=s.retry_max, base_delay=s.retry_base_delay)
    if s.dlq_size:
        made["dead_letter_queue"] = DeadLetterQueue(max_size=s.dlq_size)
    return made
