"""What stands around every message, in one readable list, and how the parts find each other."""

import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from uno.aio.threads import thread_figures
from uno.app.around import checked
from uno.app.asked import needs_a_database, unlisted
from uno.audit import AuditBook, AuditTrail
from uno.bus import Bus, CommandBus, EventBus, Middleware, QueryBus, per_message
from uno.bus.idempotency import refuse_keys
from uno.context import Context, current
from uno.data import Database, Once, Repository, UnitOfWork, cascades, repeated, schema as uno_schema, transactional
from uno.data.aggregates import Aggregates
from uno.data.enum_types import clashing
from uno.data.naming import naming
from uno.data.references import check_references, in_order
from uno.data.unit_of_work import ambient_unit
from uno.di import ServiceProvider, singleton, use_service_provider, value
from uno.errors import Misconfigured, Problem
from uno.health import Check
from uno.modules import ModuleHost, ModuleHostConfig
from uno.modules.hosted import Hosted
from uno.queue import DeadLetters, Worker
from uno.queue.hint import Notifier
from uno.queue.statements import Deliveries
from uno.queue.units import Units
from uno.security import Principal, require_principal
from uno.settings import Settings
from uno.telemetry import Metrics, Telemetry, Tracer, observed
from uno.telemetry.observe import handling

if TYPE_CHECKING:
    from pydantic import SecretStr
    from sqlalchemy import MetaData

    from uno.app.app import App
    from uno.data.migrations.driving import Migrations

T = TypeVar("T")
# In place of a database that is missing or wrong; never opened.
UNPLACED = "sqlite://"


class AppBus(Bus):
    """The bus of an application. Where data are stored it `waits` for it, instead of starting by itself."""

    waits = False

    async def start(self) -> None:
        self.refuse_early()
        await super().start()

    def refuse_early(self) -> None:
        if self.waits:
            raise Misconfigured("The application has not started, and it stores data: use `async with app:` around it.")


@dataclass
class Wiring:
    """The parts of a running application."""

    bus: AppBus
    provider: ServiceProvider
    telemetry: Telemetry
    settings: Settings
    models: tuple[type, ...]
    host: Hosted
    database: Database | None = None
    notifier: Notifier | None = None
    found: list[Problem] = field(default_factory=list)
    # It stores data, and nobody said where; that is known when it starts, not when it is looked at.
    nowhere: bool = False

    @property
    def metrics(self) -> Metrics:
        return self.telemetry.metrics

    @property
    def tracer(self) -> Tracer:
        return self.telemetry.tracer

    def problems(self) -> list[Problem]:
        return [
            *self.found,
            *self.provider.problems(),
            *self.bus.problems(),
            *self.host.problems(),
            *self._unstorable(),
        ]

    def checks(self) -> list[Check]:
        return [] if self.database is None else [self.database.check()]

    def tables(self) -> "list[MetaData]":
        """The metadata of the application's own tables. Raises `Misconfigured` where one refers to nothing."""
        own = self._metadata()
        for table in (table for each in own for table in each.tables.values()):
            check_references(table.fullname, table)
        return in_order(own)

    def _metadata(self) -> "list[MetaData]":
        database = self.database
        plans = [] if database is None else [database.plan(model) for model in self.models]
        return list({id(p.table.metadata): p.table.metadata for p in plans if p.table.name != "uno_document"}.values())

    def migrations(self, folder: Path | None) -> "Migrations | None":
        """Those in a folder, over the application's database."""
        if self.database is None or folder is None:
            return None
        from uno.data.migrations.driving import Migrations  # Alembic takes long to import

        return Migrations(self.database, folder, self.tables())

    def check_placed(self) -> None:
        """Raise `Misconfigured` where data is to be stored and nobody said where."""
        if self.nowhere:
            fix = "set UNO_DB_URL, for instance postgresql://user:password@host/name or embedded:"
            raise Misconfigured(f"The application stores data but has no database; {fix}")

    async def start(self, stack: AsyncExitStack, folder: Path | None = None) -> None:
        """Start everything; what was started is stopped by `stack`. `folder` is that of the migrations."""
        self.check_placed()
        await stack.enter_async_context(self.telemetry.running())
        if self.database is not None:
            with naming(self.database):
                await stack.enter_async_context(self.database)
                await self._prepare(self.database, folder)
        self.bus.waits = False
        await stack.enter_async_context(self.telemetry.pushing())
        if self.notifier is not None:
            stack.push_async_callback(self.notifier.close)
        await stack.enter_async_context(self.provider)
        stack.enter_context(use_service_provider(self.provider))
        await self.bus.start()
        stack.callback(self.host.stop)
        self.host.start()

    async def _prepare(self, database: Database, folder: Path | None) -> None:
        """An embedded or in-memory database is brought up to date, any other has to be."""
        if database.in_memory:
            await uno_schema.create(database, self.tables())
        elif database.embedded:
            await uno_schema.create(database, self.tables(), self.migrations(folder))
        else:
            await uno_schema.require(database, self.tables(), self.migrations(folder))
        await cascades.warn(database)

    def worker(self) -> Worker:
        """A worker over the same database and bus."""
        if self.database is None or self.notifier is None:
            raise Misconfigured("There is no database, so there is nothing for a worker to do.")
        return Worker(self.database, self.bus, self.settings.worker, hints=self.notifier.here)

    def _unstorable(self) -> list[Problem]:
        found = []
        for model in self.models:
            try:
                if self.database is not None:
                    check_references(model.__qualname__, self.database.plan(model).table)
            except Misconfigured as error:
                found.append(Problem("wrong model", model.__qualname__, str(error)))
        return found or self._clashing()

    def _clashing(self) -> list[Problem]:
        """PostgreSQL would have the values of one of them only."""
        if self.database is None or self.database.backend != "postgresql":
            return []
        tables = [table for each in self._metadata() for table in each.tables.values()]
        return [
            Problem(
                "wrong model",
                f"{column.table.fullname}.{column.name}",
                f"Its enumerated type {name!r} has other values than that of {other.table.fullname}.{other.name}, "
                "which has the same name; give one a name of its own, Enum(..., name=...), or both the same values.",
            )
            for column, other, name in clashing(tables)
        ]


