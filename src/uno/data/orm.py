"""SQLAlchemy's session, which also takes SQL as text with bind parameters."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar, cast, overload

from sqlalchemy import Executable, Result, ScalarResult, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from uno import sync
from uno.data import literal
from uno.data.failures import refuses_to_write
from uno.data.lazy import WatchedSession
from uno.data.lease import raise_translated

if TYPE_CHECKING:
    from sqlalchemy.sql.selectable import TypedReturnsRows
    from typing_extensions import TypeVarTuple

    Ts = TypeVarTuple("Ts")

T = TypeVar("T")


class Session(AsyncSession):
    """`execute`, `scalar` and `scalars` take text too: `await session.execute("SELECT … :id", {"id": id})`.

    What is pending is written before text runs, so that it is seen. Errors of the database are those of uno's tree.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        writable: Callable[[], None] | None = None,
        settle: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(connection, expire_on_commit=False, autoflush=True, sync_session_class=WatchedSession)
        self._writable = writable
        # What is done before text runs.
        self._settle = settle or self.flush

    async def __aexit__(self, *exc: Any) -> None:
        # SQLAlchemy closes it in a task of its own, which needs an event loop.
        await (self.close() if sync.without_loop() else super().__aexit__(*exc))

    if TYPE_CHECKING:

        @overload
        async def execute(
            self, statement: "TypedReturnsRows[*Ts]", params: Any = None, **options: Any
        ) -> "Result[*Ts]": ...
        @overload
        async def execute(
            self, statement: Executable | LiteralString, params: Any = None, **options: Any
        ) -> "Result[*tuple[Any, ...]]": ...

    async def execute(self, statement: Any, params: Any = None, **options: Any) -> Any:
        return await self._run(super().execute, statement, params, options)

    async def scalar(self, statement: Any, params: Any = None, **options: Any) -> Any:
        return await self._run(super().scalar, statement, params, options)

    async def scalars(self, statement: Any, params: Any = None, **options: Any) -> ScalarResult[Any]:
        found: ScalarResult[Any] = await self._run(super().scalars, statement, params, options)
        return found

    async def _run(self, call: Callable[..., Awaitable[T]], given: Any, params: Any, options: dict[str, Any]) -> T:
        statement = literal.statement(given, params)
        if self._writable is not None and literal.writes(statement):
            self._writable()
        if isinstance(statement, TextClause):
            await self._settle()
        try:
            return await self._translated(call(statement, params, **options))
        except BaseException as error:
            cast(WatchedSession, self.sync_session).note(error)
            raise

    async def _translated(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except Exception as error:  # whoever runs the statement sees it, translated
            if self._writable is not None and refuses_to_write(error):
                self._writable()
            raise_translated(error)
            raise
