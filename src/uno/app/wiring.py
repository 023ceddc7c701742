"""What stands around every message, in one readable list, and how the parts find each other."""

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from uno.audit import AuditBook, AuditTrail
from uno.bus import Bus, CommandBus, EventBus, Middleware, QueryBus, per_message
from uno.bus.unit import current_unit
from uno.context import Context, current
from uno.data import Changes, Database, Repository, UnitOfWork, repeated, schema as uno_schema, transactional
from uno.di import ServiceProvider, dependencies_of, singleton, use_service_provider, value
from uno.errors import Misconfigured, Problem
from uno.health import Check
from uno.queue import DeadLetters, DeliveryBook, Worker
from uno.queue.fence import attach, passed
from uno.queue.hint import Notifier
from uno.settings import Settings
from uno.telemetry import Metrics, Tracer, observed

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from uno.app.app import App

T = TypeVar("T")


@dataclass
class Wiring:
    """The parts of a running application."""

    bus: Bus
    provider: ServiceProvider
    metrics: Metrics
    tracer: Tracer
    settings: Settings
    models: tuple[type, ...]
    database: Database | None = None
    notifier: Notifier | None = None
    found: list[Problem] = field(default_factory=list)

    def problems(self) -> list[Problem]:
        return [*self.found, *self.provider.problems(), *self.bus.problems(), *self._unstorable()]

    def checks(self) -> list[Check]:
        return [] if self.database is None else [self.database.check()]

    def tables(self) -> "list[MetaData]":
        """The metadata of the application's own tables."""
        database = self.database
        plans = [] if database is None else [database.plan(model) for model in self.models]
        return list({id(p.table.metadata): p.table.metadata for p in plans if p.table.name != "uno_document"}.values())

    async def start(self, stack: AsyncExitStack) -> None:
        """Start everything; what was started is stopped by `stack`."""
        if self.database is not None:
            await stack.enter_async_context(self.database)
            await self._prepare(self.database)
        if self.notifier is not None:
            stack.push_async_callback(self.notifier.close)
        await stack.enter_async_context(self.provider)
        stack.enter_context(use_service_provider(self.provider))
        await self.bus.start()

    async def _prepare(self, database: Database) -> None:
        """An embedded or in-memory database is brought up to date, any other has to be."""
        if database.embedded or database.in_memory:
            await uno_schema.create(database, self.tables())
        else:
            await uno_schema.require(database)

    def worker(self) -> Worker:
        """A worker over the same database and bus."""
        if self.database is None or self.notifier is None:
            raise Misconfigured("There is no database, so there is nothing for a worker to do.")
        worker = Worker(self.database, self.bus, self.settings.worker)
        self.notifier.here.append(worker.wake)
        return worker

    def _unstorable(self) -> list[Problem]:
        found = []
        for model in self.models:
            try:
                if self.database is not None:
                    self.database.plan(model)
            except Misconfigured as error:
                found.append(Problem("wrong model", model.__qualname__, str(error)))
        return found


def wire(
    app: "App", database: Database | str | None, middleware: Sequence[Middleware], overrides: dict[type, object]
) -> Wiring:
    """Put the parts together; nothing is started."""
    handlers = [handler for module in app.modules for handler in module.handlers]
    provided = [provider for module in app.modules for provider in module.providers]
    models = tuple(dict.fromkeys(model for module in app.modules for model in module.models))
    problems: list[Problem] = []
    opened = _database(app.settings, database, problems) if database or _needs_one(handlers, provided, models) else None

    metrics, tracer = Metrics(), Tracer()
    parts = _Parts(opened)
    pipeline: list[Middleware] = [
        # Outermost: what follows is counted, timed and traced, whatever its outcome.
        per_message(observed(metrics, tracer)),
        # The user's: they see the outcome of the whole, repetitions and commit included.
        *middleware,
    ]
    if opened is not None:
        # Outside the transaction, because a clash is known only when the commit fails.
        pipeline.append(per_message(repeated))
        # Innermost: nothing may fail between the handler's success and the commit.
        pipeline.append(per_message(transactional(parts.open_unit)))

    own = [value(app.settings, provides=Settings), value(metrics), value(tracer), *parts.services()]
    provider = ServiceProvider([*own, *provided], overrides=overrides, ambient=parts.ambient())
    bus = Bus(handlers, middleware=pipeline, provider=provider, open_unit=None if opened is None else parts.open_unit)
    parts.connect(bus)
    return Wiring(bus, provider, metrics, tracer, app.settings, models, opened, parts.notifier, problems)


