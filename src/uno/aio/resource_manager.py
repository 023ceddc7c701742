"""`ResourceManager`: what an application does with its resources at the start and at the stop, by the seed's names."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from uno.aio.manager import AsyncManager, get_async_manager
from uno.aio.resources import ResourceRegistry
from uno.aio.verbs import Verb
from uno.errors import Misconfigured


class Pooling(Protocol):
    """What has a pool itself: `uno.data.Database`."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def pool_use(self) -> Any: ...

    async def ping(self) -> None: ...

    def session(self) -> Any: ...


_configured: Callable[[], Pooling | None] | None = None


def fill(configured: Callable[[], Pooling | None]) -> None:
    """How the database of the settings is made, which is the business of `uno.data`; None where they have none."""
    global _configured
    _configured = configured


class ResourceManager:
    """A view of the `AsyncManager` of the event loop in which it is asked."""

    @property
    def manager(self) -> AsyncManager:
        return get_async_manager()

    @property
    def registry(self) -> ResourceRegistry:
        return self.manager.resources

    async def initialize(self) -> None:
        """Start the manager; where it runs, as in the lifespan of an application, nothing happens."""
        if self.manager.stage in ("new", "stopped"):
            await self.manager.start()

    async def shutdown(self, timeout: float | None = None) -> None:
        """Stop the manager: tasks, hooks, resources."""
        await self.manager.shutdown(timeout)

    def add_startup_hook(self, hook: Verb) -> Verb:
        return self.manager.add_startup_hook(hook)

    def add_shutdown_hook(self, hook: Verb) -> Verb:
        return self.manager.add_shutdown_hook(hook)

    async def create_database_pools(
        self, databases: "Pooling | Mapping[str, Pooling] | None" = None
    ) -> dict[str, Pooling]:
        """The databases by name, opened and metered: those given, and those there are, as an application's "database";
        where there is none, that of UNO_DB_URL.

        Nothing is pooled twice: the pool is the engine's own, its size `UNO_DB_POOL_SIZE`. Raises `Misconfigured`
        where there is none.
        """
        if databases is None and not self._pools() and _configured is not None:
            databases = _configured()
        given = databases if isinstance(databases, Mapping) else {} if databases is None else {"database": databases}
        for name, database in given.items():
            if not hasattr(database, "pool_use"):
                raise Misconfigured(
                    f"{name!r} is no Database but a {type(database).__name__}: Database('postgresql://…')."
                )
            if name not in self.registry:
                await database.open()
            await self.registry.register(name, database, metrics=figures_of_pool(database), check=database.ping)
        if found := self._pools():
            return found
        raise Misconfigured(
            "There is no database here: set UNO_DB_URL and import uno.data, or create_database_pools(Database(url))."
        )

    def _pools(self) -> dict[str, Pooling]:
        return {name: one for name, one in self.registry.get_all_resources().items() if hasattr(one, "pool_use")}

    async def create_session_factory(self, name: str = "database") -> Callable[[], Any]:
        """`async with factory() as session:` is a SQLAlchemy session of this database, in a transaction."""
        pools = await self.create_database_pools()
        if name not in pools:
            raise Misconfigured(f"There is no database called {name!r}; there is {', '.join(pools)}.")
        return pools[name].session


def figures_of_pool(database: Pooling) -> Callable[[], dict[str, Any]]:
    """What its engine's pool says of itself."""

    def figures() -> dict[str, Any]:
        use = database.pool_use()
        return {} if use is None else dict(use.figures())

    return figures


_resources = ResourceManager()


def get_resource_manager() -> ResourceManager:
    """The one there is: it stands for the manager of whichever event loop asks."""
    return _resources