def wire(
    app: "App",
    database: Database | str | None,
    middleware: Sequence[Middleware],
    overrides: dict[type, object],
    host: ModuleHostConfig | None,
    own_handler: Callable[[Any], Any],
) -> Wiring:
    """Put the parts together; nothing is started. `own_handler` finds its handler of a shared resource."""
    hosted = Hosted(app.modules, host or ModuleHostConfig.of(app.settings.host))
    of_modules = (own_handler(handler) for module in app.modules for handler in module.all_handlers())
    handlers = [*of_modules, *hosted.handlers()]
    provided = [provider for module in app.modules for provider in module.providers]
    models = tuple(dict.fromkeys(model for module in app.modules for model in module.all_models()))
    problems: list[Problem] = []
    url = database or app.settings.db.url or default_url(app.settings)
    needed = database is not None or needs_a_database(handlers, provided, models)
    opened = _database(url or UNPLACED, app.settings, problems) if needed else None
    if opened is not None:
        problems += unlisted(handlers, provided, models, opened)
    if opened is not None and hosted.receives:
        handlers.append(hosted.receiver())

    telemetry = Telemetry.of(app.settings.otel)
    metrics, tracer = telemetry.metrics, telemetry.tracer
    _host_figures(metrics, hosted)
    metrics.gauge("uno_threads", "Calls in thread pools, by state.", thread_figures, label="state")
    if opened is not None:
        _gauges(metrics, opened)
    units = None if opened is None else Units(opened, [AuditBook()])
    made: list[AppBus] = []
    own = [value(app.settings, provides=Settings), value(metrics), value(tracer), value(hosted, provides=ModuleHost)]
    ambient: dict[type, Any] = {Context: current, Principal: require_principal}
    if units is not None:
        ambient[UnitOfWork] = ambient_unit
    provider = ServiceProvider(
        [*own, *_services(opened, lambda: made[0]), *provided], overrides=overrides, ambient=ambient
    )
    bus = AppBus(
        handlers,
        middleware=_pipeline(telemetry, middleware, hosted, units),
        provider=provider,
        open_unit=None if units is None else lambda: _begun(made[0], units),
        otherwise=hosted.otherwise,
        entities=None if opened is None else Aggregates(opened),
    )
    bus.waits = opened is not None
    made.append(bus)
    hosted.connect(bus)
    if units is not None:
        units.connect(bus)
    notifier = None if units is None else units.notifier
    nowhere = needed and url is None
    return Wiring(bus, provider, telemetry, app.settings, models, hosted, opened, notifier, problems, nowhere)


