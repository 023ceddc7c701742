"""The application: what its modules bring, checked and wired before the first message."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uno.aio import AsyncManager, ResourceRegistry, get_async_manager
from uno.aio.resource_manager import figures_of_pool
from uno.app.endpoints import endpoint, endpoint_problems
from uno.app.mistakes import middleware_problems, refuse_mistakes
from uno.app.resources import introduced
from uno.app.wiring import Wiring, wire
from uno.bus import Bus, Middleware
from uno.data import Database, schema
from uno.di import ServiceProvider
from uno.errors import Misconfigured, Problem, Unavailable
from uno.health import Check, HealthCheck, HealthReport, duplicate_checks, warn_of_restarts
from uno.modules import Module, ModuleHost, ModuleHostConfig
from uno.queue import Worker
from uno.security import AuthProvider, Policies, policy_problems
from uno.settings import Settings, load
from uno.telemetry import Metrics, Tracer

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from uno.data.migrations.driving import Migrations

Lifespan = Callable[["App"], AbstractAsyncContextManager[Any]]


class App:
    """Modules put together. Raises one `Misconfigured` with everything that is wrong.

    `lifespan(app)` is the user's own part of the lifespan: it is entered when uno's own parts run
    and left before they stop. `middleware` is added for every message. `worker=True` delivers events in
    this process too, otherwise `uno worker` does. With `auth` endpoints are for the authenticated unless
    their `access` says otherwise; `policies` names sets of permissions for it.
    `host` says what stands around the events of modules, instead of `UNO_HOST_*`. `version` is that of
    the program, in health reports and OpenAPI. `migrations` is the folder of the migrations of its tables: it starts
    on a database that has all of them.
    """

    def __init__(
        self,
        *modules: Module,
        settings: Settings | None = None,
        database: Database | str | None = None,
        worker: bool = False,
        lifespan: Lifespan | None = None,
        middleware: Sequence[Middleware] = (),
        overrides: dict[type, object] | None = None,
        auth: AuthProvider | None = None,
        policies: Policies | None = None,
        host: ModuleHostConfig | None = None,
        version: str = "",
        migrations: str | Path | None = None,
    ) -> None:
        refuse_mistakes(modules, auth, lifespan, host, middleware)
        self.modules = modules
        self.version = version
        self.health_check = HealthCheck(version=version, checks=self.checks)
        self.settings = settings or load()
        self.auth = auth
        self.policies: Policies = policies or {}
        access = "open" if auth is None else "authenticated"
        declared = (endpoint(r, m.name, access) for m in modules for r in m.endpoints())
        self.endpoints, own_handler = introduced(declared)
        self._user_lifespan = lifespan
        self._middleware = tuple(middleware)
        self.works = worker
        # The command line sets it where it finds the folder of this application.
        self.migrations = None if migrations is None else Path(migrations)
        self._worker_check: Check | None = None
        self._is_running = False
        self._wiring: Wiring = wire(self, database, self._middleware, overrides or {}, host, own_handler)
        found = self.problems()
        if found:
            raise Misconfigured.of(found)

    @property
    def bus(self) -> Bus:
        return self._wiring.bus

    @property
    def host(self) -> ModuleHost:
        """The host of the modules: typed events, named payloads."""
        return self._wiring.host

    @property
    def provider(self) -> ServiceProvider:
        return self._wiring.provider

    @property
    def database(self) -> Database | None:
        return self._wiring.database

    def check_database(self) -> None:
        """Raise `Misconfigured` where data is to be stored and nobody said in which database."""
        self._wiring.check_placed()

    @property
    def metrics(self) -> Metrics:
        return self._wiring.metrics

    @property
    def tracer(self) -> Tracer:
        return self._wiring.tracer

    def worker(self) -> Worker:
        """A worker over this application's database and handlers; `await worker.run()`."""
        return self._wiring.worker()

    async def create_schema(self) -> None:
        """Create uno's tables and the application's own; for an open database."""
        if self.database is not None:
            await schema.create(self.database, self._wiring.tables(), self.migrating())

    def tables(self) -> "list[MetaData]":
        """The tables of the models of its modules, with all others of the same `MetaData`."""
        return self._wiring.tables()

    def migrating(self) -> "Migrations | None":
        """Its migrations, over its open database; None where it has no folder of them."""
        return self._wiring.migrations(self.migrations)

    def problems(self) -> list[Problem]:
        """What is wrong, room by room."""
        endpoints = endpoint_problems(self.endpoints, authenticates=self.auth is not None)
        policies = policy_problems(self.policies)
        twins = [*self._twins(), *duplicate_checks(self.checks())]
        around = middleware_problems(self._middleware, self.bus.marks)
        return [*self._wiring.problems(), *around, *endpoints, *policies, *self._unhandled(), *twins]

    def checks(self) -> list[Check]:
        """The health checks of all modules and of uno itself."""
        own = [] if self._worker_check is None else [self._worker_check]
        return [*self._wiring.checks(), *own, *(check for module in self.modules for check in module.checks)]

    async def health(self, *, liveness: bool = False) -> HealthReport:
        """Liveness asks the checks marked for it; readiness all that are not only for liveness."""
        return await (self.health_check.liveness_async() if liveness else self.health_check.readiness_async())

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator["App"]:
        """Everything started inside, stopped in reverse order at the end. Raises `Misconfigured` inside another."""
        if self._is_running:
            raise Misconfigured("The application runs already; start it once, or make another one.")
        warn_of_restarts(self.checks())
        async with AsyncExitStack() as stack:
            self._is_running = True
            stack.callback(setattr, self, "_is_running", False)
            await self._wiring.start(stack, self.migrations)
            manager = get_async_manager()
            # Before its hooks, which may register what depends on it.
            await self._register(stack, manager.resources)
            await stack.enter_async_context(manager.running(grace=self.settings.grace))
            for module in self.modules:
                await self._wiring.host.load(module)
                stack.push_async_callback(self._wiring.host.unload, module)
            if self._user_lifespan is not None:
                await stack.enter_async_context(self._user_lifespan(self))
            # Tasks end before what they may use.
            stack.push_async_callback(manager.leaving)
            if self.works:
                await stack.enter_async_context(self._working(manager))
            yield self

    async def _register(self, stack: AsyncExitStack, resources: ResourceRegistry) -> None:
        """The database among the resources, to be looked at and depended on: it is opened and closed here."""
        database, name = self.database, "database"
        if database is None or name in resources:
            return
        figures = figures_of_pool(database)
        await resources.register(name, database, metrics=figures, check=database.ping, owned=False)

        @stack.push_async_callback
        async def forget() -> None:
            # A manager that somebody else has started keeps what depends on it.
            if name in resources and resources.get(name) is database:
                await resources.unregister(name, dependents=True)

    @asynccontextmanager
    async def _working(self, manager: AsyncManager) -> AsyncIterator[None]:
        worker = self.worker()
        task = asyncio.create_task(worker.run(), name="uno.worker")
        self._worker_check = Check("worker", partial(_alive, task))
        # At once, while requests are still answered: nothing new is taken.
        forget = manager.on_stopping(lambda: worker.finish(manager.remaining()))
        try:
            yield
        finally:
            forget()
            await worker.stop(manager.remaining())
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def __aenter__(self) -> "App":
        running = self.lifespan()
        await running.__aenter__()
        self._running = running
        return self

    async def __aexit__(self, *exc: Any) -> bool | None:
        return await self._running.__aexit__(*exc)

    def _unhandled(self) -> list[Problem]:
        handled = {mark.message for mark in self.bus.marks}
        return [
            Problem(
                "missing handler",
                e.message.__qualname__,
                f"{e.method} {e.path} leads to it but nothing handles it; add its handler to a module's handlers.",
            )
            for e in self.endpoints
            if e.message not in handled and not self._wiring.host.knows(e.message)
        ]

    def _twins(self) -> list[Problem]:
        names = [module.name for module in self.modules]
        return [
            Problem("duplicate module", name, f"{names.count(name)} modules are called {name}; give each its own name.")
            for name in sorted({name for name in names if names.count(name) > 1})
        ]


async def _alive(task: asyncio.Task[None]) -> None:
    if task.done():
        raise Unavailable("The worker of this process has ended.")
