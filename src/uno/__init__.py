"""uno: one message pipeline and one data layer for applications on PostgreSQL and FastAPI.

The house, from the ground up. A folder is a concept, a file is a noun, and imports only go down.

    __init__.py    the front door: the names below, loaded when they are asked for
    errors.py      the one error tree
    result.py      Success | Failure
    extras.py      what needs an extra, and what is said where that is missing
    redact.py      what may be written down: text without secrets
    ids.py         ULID and UUIDv7 identifiers
    clock.py       the time, where tests can set it
    context.py     actor, tenant, correlation, causation, deadline: one contextvar
    sync.py        asynchronous code driven for synchronous callers
    messages.py    Message, Command[R], Query[R], DomainEvent, Envelope
    settings.py    the settings tree, each section with its prefix: UNO_DB_, UNO_API_ …
    health/        checks, reports, liveness and readiness
    telemetry/     signals, logs, spans and metrics; OpenTelemetry and Prometheus
    resilience/    breaker, retry, limit, fallback, timeout, bulkhead, dead letters
    aio/           tasks, locks, timeouts, batches, caches, resources, the lifecycle of a process
    domain/        entity, value, aggregate, specification
    di/            singleton, scoped, transient: a surface over dishka
    bus/           registry, pipeline, dispatch and publish
    data/          database, unit of work, repository, filters, hooks, changes; postgres, sqlite, embedded; migrations
    modules/       a part of an application, and the host of typed events between parts
    audit/         who changed what: a row per change, in the transaction of the change
    queue/         deliveries, the outbox, the worker, dead letters
    security/      principals, tokens, policies: who asks, and what they may
    app/           the composition root: modules in, one wired application out
    api/           routes from messages, problems, the ASGI application
    examples/      inventory: the demo application, which the docs and the tests use
    compat/        the names of the systems uno grew out of, and where they live now
    cli/           uno demo, run, worker, routes, messages, modules, graph, check, db, dead, doctor
    testing/       what tests of applications on uno need

One request, which is also the reading order: api → context → bus → pipeline → handler →
UnitOfWork → Repository → one transaction (entity, audit, delivery) → worker → subscriber.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uno.app import App as App
    from uno.bus import (
        Bus as Bus,
        CommandBus as CommandBus,
        EventBus as EventBus,
        QueryBus as QueryBus,
        command_handler as command_handler,
        event_handler as event_handler,
        query_handler as query_handler,
    )
    from uno.data import (
        Database as Database,
        DatabaseSettings as DatabaseSettings,
        Filter as Filter,
        Model as Model,
        Repository as Repository,
        SoftDeleteMixin as SoftDeleteMixin,
        TimestampMixin as TimestampMixin,
        UnitOfWork as UnitOfWork,
        UUIDMixin as UUIDMixin,
        VersionMixin as VersionMixin,
    )
    from uno.di import (
        ServiceProvider as ServiceProvider,
        discover as discover,
        get_service_provider as get_service_provider,
        scoped as scoped,
        singleton as singleton,
        transient as transient,
    )
    from uno.domain import (
        AggregateRoot as AggregateRoot,
        Entity as Entity,
        Specification as Specification,
        ValueObject as ValueObject,
    )
    from uno.errors import (
        Conflict as Conflict,
        Forbidden as Forbidden,
        Invalid as Invalid,
        Misconfigured as Misconfigured,
        NotFound as NotFound,
        OutcomeUnknown as OutcomeUnknown,
        RateLimited as RateLimited,
        TimedOut as TimedOut,
        Unauthenticated as Unauthenticated,
        Unavailable as Unavailable,
        UnoError as UnoError,
    )
    from uno.messages import Command as Command, DomainEvent as DomainEvent, Query as Query
    from uno.modules import (
        Event as Event,
        EventInput as EventInput,
        EventOutput as EventOutput,
        Module as Module,
        ModuleHost as ModuleHost,
        ModuleHostConfig as ModuleHostConfig,
    )
    from uno.resilience import (
        CircuitBreaker as CircuitBreaker,
        RateLimiter as RateLimiter,
        RetryPolicy as RetryPolicy,
        Timeout as Timeout,
    )
    from uno.result import Failure as Failure, Result as Result, Success as Success
    from uno.security import Principal as Principal

__version__ = "0.1.0"

# Where each name lives; the block above says the same to type checkers.
_HOMES = {
    "uno.app": ["App"],
    "uno.bus": [
        "Bus", "CommandBus", "EventBus", "QueryBus", "command_handler", "event_handler", "query_handler",
    ],
    "uno.data": [
        "Database", "DatabaseSettings", "Filter", "Model", "Repository", "SoftDeleteMixin", "TimestampMixin",
        "UUIDMixin", "UnitOfWork", "VersionMixin",
    ],
    "uno.di": ["ServiceProvider", "discover", "get_service_provider", "scoped", "singleton", "transient"],
    "uno.domain": ["AggregateRoot", "Entity", "Specification", "ValueObject"],
    "uno.errors": [
        "Conflict", "Forbidden", "Invalid", "Misconfigured", "NotFound", "OutcomeUnknown", "RateLimited", "TimedOut",
        "Unauthenticated", "Unavailable", "UnoError",
    ],
    "uno.messages": ["Command", "DomainEvent", "Query"],
    "uno.modules": ["Event", "EventInput", "EventOutput", "Module", "ModuleHost", "ModuleHostConfig"],
    "uno.resilience": ["CircuitBreaker", "RateLimiter", "RetryPolicy", "Timeout"],
    "uno.result": ["Failure", "Result", "Success"],
    "uno.security": ["Principal"],
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # a checker that saw this would believe every name exists
    __all__ = sorted(_HOME)

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'uno' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOME})