def _pipeline(telemetry: Telemetry, users: Sequence[Middleware], host: Hosted, units: Units | None) -> list[Middleware]:
    """What stands around every message, outermost first."""
    pipeline: list[Middleware] = [
        # Outermost: what follows is counted, timed and traced, whatever its outcome.
        per_message(observed(telemetry.metrics, telemetry.tracer)),
        # The user's: they see the outcome of the whole, repetitions and commit included.
        *map(checked, users),
        # Of events: limits, then what the host counts and keeps, which is the outcome of all attempts.
        *host.around(),
        # Outside the transaction, so that each attempt has one of its own.
        host.repeating(),
    ]
    if units is not None:
        # Outside the transaction, because a clash is known only when the commit fails.
        pipeline.append(per_message(repeated))
        # Inside what authorises and repeats: each attempt asks anew whether the message has had its effect.
        pipeline.append(per_message(Once(units.open)))
        # Innermost: nothing may fail between the handler's success and the commit.
        pipeline.append(per_message(transactional(units.open)))
    else:
        pipeline.append(refuse_keys)
    if telemetry.tracer.exports:
        # Only where somebody sees it: the handler alone, without what stands around it.
        pipeline.append(per_message(handling(telemetry.tracer)))
    return pipeline


def _begun(bus: AppBus, units: Units) -> UnitOfWork:
    """A unit of work for an event that is published outside of one."""
    bus.refuse_early()
    return units.open()


def _host_figures(metrics: Metrics, host: Hosted) -> None:
    """What the host of the modules counts, where it counts events at all."""

    def events() -> dict[str, float] | None:
        counts = host.metrics
        if counts is None:
            return None
        return {name.removeprefix("events_"): n for name, n in counts.to_dict().items() if name.startswith("events_")}

    def modules() -> float | None:
        return None if host.metrics is None else host.metrics.modules_registered

    metrics.counter("uno_host_events", "Events of modules, by what became of them.", events, label="outcome")
    metrics.gauge("uno_host_modules", "Modules of the host.", modules)


def _gauges(metrics: Metrics, database: Database) -> None:
    """What is asked of the database when somebody looks at the metrics."""

    def pool() -> dict[str, float] | None:
        use = database.pool_use()
        replica = None if database.replica is None else database.replica.pool_use()
        more = {} if replica is None else {f"replica_{state}": n for state, n in replica.figures().items()}
        return None if use is None else use.figures() | more

    def waited() -> float | None:
        use = database.pool_use()
        return None if use is None else use.waited

    metrics.gauge("uno_pool_connections", "Connections of the pool, by state.", pool, label="state")
    metrics.counter("uno_pool_wait_seconds", "How long all callers together have waited for a connection.", waited)
    lag = Deliveries(database).lag
    metrics.gauge("uno_queue_lag_seconds", "How long the oldest due delivery has been waiting.", lag)


def _services(database: Database | None, bus: Callable[[], Bus]) -> list[object]:
    """What uno itself provides."""
    # The bus is made after the provider, and there when the first service asks for it.
    buses: list[object] = [singleton(provides=kind)(lambda: bus()) for kind in (Bus, CommandBus, QueryBus, EventBus)]
    if database is None:
        return buses
    return [*buses, value(database), value(AuditTrail(database)), value(DeadLetters(database)), _repository]


@singleton
def _repository(entity: type[T]) -> Repository[T]:
    return Repository(entity)


def _database(given: "Database | SecretStr | str", settings: Settings, problems: list[Problem]) -> Database:
    if isinstance(given, Database):
        return given
    try:
        return Database(given, settings=settings.db)
    except Misconfigured as error:
        problems.append(Problem("wrong database", "UNO_DB_URL", str(error)))
        # One wrong database is not to be reported as many missing services.
        return Database(UNPLACED, settings=settings.db)


def default_url(settings: Settings) -> str | None:
    """The embedded server, for somebody at a terminal who did not say otherwise."""
    return "embedded:" if settings.env != "production" and sys.stdout.isatty() else None
