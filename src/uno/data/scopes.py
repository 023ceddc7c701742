"""`session()`, `transaction()` and the group of the seeds: all of them one unit of work."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self, TypeVar

from uno.bus.unit import ambient
from uno.data.database import Database
from uno.data.orm import Session
from uno.data.unit_of_work import UnitOfWork
from uno.errors import Misconfigured

T = TypeVar("T")
# What runs in a group: it is given the session.
Step = Callable[[Session], Awaitable[T]]


@asynccontextmanager
async def transaction(database: Database | None = None) -> AsyncIterator[UnitOfWork]:
    """A unit of work in an open transaction: that of the task if there is one, which then commits later.

    Otherwise one of `database`, which commits at the end of the block and rolls back where the block raises, is
    cancelled, or a message inside fails. Raises `Misconfigured` where there is neither.
    """
    async with unit(database) as uow:
        await uow.transaction()
        yield uow


@asynccontextmanager
async def session(database: Database | None = None) -> AsyncIterator[Session]:
    """The same, for SQLAlchemy's session of it; repositories inside the block share its transaction and objects."""
    async with unit(database) as uow:
        yield await uow.session()


def unit(database: Database | None) -> UnitOfWork:
    """What, when entered, joins the unit of work of this task or is a new one."""
    outer = ambient()
    if isinstance(outer, UnitOfWork) and database in (None, outer.database):
        return outer
    if database is None:
        raise Misconfigured(
            "Which database? Write session(database) or transaction(database), or use them inside a unit of work: "
            "in a handler, or in `async with UnitOfWork(database)`."
        )
    return UnitOfWork(database)


class SessionOperationGroup:
    """Operations that are stored together or not at all: one transaction, and a savepoint around each run.

    Two sessions on two connections cannot commit together, so every `create_session` gives the one session of the
    group's transaction. It commits at the end of the block.
    """

    def __init__(self, database: Database | None = None) -> None:
        self._database = database
        self._stack = AsyncExitStack()
        self._uow: UnitOfWork | None = None

    async def __aenter__(self) -> Self:
        self._uow = await self._stack.enter_async_context(transaction(self._database))
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._uow = None
        await self._stack.__aexit__(*exc)

    @property
    def _open(self) -> UnitOfWork:
        if self._uow is None:
            raise Misconfigured("The group is not open; use `async with SessionOperationGroup(database) as group`.")
        return self._uow

    async def create_session(self) -> Session:
        """The session of the group's transaction, the same each time."""
        return await self._open.session()

    async def run_operation(self, session: Session, operation: Step[T]) -> T:
        """What `operation(session)` gives; if it raises, what it wrote is undone and the group can go on."""
        [found] = await self.run_in_transaction(session, [operation])
        return found

    async def run_in_transaction(self, session: Session, operations: Iterable[Step[T]]) -> list[T]:
        """What the operations give, one after another; if one raises, what all of them wrote is undone."""
        async with self.together(session):
            return [await operation(session) for operation in operations]

    @asynccontextmanager
    async def together(self, session: Session) -> AsyncIterator[None]:
        """If the block raises, what is written in it is undone."""
        uow = self._open
        if session is not await uow.session():
            raise Misconfigured("This session is not of the group's transaction; take it from create_session().")
        async with uow.savepoint():
            yield
