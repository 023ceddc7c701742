"""Everything uno tells: signals by name, and the spans it makes. The one list that code and docs share."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Signal:
    """`text` is the sentence of its log line; `fields` are the names it is emitted with."""

    level: Level
    text: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MadeSpan:
    """A span that uno makes; `pattern` is filled in with what it is about."""

    pattern: str
    kind: str
    text: str

    def name(self, **about: str) -> str:
        return self.pattern.format(**about)


# Those but that of a message are made only where spans are exported.
REQUEST = MadeSpan("{method} {route}", "server", "a request, from its first byte to its last")
MESSAGE = MadeSpan(
    "{message}", "internal", "a message on its way through the pipeline, with all attempts and the commit"
)
HANDLER = MadeSpan("handle {message}", "internal", "its handler or subscriber alone")
STATEMENT = MadeSpan("{verb}", "client", "an SQL statement: its text, never its parameters")
SENT = MadeSpan("send {event}", "producer", "a delivery is made, to commit with the change")
TAKEN = MadeSpan("process {event}", "consumer", "a worker's attempt at a delivery")
SPANS = (REQUEST, MESSAGE, HANDLER, STATEMENT, SENT, TAKEN)

# Sorted by name, so that rooms do not meet at the end of the list.
SIGNALS: dict[str, Signal] = {
    "auth.forbidden": Signal("info", "somebody asked for what they may not do", ("needed",)),
    "auth.header_refused": Signal("info", "an Authorization header was refused", ("reason",)),
    "auth.refresh_reused": Signal("warning", "a refresh token came twice, so its session was ended", ("subject",)),
    "auth.token_refused": Signal("info", "a token was refused", ("reason",)),
    "batcher.refused": Signal("debug", "a batcher refused an item", ("batcher",)),
    "breaker.closed": Signal("info", "a circuit breaker closed", ("breaker",)),
    "breaker.half_opened": Signal("info", "a circuit breaker lets probes through", ("breaker",)),
    "breaker.opened": Signal("warning", "a circuit breaker opened", ("breaker",)),
    "breaker.refused": Signal("debug", "a circuit breaker refused a call", ("breaker",)),
    "bulkhead.refused": Signal("debug", "a bulkhead refused a call", ("bulkhead",)),
    "cache.stale": Signal("warning", "an old value stands in for one that cannot be loaded", ("cache", "error")),
    "cache.unreachable": Signal("warning", "a shared cache does not reach Redis", ("cache", "error")),
    "cleanup.interrupted": Signal("warning", "the cleanup of a cancelled call took too long", ("function", "seconds")),
    "cleanup.left": Signal("error", "the cleanup of a cancelled call cannot be ended", ("function", "seconds")),
    "dead_letter.dropped": Signal("warning", "a dead letter gave way to a newer one", ("queue", "dropped")),
    "fallback.used": Signal("info", "a fallback was used", ("fallback", "error")),
    "gauge.failed": Signal("warning", "a gauge could not be read, so it is left out", ("gauge", "error")),
    "group.failed_cancelled": Signal(
        "warning", "tasks failed in a group that was cancelled, so their errors are not raised", ("group", "error")
    ),
    "lifecycle.stopping": Signal("debug", "the process was told to stop", ("reason", "grace")),
    "limiter.refused": Signal("debug", "a rate limiter refused a call", ("limiter",)),
    "limiter.unreachable": Signal("warning", "a shared rate limiter does not reach Redis", ("limiter", "error")),
    "lock.abandoned": Signal("warning", "a task ended without releasing a lock, which is free now", ("lock", "owner")),
    "lock.lost": Signal("warning", "a lock was lost with its connection to the database", ("lock", "owner")),
    "loop.blocked": Signal("warning", "a call blocked the event loop", ("seconds", "place", "task")),
    "otel.dropped": Signal("warning", "telemetry was dropped: the collector does not keep up", ("dropped", "reason")),
    "pool.close_failed": Signal("warning", "a connection of a pool could not be closed", ("pool", "error")),
    "pool.connect_failed": Signal("warning", "a pool could not open a connection", ("pool", "error")),
    "pool.cut_off": Signal("warning", "a pool was closed while connections of it were in use", ("pool", "connections")),
    "request.abandoned": Signal("debug", "a client went away, so its handler was cancelled", ("method", "path")),
    "request.cut_off": Signal("warning", "requests were cancelled at the end of the grace period", ("requests",)),
    "resource.close_failed": Signal("warning", "a resource could not be closed", ("resource", "error")),
    "retry.budget_spent": Signal("warning", "too much fails: no more is repeated for now", ("retry", "error")),
    "retry.scheduled": Signal("debug", "a failed call is repeated", ("retry", "attempt", "delay", "error")),
    "task.failed": Signal("error", "a background task failed", ("task", "group")),
    "task.gave_up": Signal(
        "error", "a background task failed again and again, and is not started any more", ("task", "group")
    ),
    "task.restarted": Signal(
        "warning", "a background task failed and is started again", ("task", "group", "restarts", "delay", "error")
    ),
    "task.stuck": Signal("error", "a cancelled task does not end", ("task", "group", "place")),
    "tasks.cancelled": Signal("warning", "tasks were cancelled at the end of the grace period", ("tasks",)),
    "timeout.expired": Signal("debug", "a call took too long", ("timeout", "seconds")),
    "trace.export_failed": Signal("warning", "a trace exporter failed", ("error", "failures")),
}
