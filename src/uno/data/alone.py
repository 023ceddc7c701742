"""A repository over sessions of one's own: no unit of work around it, each call commits."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import cache, wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from uno.bus.unit import current_unit
from uno.data.database import Database
from uno.data.lease import Lease, SqliteLease
from uno.data.orm import Session
from uno.data.tenants import tell_tenants
from uno.data.unit_of_work import UnitOfWork
from uno.errors import Misconfigured

if TYPE_CHECKING:
    from uno.data.repository import Repository

SessionFactory = Callable[[], AsyncSession]


class Borrowed(Database):
    """The database behind somebody's sessions; its engine stays theirs, to open and to close."""

    def __init__(self, session_factory: SessionFactory) -> None:
        self._factory = session_factory
        self._theirs = _engine_of(session_factory())
        super().__init__(self._theirs.url.render_as_string(hide_password=False), commit="session")
        # Their engine does not say when it runs a statement.
        self.guards.transaction_idle = 0.0

    def _open_engine(self, url: URL) -> None:
        self._engine = self._theirs
        sqlite = url.get_backend_name() == "sqlite"
        self._lease = SqliteLease if sqlite else Lease
        self._reading = {} if sqlite else {"isolation_level": "AUTOCOMMIT"}
        self.writer = None
        tell_tenants(self._engine.sync_engine)

    def _replica(self) -> None:
        """Its queries stay where their engine goes."""

    def new_session(
        self,
        connection: AsyncConnection,
        writable: Callable[[], None] | None = None,
        settle: Callable[[], Awaitable[None]] | None = None,
    ) -> Session:
        """One of theirs, on the connection of the transaction; what it gave stays usable afterwards."""
        session = self._factory()
        session.sync_session.bind = connection.sync_connection
        session.sync_session.expire_on_commit = False
        session.sync_session.autoflush = True
        return cast(Session, session)


def _engine_of(session: object) -> AsyncEngine:
    bind = getattr(session, "bind", None)
    if isinstance(session, AsyncSession) and isinstance(bind, AsyncEngine):
        return bind
    raise Misconfigured(
        "session_factory has to give sessions bound to an AsyncEngine: async_sessionmaker(create_async_engine(url))."
    )


def work_alone(repository: "Repository[Any]", session_factory: SessionFactory) -> None:
    """Make each public method of the repository, its own queries too, a unit of work that commits."""
    held: Any = repository
    held.database = Borrowed(session_factory)
    held.__class__ = _alone(held.__class__)


@cache
def _alone(cls: type[Any]) -> type[Any]:
    public = {name: getattr(cls, name) for name in dir(cls) if not name.startswith("_")}
    wrapped = {name: _committing(method) for name, method in public.items() if iscoroutinefunction(method)}
    return type(cls.__name__, (cls,), {"__module__": cls.__module__, "stream": _streaming(cls.stream), **wrapped})


def _committing(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(method)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        async with UnitOfWork(self.database):
            return await method(self, *args, **kwargs)

    return call


def _streaming(method: Callable[..., AsyncGenerator[Any, None]]) -> Callable[..., AsyncIterator[Any]]:
    @wraps(method)
    async def call(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        uow = UnitOfWork(self.database, read_only=True)
        # Ambient only while the stream is made: who reads it may be elsewhere at every step.
        token = uow.begin()
        try:
            stream = method(self, *args, **kwargs)
        finally:
            current_unit.reset(token)
        try:
            async for one in stream:
                yield one
        finally:
            await stream.aclose()
            await uow.close()

    return call
