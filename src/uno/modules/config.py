"""What stands around the events of a host."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from uno.errors import Misconfigured
from uno.modules.event import Event
from uno.settings import HostSettings, read
from uno.sync import is_async

if TYPE_CHECKING:
    from uno.resilience import CircuitBreaker, DeadLetterQueue, RateLimiter, RetryPolicy, SharedRateLimiter

_FLAGS = ("propagate_exceptions", "enable_metrics", "enable_tracing")
_PLAIN = ("max_workers", "log_level", *_FLAGS)
_HOOKS = ("on_error", "on_event_start", "on_event_end")


class Unsaid(str):
    """A level that nobody asked for; who says "INFO" means it."""


_LEVEL = Unsaid("INFO")


@dataclass
class ModuleHostConfig:
    """Everything is off unless said otherwise. A `log_level` that is given becomes that of the logger `uno.modules`.

    `propagate_exceptions=False`: the error of a handler is logged, counted and dead-lettered
    instead of raised. Hooks are plain functions: `on_error(error, event)`, `on_event_start(event)`,
    `on_event_end(event, handled)`; what they raise is logged.
    """

    max_workers: int = 4
    propagate_exceptions: bool = True
    log_level: str = _LEVEL
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
        for name, (fits, what) in _TAKES.items():
            value = getattr(self, name)
            if not fits(value):
                raise Misconfigured(f"{name} takes {what}, not {_shown(name, value)}.")
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
            log_level=settings.log_level if "log_level" in settings.model_fields_set else _LEVEL,
            enable_metrics=settings.enable_metrics,
            enable_tracing=settings.enable_tracing,
            **_resilience(settings),
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_level(value: Any) -> bool:
    return isinstance(value, str) and value.upper() in logging.getLevelNamesMapping()


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_hook(value: Any) -> bool:
    return value is None or callable(value)


def _can(*verbs: str) -> Callable[[Any], bool]:
    """By what it can do: it may be somebody's own."""
    return lambda value: value is None or (not isinstance(value, type) and all(hasattr(value, verb) for verb in verbs))


def _shown(name: str, value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    # A URL in the place of a limiter would have a password.
    return repr(value) if name in _PLAIN else type(value).__qualname__


# What each field has to be.
_TAKES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_workers": (_is_number, "a whole number"),
    "log_level": (_is_level, 'the name of a level, such as "INFO"'),
    **dict.fromkeys(_FLAGS, (_is_flag, "True or False")),
    **dict.fromkeys(_HOOKS, (_is_hook, "a function")),
    "rate_limiter": (_can("acquire_async"), "a RateLimiter, as in RateLimiter(rate=100)"),
    "circuit_breaker": (_can("enter", "leave"), "a CircuitBreaker, as in CircuitBreaker(failure_threshold=5)"),
    "retry_policy": (_can("begin", "again"), "a RetryPolicy, as in RetryPolicy(max_retries=3)"),
    "dead_letter_queue": (_can("add"), "a DeadLetterQueue, as in DeadLetterQueue(max_size=1000)"),
}


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
