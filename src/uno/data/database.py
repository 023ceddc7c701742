"""One database: its engine, its pool, the plans of its classes, its health."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from pydantic import SecretStr
from sqlalchemy import MetaData, Result, Select, Table, TextClause, and_, bindparam, event, select, text
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from uno.data import deadlines, locks
from uno.data.capture import by_trigger
from uno.data.components import Classes
from uno.data.connecting import break_connecting, is_over, postgres_engine
from uno.data.document import DocumentPlan, document_plan
from uno.data.document_filter import DocumentFields
from uno.data.fields import Fields, Searchable
from uno.data.guards import Guards
from uno.data.holds import Holds, look_at_json
from uno.data.lazy import name_what_is_not_loaded, reachable
from uno.data.lease import Lease, SqliteLease, Transaction, connect_in_greenlet, raise_translated
from uno.data.marks import wants_triggers
from uno.data.orm import Session
from uno.data.parting import cut_off, let_go, part_in_time
from uno.data.plan import MappedPlan, mapped_plan
from uno.data.pool import PoolUse, WatchedPool
from uno.data.postgres import PostgresWriter
from uno.data.revival import Revival
from uno.data.sameness import compare_as_stored
from uno.data.shapes import Shapes
from uno.data.special import SPECIAL, Special, special
from uno.data.sqlite import SqliteConnection, connect, sqlite_engine
from uno.data.statement import Prepared
from uno.data.tenants import OPTION, Tenants, current, tell_tenants
from uno.data.unfit import name_unfit
from uno.data.url import dsn, parse, shown
from uno.data.watched import watch
from uno.data.writer import Writer
from uno.errors import Misconfigured
from uno.health import Check
from uno.settings import DatabaseSettings
from uno.telemetry.logs import get_logger

if TYPE_CHECKING:
    from uno.data.blocking import Blocking
    from uno.data.unit_of_work import UnitOfWork

log = get_logger("uno.data")
T = TypeVar("T")
Plan = MappedPlan | DocumentPlan
EMBEDDED = "embedded:"
# Statements of queries that are remembered: clients choose their shape.
MOST_SHAPES = 1_000


class Database:
    """`url` is `postgresql://…`, `sqlite:///file.db`, or `embedded:` with an optional folder.

    `commit` forces a commit form ("batch", "session") where "auto" would take the fastest; the
    tests compare them; `read_only` is for a replica. Open it before use (`async with database`), close it after.
    """

    def __init__(
        self,
        url: str | SecretStr | None = None,
        *,
        settings: DatabaseSettings | None = None,
        progress: Callable[[str], None] | None = None,
        commit: str = "auto",
        read_only: bool = False,
    ) -> None:
        self.settings = settings or DatabaseSettings()
        given = url or self.settings.url
        if given is None:
            raise Misconfigured(
                "No database URL; set UNO_DB_URL, for instance postgresql://user@host/name or embedded:"
            )
        self._url = given.get_secret_value() if isinstance(given, SecretStr) else given
        self.read_only = read_only
        self.commit = commit
        self.guards = Guards(self.settings)
        self.progress = progress
        # What an application gives to each unit of work: its audit trail and its deliveries.
        self.furnish: Callable[[UnitOfWork], None] | None = None
        self._server: Any = None
        self._revival: Revival | None = None
        self._engine: AsyncEngine | None = None
        self._plans: dict[type, Plan] = {}
        self._fields: dict[Plan, Searchable] = {}
        self._classes = Classes()
        self._by_key: dict[Plan, Prepared] = {}
        # The statements of queries.
        self.shapes = Shapes(MOST_SHAPES)
        self._users = 0
        # The event loop it was opened in, as long as it is open.
        self.loop: asyncio.AbstractEventLoop | None = None
        self._blocking: Blocking | None = None
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._special: Special | None = None
        self.tenants = Tenants()
        self.locks = locks.Locks(self)
        self._drivers: WeakSet[Any] = WeakSet()
        if not self.embedded:
            self._parsed = parse(self._url)
            self.forget_tables()
            self._open_engine(self._parsed)
        self.replica = self._replica()

    def _replica(self) -> "Database | None":
        """Where units of work that only read go, if the settings name one."""
        if self.settings.replica_url is None or self.read_only:
            return None
        replica = Database(self.settings.replica_url, settings=self.settings, read_only=True)
        if replica.embedded or self.embedded or replica.backend != self.backend:
            raise Misconfigured("UNO_DB_REPLICA_URL has to be of the same kind as UNO_DB_URL, and not embedded.")
        return replica

    def __repr__(self) -> str:
        return f"Database({self.shown!r})"

    @property
    def shown(self) -> str:
        """The URL for people: without user name and password."""
        return self._url if self.embedded else shown(self._parsed)

    @property
    def embedded(self) -> bool:
        return self._url.startswith(EMBEDDED)

    @property
    def folder(self) -> Path | None:
        """Where the embedded server keeps its data, None for its default folder."""
        given = self._url.removeprefix(EMBEDDED).removeprefix("//") if self.embedded else ""
        return Path(given).expanduser().absolute() if given else None

    @property
    def in_memory(self) -> bool:
        """Whether the data are gone when it is closed."""
        return not self.embedded and self.backend == "sqlite" and self._parsed.database in (None, "", ":memory:")

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine, for its own tools; uno's code takes leases."""
        if self._engine is None:
            raise Misconfigured("The database is not open; use `async with database:`.")
        return self._engine

    @property
    def dialect(self) -> Dialect:
        return self.engine.dialect

    @property
    def backend(self) -> str:
        """ "postgresql" or "sqlite"."""
        return "postgresql" if self.embedded else self._parsed.get_backend_name()

    @property
    def url(self) -> str:
        """The URL with its password: for programs, not for people."""
        return self._parsed.render_as_string(hide_password=False)

    @property
    def dsn(self) -> str:
        """The same for PostgreSQL's own tools and drivers."""
        return dsn(self._parsed)

    def _open_engine(self, url: URL) -> None:
        self._engine = self._new_engine(url)
        self._lease = SqliteLease if url.get_backend_name() == "sqlite" else Lease
        event.listen(self._engine.sync_engine, "do_connect", connect_in_greenlet)
        name_unfit(self._engine.sync_engine)
        tell_tenants(self._engine.sync_engine)
        watch(self._engine.sync_engine)
        deadlines.keep_deadlines(self._engine.sync_engine)
        if url.get_backend_name() == "postgresql":
            event.listen(self._engine.sync_engine, "connect", self._opened)
            part_in_time(self._engine.dialect)
            # An embedded server has what starts it again instead.
            if self.settings.breaker_failures and not self.embedded:
                break_connecting(self._engine.sync_engine, self.settings)
        dialect = self._engine.dialect
        # SQLite's connections are in autocommit mode already.
        self._reading = {"isolation_level": "AUTOCOMMIT"} if dialect.name == "postgresql" else {}
        self.writer: Writer | None = PostgresWriter(dialect) if dialect.name == "postgresql" else None

    def _new_engine(self, url: URL) -> AsyncEngine:
        if url.get_backend_name() == "sqlite":
            return sqlite_engine(
                url, self.settings, WatchedPool, {"async_creator_fn": connect, "factory": SqliteConnection}
            )
        return postgres_engine(url, self.settings, self.read_only)

    @property
    def blocking(self) -> "Blocking":
        """The same for synchronous code: `with database.blocking.transaction() as uow:`."""
        if self._blocking is None:
            from uno.data.blocking import Blocking  # it stands on this file

            self._blocking = Blocking(self)
        return self._blocking

    async def open(self) -> None:
        """Start the embedded server, if it is one, and open the pool."""
        over = is_over(self.loop, asyncio.get_running_loop(), self.backend)
        if self.loop is not None and self.loop.is_closed():
            # Whoever used it there ended with the loop.
            self._users, self.loop = 0, None
        if over:
            cut_off(self._drivers)
            self.leave()
        async with self._one_at_a_time():
            try:
                await self._open()
            except BaseException:
                await self._close()
                raise

    async def _open(self) -> None:
        if self.embedded and self._server is None:
            from uno.data import embedded  # only those who use it need the server's binaries

            self._server = await embedded.acquire_async(self.folder, progress=self.progress)
            await embedded.ensure_database(self._server.server, "uno")
            self._parsed = parse(self._server.server.url_for("uno"))
        if self._engine is None:
            self._open_engine(self._parsed)
        if self._server is not None and self._revival is None:
            self._revival = Revival(self._server, self.engine, self._moved)
        if self.replica is not None:
            await self.replica.open()
        self.loop = asyncio.get_running_loop()

    def _moved(self, server: Any) -> None:
        self._parsed = parse(server.url_for("uno"))

    async def close(self) -> None:
        """Close all connections; the embedded server stops with its last user."""
        async with self._one_at_a_time():
            await self._close()

    async def _close(self) -> None:
        engine, self._engine, self.loop = self._engine, None, None
        if self._blocking is not None:
            self._blocking.closed()
        revival, self._revival = self._revival, None
        try:
            if revival is not None:
                await revival.close()
            if engine is not None:
                await self._dispose(engine)
            if self.replica is not None:
                await self.replica.close()
        finally:
            server, self._server = self._server, None
            if server is not None:
                await asyncio.to_thread(server.release)

    def leave(self) -> Any:
        """Let go of everything that belongs to the process it was forked from, and give it back to be kept."""
        left = self._engine, self._revival, self._drivers, self.loop
        self._engine, self._revival, self._drivers = None, None, WeakSet()
        self.loop, self._turn = None, None
        return left

    async def _dispose(self, engine: AsyncEngine) -> None:
        """Close what is in the pool; a server that does not answer must not hold up the end."""
        await self.locks.close()
        drivers, self._drivers = self._drivers, WeakSet()
        closing = asyncio.ensure_future(engine.dispose())
        try:
            await asyncio.wait([closing], timeout=self.settings.connect_timeout)
        finally:
            if not closing.done():
                log.warning("connections were cut off, because the server did not answer when they were closed")
                for driver in list(drivers):
                    driver.terminate()
        await closing

    def _opened(self, connection: Any, _record: Any) -> None:
        self._drivers.add(connection.driver_connection)

    async def __aenter__(self) -> "Database":
        await self.open()
        self._users += 1
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._users -= 1
        async with self._one_at_a_time():
            if self._users == 0:  # nobody came while this waited
                await self._close()

    def _one_at_a_time(self) -> AbstractAsyncContextManager[Any]:
        """For opening and closing; a lock belongs to one event loop, a database may live through several."""
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            self._turn = loop, asyncio.Lock()
        return self._turn[1]

    def lease(self) -> Lease:
        """A connection for a statement or a few, each its own transaction."""
        return self._lease(self.engine, self.settings.statement_timeout + deadlines.SILENCE)

    async def begin(self, *, writing: bool = True) -> Transaction:
        """An open transaction, which locks nothing and refuses to write where it is not `writing`; close it."""
        return await Transaction(self.engine, self.guards if writing else None, self.tenants).begin()

    def new_session(
        self,
        connection: AsyncConnection,
        writable: Callable[[], None] | None = None,
        settle: Callable[[], Awaitable[None]] | None = None,
    ) -> Session:
        """A session on this connection; `writable` raises where nothing may be written, `settle` writes what waits."""
        return Session(connection, writable, settle)

    async def fetch(self, prepared: Prepared, parameters: dict[str, Any]) -> Sequence[Any]:
        """The rows of a prepared statement that reads, as the driver gives them, on a connection of its own."""
        if not self.tenants.known:
            await self.restricted_tables()
        tenant = current() if self.tenants.in_text(prepared.sql) else None
        async with self.lease() as lease:
            if tenant is None:
                return await lease.fetch(prepared, parameters)
            return await lease.fetch_of(tenant, prepared, parameters)

    async def query(self, statement: Any, parameters: Any = None) -> Sequence[Any]:
        """The rows of one SQLAlchemy statement that reads, on a connection of its own."""
        return await self._ask(statement, parameters, Result.all)

    async def read(self, statement: Any, parameters: Any = None) -> Result[Any]:
        """The same, with the names of its columns."""
        return await self._ask(statement, parameters, lambda result: result.freeze()())

    async def _ask(self, statement: Any, parameters: Any, take: Callable[[Result[Any]], T]) -> T:
        if not self.tenants.known:
            await self.restricted_tables()
        # Text may call functions that use more than it names.
        plain = self.tenants.possible and (isinstance(statement, TextClause) or self.dialect.driver != "asyncpg")
        options = {OPTION: self.tenants, **({} if plain else self._reading)}
        try:
            connection = await self.engine.connect()
            try:
                reading = await connection.execution_options(**options)
                return take(await reading.execute(statement, parameters))
            finally:
                await let_go(connection)
        except Exception as error:  # whoever asks sees it, translated
            raise_translated(error)
            raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """An explicit transaction: committed at the end of the block, rolled back by an exception."""
        transaction = await self.begin()
        try:
            yield transaction
            await deadlines.run_commit(deadlines.confirmed(transaction.commit(), self.settings.commit_timeout))
        finally:
            await transaction.close()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A SQLAlchemy session in a transaction of its own; what it writes is not audited."""
        async with self.transaction() as transaction, Session(transaction.connection) as session:
            yield session
            await session.flush()

    def prepare(self, statement: Any, columns: tuple[Any, ...] = ()) -> Prepared:
        """The statement, compiled for this database."""
        return Prepared(statement, self.dialect, columns)

    def plan(self, cls: type) -> Plan:
        """How objects of `cls` are stored. Raises `Misconfigured` where it cannot be, or beside another class."""
        plan = self._plans.get(cls)
        if plan is None:
            plan = _plan(cls)
            self._classes.add(plan)
            lite = self.backend == "sqlite"
            if isinstance(plan, DocumentPlan):
                plan.holds = look_at_json if lite else None
            else:
                for mapper in reachable(plan.mapper):
                    name_what_is_not_loaded(mapper)
                    compare_as_stored(mapper)
                # Compiled before the first message.
                _ = plan.check
                plan.holds = Holds(plan, self.backend)
                if wants_triggers(cls):
                    by_trigger(cls)
            self._plans[cls] = plan
        return plan

    def fields(self, plan: Plan) -> Searchable:
        """What objects of a class can be filtered by: its own fields, and those of the objects it refers to."""
        found = self._fields.get(plan)
        if found is None:
            found = self._fields[plan] = fields_of(plan, self.backend)
        return found

    def by_key(self, plan: Plan) -> Prepared:
        """What reads one row by its key, compiled once; the parts of the key are `k0`, `k1`, …"""
        prepared = self._by_key.get(plan)
        if prepared is None:
            prepared = self._by_key[plan] = self.prepare(select_by_key(plan), plan.columns)
        return prepared

    @property
    def plans(self) -> tuple[Plan, ...]:
        return tuple(self._plans.values())

    async def restricted_tables(self, transaction: Transaction | None = None) -> frozenset[str]:
        """Tables whose BEFORE row triggers or row-level policies must see earlier rows of the same commit.

        Looked up once, in `transaction` if one is open; parts of one statement do not see each other's rows.
        """
        if self._special is None and self.backend == "sqlite":
            self._special = Special()
        if self._special is None:
            if transaction is not None:
                rows = (await transaction.execute(text(SPECIAL))).all()
            else:
                async with self.lease() as lease:
                    rows = await lease.fetch_text(SPECIAL, ())
            self._special = special(rows)
            self.tenants.know(self._special.secured)
        return self._special.restricted

    async def secures(self, table: Table) -> bool:
        """Whether this table has row-level security."""
        await self.restricted_tables()
        return self.tenants.has(table)

    @property
    def captured(self) -> frozenset[str]:
        """Tables whose changes are written down by triggers; known once `restricted_tables` was asked."""
        return frozenset() if self._special is None else self._special.captured

    def forget_tables(self) -> None:
        """Look again which tables are special: they were created anew."""
        self._special = None
        if self.backend == "sqlite":
            self.tenants.know(())
        else:
            self.tenants.forget()

    async def create_tables(self, metadata: Iterable[MetaData]) -> None:
        """Create the tables that do not exist yet."""
        async with self.transaction() as transaction:
            for one in metadata:
                await transaction.connection.run_sync(one.create_all)
        self.forget_tables()

    async def ping(self) -> None:
        """One round trip; raises `Unavailable`."""
        async with self.lease() as lease:
            await lease.fetch_text("SELECT 1", ())

    def pool_use(self) -> PoolUse | None:
        """How its connections are used now; None while it is closed."""
        pool = None if self._engine is None else self._engine.pool
        if not isinstance(pool, WatchedPool):
            return None
        limit = 1 if self.in_memory else self.settings.pool_size + self.settings.max_overflow
        return pool.use(limit)

    def check(self) -> Check:
        async def ask() -> None:
            await self.ping()

        return Check("database", ask)


def _plan(cls: type) -> Plan:
    plan = mapped_plan(cls) or document_plan(cls)
    if plan is None:
        raise Misconfigured(
            f"{cls.__qualname__} cannot be stored; derive it from uno.data.Model or uno.domain.AggregateRoot, "
            "or map it."
        )
    return plan


def fields_of(plan: Plan, backend: str) -> Searchable:
    """What can be filtered by in a database of this kind."""
    if isinstance(plan, DocumentPlan):
        return DocumentFields(plan, backend)
    related = {p.key: mapped_plan(p.mapper.class_) for p in plan.mapper.relationships}
    return Fields(plan, relations={name: Fields(one) for name, one in related.items() if one is not None})


def select_by_key(plan: Plan) -> Select[Any]:
    """The row with a key, whose parts are the parameters `k0`, `k1`, …"""
    columns = [plan.table.c[name] for name in plan.key_row(tuple(plan.key_names))]
    where = and_(*(column == bindparam(f"k{n}", type_=column.type) for n, column in enumerate(columns)))
    return select(*plan.columns).where(where)