class _Parts:
    """The parts that are made before the bus and need it later."""

    def __init__(self, database: Database | None) -> None:
        self.database = database
        self.notifier: Notifier | None = None
        self._bus: Bus | None = None
        self._books: tuple[Any, ...] = ()
        self._after: tuple[Any, ...] = ()

    def connect(self, bus: Bus) -> None:
        self._bus = bus
        if self.database is None:
            return
        self.notifier = Notifier(self.database, lambda event: bool(bus.durable_subscribers(event)))
        self._books = (AuditBook(), DeliveryBook(bus.durable_subscribers))

        async def tell(changes: Changes) -> None:
            if changes.events:
                await bus.notify(changes.events)

        # The delivery in hand ends with the commit; what subscribers do afterwards is not part of it.
        self._after = (passed, self.notifier.committed, tell)

    def open_unit(self, *, read_only: bool = False) -> UnitOfWork:
        assert self.database is not None
        return attach(UnitOfWork(self.database, books=self._books, after=self._after, read_only=read_only))

    def services(self) -> list[object]:
        # Made when the bus starts, and there is one by then.
        buses: list[object] = [singleton(provides=kind)(lambda: self._bus) for kind in (Bus, CommandBus, QueryBus, EventBus)]
        if self.database is None:
            return buses
        return [
            *buses,
            value(self.database),
            value(AuditTrail(self.database)),
            value(DeadLetters(self.database)),
            _repository,
        ]

    def ambient(self) -> dict[type, Any]:
        found: dict[type, Any] = {Context: current}
        return found if self.database is None else {**found, UnitOfWork: _unit}


@singleton
def _repository(entity: type[T]) -> Repository[T]:
    return Repository(entity)


def _unit() -> object:
    unit = current_unit.get()
    if unit is None:
        raise Misconfigured("No unit of work is open here; ask for it in a handler.")
    return unit


def _needs_one(handlers: Sequence[Any], providers: Sequence[Any], models: Sequence[type]) -> bool:
    """Whether anything in the application is about a database."""
    if models or any(getattr(mark, "durable", False) for h in handlers for mark in getattr(h, "__uno_handles__", ())):
        return True
    about = {Database, UnitOfWork, AuditTrail, DeadLetters, Repository}
    targets = [*handlers, *(h.handle for h in handlers if hasattr(h, "handle")), *providers]
    return any(_origin(d.type) in about for target in targets if callable(target) for d in _dependencies(target))


def _dependencies(target: Any) -> list[Any]:
    try:
        return list(dependencies_of(target).values())
    except Misconfigured:  # the bus and the provider report it, with its place
        return []


def _origin(wanted: Any) -> Any:
    origin = getattr(wanted, "__origin__", wanted)
    return Repository if isinstance(origin, type) and issubclass(origin, Repository) else origin


def _database(settings: Settings, given: Database | str | None, problems: list[Problem]) -> Database:
    if isinstance(given, Database):
        return given
    url = given or settings.db.url or default_url(settings)
    if url is None:
        fix = "set UNO_DB_URL, for instance postgresql://user:password@host/name or embedded:"
        problems.append(
            Problem("missing database", "UNO_DB_URL", f"The application stores data but has no database; {fix}")
        )
        return _nowhere()
    try:
        return Database(url, settings=settings.db)
    except Misconfigured as error:
        problems.append(Problem("wrong database", "UNO_DB_URL", str(error)))
        return _nowhere()


def _nowhere() -> Database:
    """Never opened: it keeps one missing database from being reported as many missing services."""
    return Database("sqlite://")


def default_url(settings: Settings) -> str | None:
    """The embedded server, for somebody at a terminal who did not say otherwise."""
    return "embedded:" if settings.env != "production" and sys.stdout.isatty() else None
